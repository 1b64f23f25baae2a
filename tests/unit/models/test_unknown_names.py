"""Names without an entity: what a house could add to its own file."""

import pytest

from models.entities.linker import Linker
from models.entities.unknown import Sign, UnknownNames, find
from stream.domain.documents import TextInput
from tests.unit.models.entity_samples import SAMPLES


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker(SAMPLES)


CASES = [
    ("A cashtag nobody has", "$ZZYX jumps, $AAPL falls", {("$ZZYX", Sign.CASHTAG)}),
    ("A name with its legal form", "Today Zephyr Robotics Inc. said that rain fell", {("Zephyr Robotics", Sign.NAME)}),
    ("A name beside words of finance", "In running text Zephyr shares fell while shares of Quuxo rose", {("Zephyr", Sign.NAME), ("Quuxo", Sign.NAME)}),
    ("Known names are not listed", "Microsoft Corp. and Tesla, Inc. shares", set()),
    ("A Chinese name with the ending of a company", "今日，晨星云海科技与北岭银行签约", {("晨星云海科技", Sign.NAME), ("北岭银行", Sign.NAME)}),
    ("A code in brackets", "晨星云海(300999)公告", {("300999", Sign.CODE)}),
    ("Headlines are no names", "Stocks Fall As Investors Sell Everything They Have", set()),
    ("Addresses are no names", "see https://www.zephyr.com/Zephyr-Robotics-Inc", set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_names_without_an_entity(linker: Linker, text: str, expected: set[tuple[str, Sign]]) -> None:
    assert set(map(tuple, find(linker, TextInput(text)))) == expected


def test_symbols_that_nobody_has_are_listed(linker: Linker) -> None:
    assert find(linker, TextInput("Rain", symbols=("AAPL", "ZZYX", ""))) == [("ZZYX", Sign.SYMBOL)]


def test_names_are_counted_by_document_in_any_spelling(linker: Linker) -> None:
    names = UnknownNames(linker)
    names.add("one", TextInput("Zephyr Robotics Inc fell. Zephyr Robotics Inc rose."))
    names.add("two", TextInput("ZEPHYR ROBOTICS INC fell"))
    names.add("three", TextInput("$ZZYX"))
    first, second = names.most_frequent(5)
    assert (first.name.text, first.documents, first.example) == ("Zephyr Robotics", 2, "one")
    assert (second.name.text, second.documents, second.example) == ("$ZZYX", 1, "three")


def test_the_rarest_names_are_forgotten_where_there_are_too_many(linker: Linker) -> None:
    names = UnknownNames(linker, most=10)
    for number in range(100):
        names.add(str(number), TextInput(f"$ZZYX $QQ{chr(65 + number % 26)}{chr(65 + number // 26)}"))
    found = names.most_frequent(100)
    assert len(found) <= 11
    assert (found[0].name.text, found[0].documents) == ("$ZZYX", 100)
