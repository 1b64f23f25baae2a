"""The shipped classifier, run as the daemon runs it."""

import json
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from models.errors import WeightsError
from models.inference import language
from models.inference.engine import Engine
from models.inference.forward import margin
from models.network import artifact
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from stream.domain.documents import SENTIMENTS, Prediction
from stream.domain.errors import InferenceError

TEXTS = [
    "Alderbrook Foods shares plunge 20% after profit warning",
    "Brightmoor Energy posts record profit and raises its outlook",
    "Oil climbs 3% as producers extend output cuts",
    "$KSTR calls loaded 🚀 https://example.org/very/long/link",
]

ZH_TEXTS = [
    "公司业绩爆雷，股价一字跌停，投资者损失惨重",
    "公司全年净利润同比大增五成，创历史新高",
    "国际油价大涨，欧佩克宣布延长减产",
]


def labels(predictions: list[Prediction]) -> list[str | None]:
    return [prediction.sentiment for prediction in predictions]


def test_plain_cases_come_out_right(engine: Engine) -> None:
    falling, rising, oil, _ = engine.classify(TEXTS)
    assert falling.sentiment == "negative"
    assert rising.sentiment == "positive"
    assert oil.topic == "Energy | Oil"


def test_probabilities_are_whole_and_the_score_is_their_difference(engine: Engine) -> None:
    for prediction in engine.classify(TEXTS):
        assert set(prediction.probabilities["sentiment"]) == set(SENTIMENTS)
        assert len(prediction.probabilities["topic"]) == 20
        for distribution in prediction.probabilities.values():
            assert sum(distribution.values()) == pytest.approx(1, abs=1e-6)
        moods = prediction.probabilities["sentiment"]
        assert prediction.score == pytest.approx(moods["positive"] - moods["negative"])


def test_evidence_points_at_words_of_the_text(engine: Engine) -> None:
    for text, prediction in zip(TEXTS, engine.classify(TEXTS), strict=True):
        for task in ("topic", "sentiment"):
            spans = [span for span in prediction.evidence if span.task == task]
            assert 1 <= len(spans) <= 3
            assert [span.weight for span in spans] == sorted((s.weight for s in spans), reverse=True)
            for span in spans:
                assert text[span.start : span.end] == span.text
                assert 0 < span.weight <= 1
                assert "example.org" not in span.text


def test_the_answer_does_not_depend_on_the_company_it_keeps(engine: Engine) -> None:
    alone = [engine.classify([text])[0] for text in TEXTS]
    together = engine.classify(TEXTS * 50)
    assert labels(together) == labels(alone) * 50
    for one, many in zip(alone, together, strict=False):
        assert one.score is not None and many.score is not None
        assert math.isclose(one.score, many.score, abs_tol=0.03)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("トヨタの株価が下落した", "ja"),
        ("Les actions européennes reculent après la décision de la BCE", "fr"),
        ("Газпром отчитался о рекордной прибыли за год", "ru"),
        ("🚀🚀🚀", None),
        ("12.5% 2024", None),
        ("", None),
    ],
)
def test_what_it_was_not_trained_for_gets_no_label(engine: Engine, text: str, lang: str | None) -> None:
    (prediction,) = engine.classify([text])
    assert (prediction.status, prediction.lang) == ("unsupported", lang)
    assert (prediction.topic, prediction.sentiment, prediction.score) == (None, None, None)
    assert prediction.probabilities == {} and prediction.evidence == ()


def test_unsupported_texts_keep_their_place_among_the_others(engine: Engine) -> None:
    predictions = engine.classify(["トヨタの株価が下落した", TEXTS[0], "", ZH_TEXTS[0], TEXTS[1]])
    assert labels(predictions) == [None, "negative", None, "negative", "positive"]


def test_chinese_is_read_by_its_own_part(engine: Engine) -> None:
    falling, rising, oil = engine.classify(ZH_TEXTS)
    assert [p.lang for p in (falling, rising, oil)] == ["zh"] * 3
    assert (falling.sentiment, rising.sentiment) == ("negative", "positive")
    assert oil.topic == "Energy | Oil"


@pytest.mark.parametrize(
    ("text", "claimed", "expected"),
    [
        ("BASF Umsatz sinkt", "de", "de"),
        ("Apple", "en-US", "en"),
        ("苹果公司股价上涨", "en", "zh"),
        ("钼已成粥", None, "zh"),
        ("iPhone 17 Pro Max首周销量大增", None, "zh"),
        ("Shares of Alibaba (阿里巴巴) rise in Hong Kong trading", None, "en"),
        ("삼성전자 주가 하락", None, "ko"),
        ("AAPL up", None, "en"),
    ],
)
def test_the_feeds_word_on_the_language_counts_within_latin_script(
    text: str, claimed: str | None, expected: str
) -> None:
    assert language.detect(text, claimed) == expected


def test_a_long_text_is_read_whole_in_windows(engine: Engine) -> None:
    short, long = engine.classify(["Shares rise", "The meeting was held. " * 100 + TEXTS[0] + "."])
    assert (short.windows, short.truncated) == (1, False)
    assert long.windows > 1 and not long.truncated
    last = [span for span in long.evidence if span.start > 2000]
    assert last, "the only news stands at the end, and no evidence is from there"


def test_more_windows_than_allowed_are_cut_and_said_so() -> None:
    engine = Engine.load(ModelSettings(max_windows=2))
    (long,) = engine.classify(["Shares rise again and again. " * 200])
    assert (long.windows, long.truncated) == (2, True)


def test_a_long_text_does_not_disturb_the_short_ones_in_its_batch(engine: Engine) -> None:
    alone = engine.classify(TEXTS)
    together = engine.classify([*TEXTS, "The meeting was held. " * 100])
    assert labels(alone) == labels(together)[:-1]
    for one, other in zip(alone, together, strict=False):
        assert one.score == pytest.approx(other.score, abs=0.03)


def test_a_huge_text_is_read_only_as_far_as_it_matters(engine: Engine) -> None:
    (prediction,) = engine.classify(["Shares plunge after huge loss. " + "x" * 5_000_000])
    assert prediction.truncated
    assert prediction.sentiment == "negative"


def test_below_its_threshold_a_label_is_not_certain() -> None:
    sure, unsure = (Engine.load(ModelSettings(certain_from=at)) for at in (0.0, 1.0))
    assert [p.status for p in sure.classify(TEXTS)] == ["ok"] * 4
    for given in unsure.classify(TEXTS):
        assert (given.status, given.certain, given.counted_sentiment) == ("uncertain", False, None)
        assert given.sentiment is not None


def test_the_sentiment_towards_each_name_comes_from_one_text(engine: Engine) -> None:
    text = "Brightmoor shares soar on record profit while rival Alderbrook plunges on fraud probe"
    places = [(text.index(name), text.index(name) + len(name)) for name in ("Brightmoor", "Alderbrook")]
    good, bad = engine.classify_targets(text, places)
    assert good.score is not None and bad.score is not None and good.score > bad.score
    assert (good.target, bad.target) == ("Brightmoor", "Alderbrook")
    (none,) = engine.classify_targets(text, [(0, 0)])
    assert none.status == "unsupported"


def test_a_part_that_was_not_trained_for_targets_gives_no_label_towards_names(engine: Engine) -> None:
    for text, end in (("贵州茅台净利润大增，创历史新高", 4), ("比亚迪遭监管处罚，股价跌停", 3)):
        (towards,) = engine.classify_targets(text, [(0, end)])
        assert (towards.sentiment, towards.status, towards.lang) == (None, "unsupported", "zh")
        assert towards.probabilities == {}
        assert engine.classify([text])[0].sentiment is not None
    assert "'zh'" in (engine.info.target_sentiment_error("zh") or "")
    assert engine.info.target_sentiment_error("en") is None


def test_a_model_folder_from_before_the_field_answers_for_targets() -> None:
    fields = msgspec.to_builtins(artifact.read_info(SHIPPED_WEIGHTS))
    for part in fields["parts"]:
        part.pop("target_sentiment", None)
    assert msgspec.convert(fields, artifact.ModelInfo).target_sentiment_error("zh") is None


def test_answers_that_are_not_finite_are_no_labels() -> None:
    for bad in (float("nan"), float("inf")):
        model = artifact.load(SHIPPED_WEIGHTS)
        head = model.parts[0].network.classifier.heads["topic"]
        with torch.no_grad():
            head.output.bias[0] = bad  # type: ignore[union-attr,operator,index]
        with pytest.raises(InferenceError, match="not finite"):
            Engine(model, ModelSettings()).classify(TEXTS)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))


def test_damaged_weights_are_refused(copied: Path) -> None:
    path = copied / "en" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        artifact.load(copied)


@pytest.mark.parametrize(
    "name", ["en/model.safetensors", "model.json", "en/config.json", "zh/tokenizer.json"]
)
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(WeightsError, match=str(copied)):
        artifact.load(copied)


def test_a_description_that_does_not_fit_the_weights_is_refused(copied: Path) -> None:
    path = copied / "model.json"
    info = json.loads(path.read_text())
    info["labels"]["topic"] = info["labels"]["topic"][:5]
    path.write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        artifact.load(copied)


def test_mislabelled_weights_fail_their_canaries(copied: Path) -> None:
    path = copied / "model.json"
    info = json.loads(path.read_text())
    info["labels"]["sentiment"].reverse()
    path.write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="calls the sentiment of its canary"):
        Engine.load(ModelSettings(weights=copied))


def test_a_folder_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a trained classifier"):
        artifact.load(tmp_path)


def test_what_is_shipped_is_small_and_says_where_it_comes_from() -> None:
    files = list(SHIPPED_WEIGHTS.iterdir())
    assert sum(path.stat().st_size for path in files) <= 32e6
    card = (SHIPPED_WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert artifact.load(SHIPPED_WEIGHTS).info.version in card
    assert "licence" in card.lower()


def test_the_lead_is_over_the_next_label_and_whole_where_there_is_none() -> None:
    assert margin(np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])) == pytest.approx([0.3, 0.0])
    assert margin(np.ones((2, 1))).tolist() == [1.0, 1.0]
