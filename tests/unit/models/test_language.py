"""The language of a text, from what its feed claims and what it is written in."""

import pytest

from models.inference import language
from models.inference.engine import Engine
from models.inference.language_tags import CODES, language_code

ENGLISH = "Marlow Shipping shares plunge after fraud inquiry"
CHINESE = "公司股价暴跌，净利润由盈转亏"
KANJI = "日経平均株価大幅続落"


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        *[(tag, "en") for tag in ("en", "EN", " en ", "eng", "English", "en-GB", "en_US.UTF-8", "English (UK)", "英语")],
        *[(tag, "en") for tag in ("American English", "en-US,en;q=0.9", "en/US")],
        *[(tag, "zh") for tag in ("zh-Hant", "zh_TW", "cmn", "yue", "chi", "zho", "Chinese", "Mandarin", "简体中文")],
        *[(tag, "zh") for tag in ("Simplified Chinese", "chinese-traditional", "cmn-Hans-CN")],
        *[(tag, "fr") for tag in ("fra", "fre", "French", "français", "fr-CA")],
        *[("iw", "he"), ("in", "id"), ("nb", "no"), ("jpn", "ja"), ("ger", "de"), ("Deutsch", "de")],
        *[(tag, None) for tag in ("und", "zxx", "mul", "mis", "qct", "qst", "qam", "qht", "qme", "art")],
        *[(tag, None) for tag in ("", " ", "-", "unknown", "null", "N/A", "auto", "x-en", "i-default", "C", "123", "😀")],
    ],
)  # fmt: skip
def test_codes_names_and_tags_of_every_kind_are_read_and_unknown_ones_are_no_claim(
    tag: str, code: str | None
) -> None:
    assert language_code(tag) == code


def test_every_language_has_codes_of_two_and_three_letters() -> None:
    two = {code for word, code in CODES.items() if len(word) == 2}
    assert two == set(CODES.values()) and len(two) > 180
    assert all(any(len(word) == 3 and CODES[word] == code for word in CODES) for code in two)


@pytest.mark.parametrize(
    "tag", ["eng", "English", "und", "zxx", "qct", "zh", "cmn", "ja", "ko", "ru", "nonsense"]
)
@pytest.mark.parametrize("text", [ENGLISH, "$MRLW plunges after fraud inquiry", ENGLISH + " – £2m"])
def test_english_text_is_english_whatever_cannot_be_true_of_it_is_claimed(tag: str, text: str) -> None:
    assert language.detect(text, tag) == "en"


@pytest.mark.parametrize(
    ("text", "tag", "code"),
    [
        # Among languages in Latin script the feed is believed: headlines full of names tell little.
        (ENGLISH, "fr", "fr"),
        ("BASF Umsatz sinkt", "German", "de"),
        ("BASF Umsatz sinkt", "eng", "en"),
        # Hindi as commenters type it.
        ("Sensex gir gaya aaj", "hi", "hi"),
        (ENGLISH, "hi", "en"),
        # Chinese characters alone.
        (CHINESE, "ja", "zh"),
        (CHINESE, "en", "zh"),
        ("鴻海營收創新高", "ja", "zh"),
        ("鸿海营收创新高", "ja", "zh"),
        (KANJI, "ja", "ja"),
        ("東京市場急落", "ja", "ja"),
        ("东京市场急落", "ja", "ja"),
        (KANJI, None, "ja"),
        (KANJI, "en", "ja"),
        (KANJI, "zh", "zh"),
        ("東京市場急落", None, "zh"),
        (CHINESE, None, "zh"),
        ("三一重工与広島银行签署合作协议，股价大涨", None, "zh"),
    ],
)
def test_a_claim_counts_unless_the_text_contradicts_it(text: str, tag: str | None, code: str) -> None:
    assert language.detect(text, tag) == code


def test_texts_with_odd_tags_are_labelled(engine: Engine) -> None:
    tags = ["eng", "English", "und", "qct", "zh", "cmn", "Chinese"]
    texts = [ENGLISH] * 3 + ["$MRLW plunges after fraud inquiry", ENGLISH, CHINESE, CHINESE]
    found = [(p.lang, p.sentiment) for p in engine.classify(texts, tags)]
    assert found == [("en", "negative")] * 5 + [("zh", "negative")] * 2
