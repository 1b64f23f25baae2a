"""Words of evidence: which can speak for a label, and whether the label misses them."""

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from models.inference import evidence
from models.inference.engine import Engine
from models.inference.evidence import Name
from models.inference.removal import words_for
from models.inference.tokenize import CleanInput
from stream.domain.documents import LONGEST_WORD
from stream.domain.text.cleaning import clean

TEXTS = [
    "Alderbrook Foods shares plunge 20% after profit warning",
    "Brightmoor Energy posts record profit and raises its outlook",
    "Oil climbs 3% as producers extend output cuts",
    "$KSTR calls loaded 🚀 https://example.org/very/long/link",
]


def test_evidence_spans_are_words_of_the_text(engine: Engine) -> None:
    for text, prediction in zip(TEXTS, engine.classify(TEXTS), strict=True):
        for task in ("topic", "sentiment"):
            spans = [span for span in prediction.evidence if span.task == task]
            assert 1 <= len(spans) <= 3
            assert [span.weight for span in spans] == sorted((s.weight for s in spans), reverse=True)
            for span in spans:
                assert text[span.start : span.end] == span.text
                assert 0 < span.weight <= 1
                assert "example.org" not in span.text


NAMELESS = "Profit at Tesla and the Zyntharo Group fell 12.5% to $4.2 billion in March, missing estimates"


def test_names_numbers_and_function_words_are_no_evidence(engine: Engine) -> None:
    name = Name(NAMELESS.index("Tesla"), NAMELESS.index("Tesla") + 5)
    (prediction,) = engine.classify_clean([clean(NAMELESS)], names=[[name]])
    for task in ("topic", "sentiment"):
        shown = {span.text for span in prediction.evidence if span.task == task}
        assert shown and shown <= {"Profit", "fell", "missing", "estimates"}


@pytest.mark.parametrize(
    ("text", "task", "name", "is_theme", "words"),
    [
        ("Gold climbs as the dollar weakens", "sentiment", "Gold", True, {"climbs", "weakens", "dollar"}),
        ("Gold climbs as the dollar weakens", "topic", "Gold", True, {"Gold", "climbs", "weakens"}),
        ("Gold climbs as the dollar weakens", "topic", "Gold", False, {"climbs", "weakens"}),
        ("$KSTR craters on weak guidance", "sentiment", "", False, {"craters", "weak", "guidance"}),
        ("Broker raises Kestrel to Buy from Hold", "sentiment", "", False, {"Broker", "raises", "Buy", "Hold"}),
        ("It isn't a loss", "topic", "", False, {"loss"}),
        ("It isn't a loss", "sentiment", "", False, {"isn't", "loss"}),
        ("贵州茅台2023年净利润下降3.5%，低于预期", "sentiment", "贵州茅台", False, {"净利润", "下降", "低于", "预期"}),
        ("北辰科技的股价跌停", "sentiment", "", False, {"股价", "跌停", "跌", "停"}),
    ],
)  # fmt: skip
def test_which_words_can_speak(
    engine: Engine, text: str, task: str, name: str, is_theme: bool, words: set[str]
) -> None:
    start = text.index(name)
    (item,) = engine.tokenizer.tokenize([CleanInput(text)]).texts
    found = evidence.Words(text, item.windows, [Name(start, start + len(name), is_theme)] if name else [])
    tokens = {word: 1.0 for piece in found.pieces for _, word in piece}
    assert {text[start:end] for start, end in found.can_speak(task, tokens)} <= words


def test_chinese_words_do_not_overlap_and_leave_out_what_stands_between_numbers(engine: Engine) -> None:
    text = "公司2023年净利润12.5亿元，同比下降30%，低于预期 Apple🚀大涨"
    (item,) = engine.tokenizer.tokenize([CleanInput(text)]).texts
    words = sorted({word for piece in evidence.Words(text, item.windows).pieces for _, word in piece})
    assert "".join(text[start:end] for start, end in words) == text.replace(" ", "")
    assert {"2023", "12.5", "30%", "Apple", "净利润"} <= {text[start:end] for start, end in words}


def test_single_chinese_characters_that_speak_alike_are_one_word(engine: Engine) -> None:
    (prediction,) = engine.classify(["贵州茅台股价暴跌5.2%"])
    assert "暴跌" in [span.text for span in prediction.evidence if span.task == "sentiment"]


def test_a_word_without_end_is_shown_in_part_and_its_place_in_the_text_stays_true() -> None:
    word, tokenizer = "Plunge" * 25_000, Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    words = evidence.Words(f"{word} fraud", [tokenizer.encode(f"{word} fraud")])
    long, short = words.spans("sentiment", [np.array([3.0, 1.0])], 3)
    assert (long.start, long.end) == (0, len(word))
    assert long.text == word[: LONGEST_WORD - 1] + "\u2026" and len(long.text) == LONGEST_WORD
    assert (short.text, short.start, short.end) == ("fraud", 150_001, 150_006)


@pytest.mark.parametrize(
    ("text", "sentiment", "first", "never"),
    [
        ("Alderbrook Foods shares plunge 20% after profit warning", "negative", "plunge", "Alderbrook"),
        ("Harrow Pike posts a loss; analysts say the loss is its worst", "negative", None, "Harrow"),
        ("贵州茅台股价暴跌5.2%", "negative", "暴跌", "贵州"),
        ("plunges", "negative", "plunges", None),
    ],
)
def test_words_checked_by_removal_are_those_that_the_label_misses(
    engine: Engine, text: str, sentiment: str, first: str | None, never: str | None
) -> None:
    words = words_for(engine, text, sentiment, 3)
    assert words and len(words) <= 3
    assert first in (None, words[0])
    assert never not in words


def test_a_text_of_another_sentiment_has_no_words_for_this_one(engine: Engine) -> None:
    assert words_for(engine, "Brightmoor wins a record order", "negative", 3) == ()
    assert words_for(engine, "トヨタの株価が下落した", "negative", 3) == ()


def test_words_are_those_of_the_text_as_it_was_sent(engine: Engine) -> None:
    assert words_for(engine, "<p>Bright&amp;moor shares plunge</p>", "negative", 1) == ("plunge",)
    assert {"虧損", "擴大"}.intersection(words_for(engine, "星海股份虧損擴大", "negative", 3))
