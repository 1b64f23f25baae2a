"""Why a label: the weights of words, and whether they are worth anything."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from models.data.augmentation_sets import generated_sentences, written_sentences
from models.evaluation.robustness import CHECKS, delete_spans, faithfulness, read_pairs, robustness
from models.inference.drift import Profiler, drift, stability_index
from models.inference.engine import Engine
from models.inference.explain import carrying, explain
from models.inference.normalize import for_plain_texts, is_plain, normal_form
from models.training.augment import EMOJI, augment, other_name
from stream.domain.documents import SENTIMENTS, Prediction, Span

TEXT = "Alderbrook Foods shares plunge 20% after profit warning"


@pytest.mark.parametrize("method", ["attention", "gradient", "integrated"])
@pytest.mark.parametrize("task", ["sentiment", "topic"])
def test_every_word_gets_a_weight_in_the_order_of_the_text(engine: Engine, method: str, task: str) -> None:
    found = explain(engine, TEXT, task, method)  # type: ignore[arg-type]
    assert "".join(span.text for span in found.words) == TEXT.replace(" ", "")
    assert [span.start for span in found.words] == sorted(span.start for span in found.words)
    assert all(TEXT[span.start : span.end] == span.text for span in found.words)
    assert found.prediction.sentiment == "negative"


def test_integrated_gradients_add_up_to_the_change_in_log_probability(engine: Engine) -> None:
    """Completeness, within what the steps and bfloat16 leave open."""
    import math

    found = explain(engine, "Profit falls at Alderbrook as costs rise", method="integrated")
    total = sum(span.weight for span in found.words)
    reached = math.log(found.prediction.probabilities["sentiment"]["negative"])
    assert 0.2 < total < 8
    assert total > reached


def test_the_word_that_decides_weighs_most(engine: Engine) -> None:
    found = explain(engine, "Alderbrook Foods shares plunge on Monday", method="integrated")
    assert "plunge" in [span.text for span in carrying(found.words, 2)]


def test_an_unsupported_text_has_no_words(engine: Engine) -> None:
    found = explain(engine, "トヨタの株価が下落した")
    assert (found.words, found.prediction.status) == ((), "unsupported")


def test_chinese_words_are_the_pieces_of_the_tokenizer(engine: Engine) -> None:
    found = explain(engine, "公司股价暴跌，投资者损失惨重")
    assert len(found.words) > 4
    assert "".join(span.text for span in found.words) == "公司股价暴跌，投资者损失惨重"


def test_deleting_spans_keeps_the_rest_of_the_text() -> None:
    assert delete_spans("shares plunge today", [(7, 14), (0, 7)]) == "today"


class Keyword:
    """A classifier that says negative with certainty where "bad" stands, and shows what it is told to."""

    def __init__(self, shows: str) -> None:
        self.shows = shows

    def classify(self, texts: list[str], languages: list[str | None] | None = None) -> list[Prediction]:
        return [self.judge(text) for text in texts]

    def judge(self, text: str) -> Prediction:
        share = 0.9 if "bad" in text else 0.1
        moods = {"positive": 0.0, "neutral": 1 - share, "negative": share}
        at = text.find(self.shows)
        evidence = (Span("sentiment", self.shows, at, at + len(self.shows), 1.0),) if at >= 0 else ()
        return Prediction(
            "m", "en", "Macro", max(moods, key=lambda m: moods[m]), 0.0, {"sentiment": moods}, evidence
        )


def test_faithfulness_tells_evidence_from_decoration() -> None:
    texts = ["one two bad three four", "five bad six seven"]
    honest = faithfulness(Keyword("bad"), texts, words=1)  # type: ignore[arg-type]
    assert (honest.n, honest.shown, honest.chance) == (2, pytest.approx(0.8), 0.0)
    false = faithfulness(Keyword("four"), texts, words=1)  # type: ignore[arg-type]
    assert (false.n, false.shown) == (1, 0.0)


@pytest.mark.parametrize(("language", "least"), [("en", 300), ("zh", 150)])
def test_there_are_enough_pairs_and_no_text_twice(language: str, least: int) -> None:
    same, directions = read_pairs(f"same_{language}.csv"), read_pairs(f"directions_{language}.csv")
    assert len(same) + len(directions) >= least
    texts = [pair[side] for pair in same + directions for side in "ab"]
    assert len(texts) == len(set(texts))
    for pair in directions:
        assert pair["a_sentiment"] != pair["b_sentiment"]
        assert {pair["a_sentiment"], pair["b_sentiment"]} <= set(SENTIMENTS)
    assert CHECKS.is_dir()


def test_nothing_that_is_checked_was_trained_on() -> None:
    for language in ("en", "zh"):
        trained = {text for text, _ in generated_sentences(language, 4000, seed=1)}
        pairs = read_pairs(f"same_{language}.csv") + read_pairs(f"directions_{language}.csv")
        trained |= {text for text, _ in written_sentences(language)}
        assert not trained & {pair[side] for pair in pairs for side in "ab"}


def test_robustness_of_a_language_without_pairs_is_empty(engine: Engine) -> None:
    found = robustness(engine, "xx")
    assert all(check.n == 0 and check.rate == 0 for check in found.flips + found.directions)


def test_edits_keep_the_words_that_matter() -> None:
    dice = random.Random(3)
    text = "Tesla $TSLA shares plunge 20.5% after $2bn loss"
    edited = {augment(text, dice, rate=0.5) for _ in range(200)}
    assert len(edited) > 50
    assert augment(text, dice, rate=0.0) == text
    assert any(sign in one for one in edited for sign in EMOJI)
    assert all("$" in one or "USD" in one for one in edited)
    assert {one for one in edited if "Tesla" not in one}, "names are swapped"
    assert not any("Pfizer" in one for one in edited), "for others of their trade"
    assert any(amount in one for one in edited for amount in ("5 percent", "2 billion", "USD 2"))


def test_a_name_is_swapped_for_the_same_one_everywhere_and_only_as_a_word() -> None:
    swapped = other_name("Ford recalls; Ford says Fordham is unaffected", random.Random(1))
    first, second = swapped.split("; ")
    name = first.removesuffix(" recalls")
    assert name != "Ford" and second == f"{name} says Fordham is unaffected"
    assert other_name("贵州茅台涨停", random.Random(1)) != "贵州茅台涨停"


def test_links_case_and_wide_letters_are_not_read_and_emoji_are_words() -> None:
    plain = Tokenizer(WordLevel({"[UNK]": 0, "ai": 1, "rocket": 2, "moon": 3}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.normalizer = normal_form(plain)
    found = plain.encode("ＡＩ🚀🚀 MOON\U0001f3fd https://t.example/x?y=1")
    assert found.tokens == ["ai", "rocket", "rocket", "moon"]
    assert found.offsets[1] == (2, 3)


@given(st.text(st.characters(codec="ascii"), max_size=60).filter(is_plain))
@example("AT&T's $T  Falls\t20.5%\r\n(-3) <b>\x00\x7f[SEP] co-op ``quoted''")
def test_plain_texts_are_read_alike_without_the_steps_that_spare_them(engine: Engine, text: str) -> None:
    whole = engine.tokenizer.part("en").network.tokenizer
    wanted, given = whole.encode(text), for_plain_texts(whole).encode(text)
    assert given.ids == wanted.ids
    assert (given.offsets, given.word_ids) == (wanted.offsets, wanted.word_ids)


@pytest.mark.parametrize("text", ["see https://t.example", "Shares \U0001f680", "ＡＩ stocks", "café"])
def test_other_texts_go_through_every_step(text: str) -> None:
    assert not is_plain(text)


def test_generated_sentences_are_distinct_balanced_and_repeatable() -> None:
    for language in ("en", "zh"):
        sentences = generated_sentences(language, 900, seed=2)
        assert sentences == generated_sentences(language, 900, seed=2)
        assert len({text for text, _ in sentences}) == 900
        moods = [labels["sentiment"] for _, labels in sentences]
        assert all(moods.count(mood) == 300 for mood in SENTIMENTS)
        assert len({labels["topic"] for _, labels in sentences}) == 20
    with pytest.raises(ValueError, match="xx"):
        generated_sentences("xx", 10, seed=1)


def profiled(share: float, memory: int | None = None, n: int = 2000) -> Profiler:
    profiler = Profiler({"sentiment": SENTIMENTS}, memory)
    dice = random.Random(1)
    for _ in range(n // 10):
        labels = [("negative" if dice.random() < share else "neutral", 0.9) for _ in range(10)]
        profiler.add([(20, 0)] * 10, {"sentiment": labels})
    return profiler


def test_drift_is_small_for_the_same_and_large_for_another_mix() -> None:
    reference = profiled(0.2).profile()
    same = drift(reference, profiled(0.22).profile())
    other = drift(reference, profiled(0.7).profile())
    assert all(value < 0.05 for value in same.values())
    assert other["sentiment_label"] > 0.25
    assert other["tokens"] == 0
    assert stability_index([1, 0], [0, 1]) < 20


def test_old_texts_fade() -> None:
    profiler = profiled(1.0, memory=100, n=1000)
    profiler.add([(20, 0)] * 1000, {"sentiment": [("neutral", 0.9)] * 1000})
    assert profiler.profile().labels["sentiment"]["neutral"] > 0.99
    assert 900 < profiler.texts < 1100
