"""The linker over the shipped list of entities."""

import re
import time

import pytest

from models.entities.entity import EntityKind
from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from stream.domain.documents import TextInput

EVERY = 20
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker(Gazetteer.load())


def entities(linker: Linker, text: str, *symbols: str) -> set[str]:
    return {link.entity for link in linker.link(TextInput(text, symbols=symbols))}


def test_names_of_the_list_are_found_beside_a_finance_word(linker: Linker) -> None:
    names = [
        (name.text, entity.id)
        for entity in linker.gazetteer.entities.values()
        if entity.kind is not EntityKind.CURRENCY
        for name in entity.names
        if not name.needs_evidence
    ][::EVERY]
    missed = [
        name
        for name, id_ in names
        if id_
        not in entities(
            linker, f"昨日，{name}股价上涨" if HAN.search(name) else f"Yesterday {name} shares rose"
        )
    ]
    assert len(missed) < 0.005 * len(names), missed


def test_tickers_of_the_list_are_found_as_symbols_with_their_exchange(linker: Linker) -> None:
    listed = [
        (ticker, entity.id)
        for entity in linker.gazetteer.entities.values()
        for ticker in entity.tickers
        if ":" in ticker
    ][::EVERY]
    assert not [ticker for ticker, id_ in listed if entities(linker, "", ticker) != {id_}]


@pytest.mark.parametrize(
    ("symbol", "entity"),
    [
        ("AAPL", "XNAS:AAPL"), ("$AAPL", "XNAS:AAPL"), ("aapl", "XNAS:AAPL"), ("NASDAQ:AAPL", "XNAS:AAPL"),
        ("AAPL.O", "XNAS:AAPL"), ("AAPL US Equity", "XNAS:AAPL"), ("AAPL:US", "XNAS:AAPL"), ("US:AAPL", "XNAS:AAPL"),
        ("BRK.B", "XNYS:BRK-B"), ("BRK/B", "XNYS:BRK-B"), ("BRK-B", "XNYS:BRK-B"), ("NYSE:BRK.A", "XNYS:BRK-B"),
        ("BRK B", "XNYS:BRK-B"), ("$BRK.B", "XNYS:BRK-B"), ("600519.SH", "XSHG:600519"), ("600519.SS", "XSHG:600519"),
        ("SH600519", "XSHG:600519"), ("600519", "XSHG:600519"), ("00700.HK", "XHKG:0700"), ("0700.HK", "XHKG:0700"),
        ("700.HK", "XHKG:0700"), ("HK:00700", "XHKG:0700"), ("00700", "XHKG:0700"), ("BTC", "crypto:BTC"),
        ("BTC-USD", "crypto:BTC"), ("BTC/USDT", "crypto:BTC"), ("BTCUSD", "crypto:BTC"), ("BTC.X", "crypto:BTC"),
        ("crypto:BTC", "crypto:BTC"), ("XNAS:AAPL", "XNAS:AAPL"), ("GOOG", "XNAS:GOOGL"), ("7203.T", "XNYS:TM"),
    ],
)  # fmt: skip
def test_a_symbol_of_a_message_names(linker: Linker, symbol: str, entity: str) -> None:
    assert entities(linker, "Rain today", symbol) == {entity}


def test_symbols_that_nobody_knows_and_texts_without_names_have_no_links(linker: Linker) -> None:
    assert (
        entities(
            linker, "It rained on the way home and the bread was good", "ZZZZZZ", "", " ", "$", ":", "12"
        )
        == set()
    )


def test_a_headline_takes_some_microseconds(linker: Linker) -> None:
    """Some 50 on a machine that does nothing else; the bound is for busy ones."""
    items = [
        TextInput(f"Quarterly profit of Microsoft rises {number} % as Apple shares fall")
        for number in range(300)
    ]
    linker.load()
    best = 1.0
    for _ in range(3):
        started = time.process_time()
        for item in items:
            linker.link(item)
        best = min(best, (time.process_time() - started) / len(items))
    assert best < 0.0005


def test_the_list_is_ready_soon(linker: Linker) -> None:
    started = time.process_time()
    Linker(linker.gazetteer).load()
    assert time.process_time() - started < 5


def test_tickers_in_a_list_with_one_that_counts_are_found_and_acronyms_are_not(linker: Linker) -> None:
    assert entities(linker, "MSFT, AAPL and GOOGL lead Nasdaq higher") == {
        "XNAS:MSFT", "XNAS:AAPL", "XNAS:GOOGL", "index:IXIC",
    }  # fmt: skip
    assert entities(linker, "MSFT, CEO, GDP and FAQ; TSLA") == {"XNAS:MSFT"}
