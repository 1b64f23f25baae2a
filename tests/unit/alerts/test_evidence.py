from datetime import UTC, datetime

import pytest

from alerts.windows.evidence import distinct_stories
from stream.domain.alerts import EvidenceItem

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def shown(*texts: str, limit: int = 5) -> list[str]:
    found = [EvidenceItem("wire", str(i), NOW, text, -0.9) for i, text in enumerate(texts)]
    return [item.content for item in distinct_stories(found, limit)]


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("case and marks", "Northgate Bank falls!", "NORTHGATE BANK FALLS"),
        (
            "another link",
            "Bank halts withdrawals https://a.example/1",
            "Bank halts withdrawals https://b.example/2",
        ),
        ("a word more", "Bank halts all withdrawals today", "BREAKING: Bank halts all withdrawals"),
        ("traditional", "某銀行暫停客戶提款，股價大跌", "某银行暂停客户提款，股价大跌"),
        ("Chinese", "某银行暂停客户提款，股价大跌", "某银行暂停客户提款，股价大跌8%"),
    ],
    ids=lambda value: value if " " not in value else None,
)
def test_copies_of_one_story_are_shown_once(what: str, one: str, other: str) -> None:
    assert shown(one, other) == [one]


def test_different_stories_are_all_shown_in_their_order_up_to_the_limit() -> None:
    texts = ["Bank halts withdrawals", "Retailer issues profit warning", "矿难致停产", "央行意外加息"]
    assert shown(*texts) == texts
    assert shown(*texts, limit=2) == texts[:2]


def test_texts_without_words_are_one_story() -> None:
    assert shown("!!!", "Bank falls", "🚀") == ["!!!", "Bank falls"]


def test_stories_are_shown_and_compared_without_their_markup_and_boilerplate() -> None:
    bank = (
        "<div><p>Bank halts <b>withdrawals</b> &amp; loans</p><p>All rights reserved by the wire.</p></div>"
    )
    retailer = "<div><p>Retailer warns</p><p>All rights reserved by the wire.</p></div>"
    assert shown(bank, retailer, "Bank halts withdrawals & loans") == [
        "Bank halts withdrawals & loans\n",
        "Retailer warns\n",
    ]


@pytest.mark.parametrize(
    ("what", "stories", "voices", "shown"),
    [
        ("one of each story first", [7, 7, 7, 8, 9], [1, 1, 1, 1, 1], [0, 3, 4, 1]),
        ("a voice before what came first", [7, 7, 8, 8, 9], [0, 1, 0, 0, 1], [1, 2, 4, 0]),
        ("no story is no story", [None, None, None, 7, 7], [0, 0, 0, 1, 1], [0, 1, 2, 3]),
        ("stories of a backfill", [-1, -1, None, -2, None], [1, 1, 0, 1, 0], [0, 2, 3, 4]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_story_is_shown_before_a_second_text_of_one(
    what: str, stories: list[int | None], voices: list[int], shown: list[int]
) -> None:
    words = ("Bank halts withdrawals", "Retailer warns", "Mill is shut", "Ship runs aground", "Rates rise")
    found = [
        EvidenceItem("wire", "", NOW, text, -0.9, story=story, is_voice=bool(voice))
        for text, story, voice in zip(words, stories, voices, strict=True)
    ]
    assert [words.index(item.content) for item in distinct_stories(found, 4)] == shown
