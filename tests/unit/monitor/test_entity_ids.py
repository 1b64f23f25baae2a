"""Ids of entities in rule files, against the shipped gazetteer."""

import pytest

from models.entities.gazetteer import Gazetteer
from monitor.entity_ids import resolver

RESOLVE = resolver(Gazetteer.load)


def test_an_id_is_what_it_is_and_anything_may_be_one_without_a_gazetteer() -> None:
    assert RESOLVE("XNAS:AAPL") == "XNAS:AAPL"
    assert resolver(lambda: None)("XNAS:APPL") == "XNAS:APPL"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("AAPL", "XNAS:AAPL"),
        ("XNYS:AAPL", "XNAS:AAPL"),
        ("XNAS:AAPPL", "XNAS:AAPL"),
        ("BRK.B", "XNYS:BRK-B"),
        ("Tesla", "XNAS:TSLA"),
        ("贵州茅台", "XSHG:600519"),
        ("cb:FEDD", "cb:FED"),
    ],
)
def test_what_is_no_id_is_refused_with_what_was_meant(written: str, meant: str) -> None:
    with pytest.raises(ValueError) as caught:
        RESOLVE(written)
    assert str(caught.value) == f"unknown entity {written!r} (did you mean {meant!r}?)"


def test_nonsense_is_refused_without_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"^unknown entity 'qqqqqqqq:wwwwwwwww'$"):
        RESOLVE("qqqqqqqq:wwwwwwwww")
