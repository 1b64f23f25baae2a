"""Linking over texts that nobody wrote: places, boilerplate, and time that grows with the text."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.entities.forms import HAN, name_forms
from models.entities.linker import Linker
from stream.domain.documents import TextInput
from tests.unit.models.entity_samples import ENTITIES, SAMPLES

LINKER = Linker(SAMPLES)
NAMES = sorted({name.text for entity in ENTITIES for name in entity.names})
WORDS = ("shares", "fall", "the", "and", ",", ". ", "$AAPL", "(NASDAQ: AAPL)", "公司", "股价", "、", "\n", "  ", "'s", "-", "é", "<b>", "&amp;", "@", "https://", "100", "Q2", "In")  # fmt: skip
PARTS = st.one_of(st.sampled_from(NAMES), st.sampled_from(WORDS), st.text(max_size=4))
TEXTS = st.lists(st.tuples(PARTS, st.sampled_from(("", " "))), max_size=25).map(
    lambda parts: "".join(f"{part}{blank}" for part, blank in parts)
)
SYMBOLS = st.lists(
    st.one_of(st.sampled_from(("AAPL", "$BRK.B", "00700.HK", "BTC-USD")), st.text(max_size=8)), max_size=4
)


@given(TEXTS, SYMBOLS, st.integers(0, 100))
def test_spans_are_in_order_inside_the_text_and_disjoint(text: str, symbols: list[str], title: int) -> None:
    item = TextInput(text, None, min(title, len(text)), tuple(symbols))
    links = LINKER.link(item)
    assert len({link.entity for link in links}) == len(links)
    assert {link.entity for link in links} <= SAMPLES.entities.keys()
    for link in links:
        assert link.spans or symbols
        assert all(0 <= start < end <= len(text) for start, end in link.spans)
        assert all(first[1] <= second[0] for first, second in pairwise(link.spans))
    places = sorted(span for link in links for span in link.spans)
    assert all(first[1] <= second[0] for first, second in pairwise(places))
    assert LINKER.link(item) == links


@given(st.sampled_from([name for entity in ENTITIES for name in entity.names if not name.needs_evidence]))
def test_every_spelling_of_a_name_that_is_no_word_is_found_whole(name: object) -> None:
    for form in name_forms(name.text):  # type: ignore[attr-defined]
        legal = ("股份有限公司" if HAN.match(form.text) else " Inc.") if form.needs_legal else ""
        written = form.text.upper() if name.text.isupper() else form.text  # type: ignore[attr-defined]
        text = f"Today {written}{legal} rose; index, 汇率"
        spans = [span for link in LINKER.link(TextInput(text)) for span in link.spans]
        assert any(start <= 6 and 6 + len(form.text) <= end for start, end in spans), text


NOTICE = "Click here to subscribe to our newsletter on Tesla and Microsoft."


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6))
def test_boilerplate_around_a_text_changes_no_link(names: list[str]) -> None:
    text = f"Shares of {', '.join(names)} fell on Monday."
    alone = LINKER.link(TextInput(text))
    around = f"{NOTICE}\n{text}\n{NOTICE}\n"
    shift = len(NOTICE) + 1
    moved = [
        (link.entity, tuple((start + shift, end + shift) for start, end in link.spans)) for link in alone
    ]
    assert list(map(tuple, LINKER.link(TextInput(around)))) == moved


AWKWARD = {
    "one letter": "a",
    "names": "Apple shares, Visa, Gap and Target. ",
    "names in one line without blanks": "苹果平安银行中国平安机器人、太平洋、",
    "capitals": "TSLA AAPL F IT ",
    "cashtags": "$AAPL$BRK.B ",
    "dots": "a.b.c.d.",
    "dots and capitals": "A.B.AAPL.O",
    "colons": "NYSE: NASDAQ:",
    "brackets": "((((600519",
    "digits": "600519000",
    "at signs": "a@a@",
    "addresses": "www.a.b/c",
    "long address": "https://",
    "apostrophes": "Apple's's",
    "blanks": "   \n ",
    "hyphens": "Apple-",
    "ampersands": "&",
    "accents": "e\u0301",
    "dollars": "dollar dollars 5 million dollars ",
    "legal forms": "Inc. Corp. & Co. Ltd ",
    "capitalised": "Apple Bank Of The Great ",
    "markup": "<b>Apple",
    "overlaps": "中国平安银行",
}


@pytest.mark.parametrize("unit", AWKWARD.values(), ids=AWKWARD.keys())
def test_time_grows_with_the_text_and_no_faster(unit: str) -> None:
    """Of four times the text, at most some eight times the time; a square would be sixteen."""

    def seconds(characters: int) -> float:
        item = TextInput((unit * (characters // len(unit) + 1))[:characters])
        started = time.process_time()
        LINKER.link(item)
        return time.process_time() - started

    seconds(1000)
    # A busy machine only adds to a time, so the best of several is the one to compare.
    short = min(seconds(20_000) for _ in range(2))
    assert any(seconds(80_000) < 8 * short + 0.1 for _ in range(10))
    # Of a longer text only the beginning is read (stream.domain.text.cleaning).
    assert any(seconds(1_000_000) < 20 * short + 0.5 for _ in range(5))
