"""The classifier on texts as feeds send them: with markup, wrong characters and boilerplate."""

import pytest

from models.inference.engine import Engine
from models.inference.explain import explain
from models.settings import ModelSettings
from stream.domain.documents import DocumentStatus, Prediction
from tests.press_releases import LOSS, ORDER, legal_text

PAIRS = [
    ("Brightmoor &amp; Sons&#8217; loss isn&#39;t as deep as feared", "Brightmoor & Sons’ loss isn't as deep as feared"),
    ("Shares of Q&amp;S Foods &mdash; up 12%", "Shares of Q&S Foods — up 12%"),
    ("<p><b>Brightmoor</b> wins&nbsp;&pound;2bn order</p><script>var loss=1</script>", "Brightmoor wins £2bn order"),
    (
        '<div class="body" style="font-size:16px"><p class="MsoNormal"><span lang="ZH-CN">星海股份今日跌停，业绩大幅下滑</span></p></div>',
        "星海股份今日跌停，业绩大幅下滑",
    ),
    ("星海股份&nbsp;&nbsp;业绩大增&lt;快讯&gt;", "星海股份  业绩大增<快讯>"),
    ("Brightmoor:\u00c2 profit warning, it\u00e2\u20ac\u2122s worse than feared", "Brightmoor: profit warning, it’s worse than feared"),
    ("Bright\u00admoor pro\u200bfit war\u00adning", "Brightmoor profit warning"),
    ("Ｂｒｉｇｈｔｍｏｏｒ ｃｕｔｓ ｉｔｓ ｄｉｖｉｄｅｎｄ", "Brightmoor cuts its dividend"),
    ("星海股份虧損擴大，債務違約", "星海股份亏损扩大，债务违约"),
    ("星海股份營業額業績漲", "星海股份营业额业绩涨"),
    ("&amp;lt;p&amp;gt;Brightmoor cuts its dividend&amp;lt;/p&amp;gt;", "Brightmoor cuts its dividend"),
]  # fmt: skip


def classify(engine: Engine, text: str) -> Prediction:
    return engine.classify([text])[0]


@pytest.mark.parametrize(("sent", "text"), PAIRS)
def test_a_text_gets_the_labels_of_what_a_reader_sees(engine: Engine, sent: str, text: str) -> None:
    raw, plain = classify(engine, sent), classify(engine, text)
    assert (raw.lang, raw.topic, raw.sentiment) == (plain.lang, plain.topic, plain.sentiment)
    assert raw.score == pytest.approx(plain.score, abs=0.001)
    assert [span.task for span in raw.evidence] == [span.task for span in plain.evidence]


@pytest.mark.parametrize("sent", [sent for sent, _ in PAIRS])
def test_evidence_is_in_the_text_as_it_was_sent_and_names_no_markup(engine: Engine, sent: str) -> None:
    spans = [*classify(engine, sent).evidence, *explain(engine, sent).words]
    assert spans
    for span in spans:
        assert 0 <= span.start < span.end <= len(sent)
        assert not {"amp", "nbsp", "span", "lt", "gt", "mdash", "p", "script"} & {span.text}
        shown = sent[span.start : span.end]
        assert span.text == shown or "&" in shown or not shown.isascii()


def test_evidence_in_traditional_characters_is_shown_as_it_was_sent(engine: Engine) -> None:
    assert "虧損" in [span.text for span in classify(engine, "星海股份虧損擴大，債務違約").evidence]


def test_targets_are_spans_of_the_text_as_it_was_sent(engine: Engine) -> None:
    sent = "<p>Harrow &amp; Pike soars as <b>Kestrel</b> plunges</p>"
    plain = "Harrow & Pike soars as Kestrel plunges"
    for name in ("Harrow &amp; Pike", "Kestrel"):
        start, own = sent.index(name), name.replace("&amp;", "&")
        (raw,) = engine.classify_targets(sent, [(start, start + len(name))])
        (expected,) = engine.classify_targets(plain, [(plain.index(own), plain.index(own) + len(own))])
        assert raw.sentiment == expected.sentiment
        assert raw.target == name
        assert all(sent[span.start : span.end] for span in raw.evidence)
    assert engine.classify_targets(sent, [(0, 3)])[0].sentiment is None


@pytest.mark.parametrize("separator", [" ", "\n", "\n\n"])
@pytest.mark.parametrize(("release", "sentiment"), [(ORDER, "positive"), (LOSS, "negative")])
def test_a_press_release_is_judged_by_its_news(
    engine: Engine, release: str, sentiment: str, separator: str
) -> None:
    alone, whole = classify(engine, release), classify(engine, release + separator + legal_text(separator))
    assert alone.sentiment == whole.sentiment == sentiment
    assert whole.score == pytest.approx(alone.score, abs=0.05)
    assert all(span.end <= len(release) for span in whole.evidence)


def test_boilerplate_alone_is_neutral_and_not_certain(engine: Engine) -> None:
    for text in (legal_text(), "风险提示：业绩可能亏损，敬请投资者注意投资风险。"):
        prediction = classify(engine, text)
        assert prediction.sentiment == "neutral"
        assert prediction.score == 0
        assert prediction.status is DocumentStatus.UNCERTAIN
        assert prediction.is_finite
        assert not [span for span in prediction.evidence if span.task == "sentiment"]


def test_a_text_of_markup_alone_has_no_words(engine: Engine) -> None:
    prediction = classify(engine, "<div><p>&nbsp;</p><script>var loss = 1</script></div>")
    assert prediction.status is DocumentStatus.UNSUPPORTED
    assert prediction.lang is None


def test_one_story_in_two_kinds_of_markup_is_classified_once_and_each_has_its_own_evidence() -> None:
    engine = Engine.load(ModelSettings())
    texts = [
        "<p>Brightmoor cuts its dividend</p>",
        "Brightmoor cuts its dividend",
        "Brightmoor cuts its dividend\n<p>All rights reserved.</p>",
    ]
    first, second, third = engine.classify(texts)
    assert first.score == second.score
    for text, prediction in zip(texts, (first, second, third), strict=True):
        assert prediction.evidence
        assert all(text[span.start : span.end] == span.text for span in prediction.evidence)
    assert engine.classify(texts) == [first, second, third]
