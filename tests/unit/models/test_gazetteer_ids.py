"""Ids of the gazetteer never change: what the compiler does when lists change."""

import csv
import re
from pathlib import Path

import pytest

from tools.compile_gazetteer import compile_entities
from tools.gazetteer_files import CompileError

HEADERS = {
    "us_listed.csv": "rank,ticker,exchange,name,cik",
    "cn_listed.csv": "code,short_name,full_name,english_name,industry",
    "world_listed.csv": "symbol,name,exchange,country,size,sector,isin",
    "cryptos.csv": "symbol,name",
}
HAND = ("corrections", "companies", "coins", "index", "commodity", "currency", "central_bank", "regulator", "words", "common_words", "places")  # fmt: skip


class Workshop:
    """Lists, hand-written files, and a folder of compiled data."""

    def __init__(self, folder: Path) -> None:
        self.lists, self.hand, self.data = (folder / name for name in ("lists", "hand", "data"))
        for path in (self.lists, self.hand, self.data):
            path.mkdir()
        for name in HEADERS:
            self.write_list(name)
        for name in HAND:
            self.write(name)

    def write_list(self, name: str, *rows: tuple[object, ...]) -> None:
        with (self.lists / name).open("w", newline="") as file:
            file.write(HEADERS[name] + "\n")
            csv.writer(file).writerows(rows)

    def us(self, *rows: tuple[object, ...]) -> None:
        self.write_list("us_listed.csv", *((rank, *row) for rank, row in enumerate(rows, 1)))

    def write(self, name: str, *lines: str) -> None:
        (self.hand / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))

    def compile(self) -> dict[str, tuple[str, ...]]:
        """The names of each entity, by id, as they are written: flagged names with a question mark."""
        compile_entities(self.lists, self.hand, self.data)
        rows = [line.split("\t") for line in (self.data / "entities.tsv").read_text().splitlines()]
        return {row[0]: tuple(row[5].split("|")) for row in rows}

    @property
    def ids(self) -> list[str]:
        return (self.data / "ids.txt").read_text().splitlines()

    def tickers(self, entity: str) -> str:
        rows = [line.split("\t") for line in (self.data / "entities.tsv").read_text().splitlines()]
        return next(row[4] for row in rows if row[0] == entity)


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def test_share_classes_and_warrants_are_tickers_of_one_company(workshop):
    workshop.us(
        ("NGB", "NYSE", "Northgate Bank Inc.", 11),
        ("NGB-PA", "NYSE", "Northgate Bank Inc.", 11),
        ("NGBW", "OTC", "Northgate Bank Inc.", 11),
    )
    assert list(workshop.compile()) == ["XNYS:NGB"]
    assert workshop.tickers("XNYS:NGB") == "XNYS:NGB XNYS:NGB-PA OTCM:NGBW"


def test_a_company_of_several_lists_has_the_id_of_its_main_listing(workshop):
    workshop.us(("HQAIY", "OTC", "HUAQIAO AIRLINES CO LTD/ADR", 12))
    workshop.write_list(
        "cn_listed.csv",
        ("600999.SH", "华侨航空", "华侨航空股份有限公司", "Huaqiao Airlines Co., Ltd.", "空运"),
    )
    workshop.write_list(
        "world_listed.csv", ("9999.HK", "Huaqiao Airlines Company Limited", "HKG", "China", "Mid Cap", "", "")
    )
    names = workshop.compile()
    assert list(names) == ["XSHG:600999"]
    assert {"华侨航空", "华侨航空股份有限公司", "Huaqiao Airlines"} <= {*names["XSHG:600999"]}
    assert workshop.tickers("XSHG:600999") == "XSHG:600999 XHKG:9999 OTCM:HQAIY"


def test_a_company_that_moves_to_another_exchange_keeps_its_id(workshop):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11))
    workshop.compile()
    workshop.us(("NGBK", "Nasdaq", "Northgate Bank Inc.", 11))
    assert list(workshop.compile()) == ["XNYS:NGB"]
    assert workshop.tickers("XNYS:NGB") == "XNAS:NGBK XNYS:NGB"
    assert workshop.ids == ["XNYS:NGB"]


def test_a_company_that_is_renamed_keeps_its_id_and_its_old_name(workshop):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11))
    workshop.compile()
    workshop.us(("NGB", "NYSE", "Orionway Financial Inc.", 11))
    names = workshop.compile()
    assert list(names) == ["XNYS:NGB"]
    assert {"Orionway Financial", "Northgate Bank"} <= {*names["XNYS:NGB"]}


def test_a_company_that_left_the_lists_stays(workshop):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11))
    workshop.compile()
    workshop.us(("OTH", "NYSE", "Otherwise Corp", 12))
    names = workshop.compile()
    assert list(names) == ["XNYS:NGB", "XNYS:OTH"]
    assert "Northgate Bank" in names["XNYS:NGB"]


def test_the_ticker_of_a_company_that_left_belongs_to_the_next_one_but_its_id_does_not(workshop):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11))
    workshop.compile()
    workshop.us(("NGB", "NYSE", "New Glass Bottles Inc.", 12))
    names = workshop.compile()
    assert list(names) == ["XNYS:NGB", "XNYS:NGB.2"]
    assert names["XNYS:NGB.2"][0] == "New Glass Bottles"
    assert workshop.tickers("XNYS:NGB.2") == "XNYS:NGB"
    assert workshop.tickers("XNYS:NGB") == ""


def test_of_two_companies_that_turn_out_to_be_one_both_ids_still_lead_to_it(workshop):
    workshop.us(
        ("NGB", "NYSE", "Northgate Bank Inc.", 11), ("NGBPY", "OTC", "Northgate Banking Corp/ADR", 12)
    )
    assert list(workshop.compile()) == ["OTCM:NGBPY", "XNYS:NGB"]
    workshop.write("corrections", "same XNYS:NGB OTCM:NGBPY")
    assert list(workshop.compile()) == ["XNYS:NGB"]
    assert workshop.ids == ["OTCM:NGBPY", "XNYS:NGB", "OTCM:NGBPY XNYS:NGB"]
    workshop.compile()
    assert workshop.ids == ["OTCM:NGBPY", "XNYS:NGB", "OTCM:NGBPY XNYS:NGB"]


def test_compiling_twice_changes_nothing(workshop):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11), ("GAP", "NYSE", "GAP INC", 12))
    workshop.write("words", "gap")
    workshop.write("companies", "XNYS:NGB | Northgate | 北门银行 | ?North; !NGB Group")
    first = workshop.compile()
    assert workshop.compile() == first
    assert first["XNYS:GAP"] == ("?Gap", "Gap Inc")
    assert {"Northgate", "北门银行", "?North", "NGB Group", "Northgate Bank"} <= {*first["XNYS:NGB"]}


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("companies", "XNYS:NOBODY | Nobody", "companies.txt:1: XNYS:NOBODY is in no list: put + in front"),
        ("companies", "+XNYS:NGB | Northgate", "companies.txt:1: XNYS:NGB is in a list: remove the +"),
        ("companies", "XNYS:NGB | a | b | c | d | e", "companies.txt:1: 6 columns; at most 5 are allowed"),
        ("corrections", "rename XNYS:NGB", "corrections.txt:1: expected name, drop, same or apart"),
        ("coins", "crypto:XYZ", "coins.txt:1: crypto:XYZ has no name"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_names_file_and_line(workshop, file, line, message):
    workshop.us(("NGB", "NYSE", "Northgate Bank Inc.", 11))
    workshop.write(file, line)
    with pytest.raises(CompileError, match=re.escape(message)):
        workshop.compile()
