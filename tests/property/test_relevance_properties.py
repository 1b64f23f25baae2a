"""Relevance: in range, never raised by another entity, and highest in the title."""

from hypothesis import given
from hypothesis import strategies as st

from models.entities.relevance import Range, relevances

# Texts of names, words and separators, so that lists and sentences are common.
NAMES = ("Qa", "Qb", "Qc", "Qd", "Qe", "Qf", "Qg", "Qh")
PIECES = (*NAMES, "$", ", ", " ", ". ", " and ", " falls ", "、", "。", "\n", "x", " 1.2% ", "<b>", "$ZZ ")
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map("".join)


def named(text: str, name: str) -> list[Range]:
    return [(at, at + len(name)) for at in range(len(text)) if text.startswith(name, at)]


@given(texts, st.sets(st.sampled_from(NAMES)), st.integers(0, 80))
def test_relevance_is_from_0_to_100(text: str, names: set[str], title_length: int) -> None:
    entities = [named(text, name) for name in sorted(names)]
    found = relevances(entities, text, min(title_length, len(text)))
    assert len(found) == len(entities) and all(0 <= value <= 100 for value in found)


@given(texts, st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from(NAMES), st.booleans())
def test_no_other_entity_raises_a_relevance(text: str, names: set[str], other: str, by_symbol: bool) -> None:
    before = sorted(names - {other})
    entities = [named(text, name) for name in before]
    more = [*entities, [] if by_symbol else named(text, other)]
    alone, together = relevances(entities, text), relevances(more, text)
    assert all(a >= b for a, b in zip(alone, together, strict=False))


@given(texts.map(lambda text: text.replace("\n", " ")), texts, st.sets(st.sampled_from(NAMES), min_size=1))
def test_a_mention_in_the_title_is_at_least_as_relevant(title: str, body: str, names: set[str]) -> None:
    text = f"{title}\n{body}"
    entities = [named(text, name) for name in sorted(names)]
    without, with_title = relevances(entities, text), relevances(entities, text, len(title))
    for own, low, high in zip(entities, without, with_title, strict=True):
        if own and own[0][0] < len(title):
            assert high >= low


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.sampled_from(NAMES))
def test_naming_an_entity_earlier_never_lowers_its_relevance(text: str, name: str) -> None:
    entities = [named(text, name)]
    if len(entities[0]) > 1:
        assert relevances(entities, text)[0] >= relevances([entities[0][1:]], text)[0]
