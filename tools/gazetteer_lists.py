"""The public lists that the gazetteer is compiled from, as rows of one shape."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.gazetteer_drafts import Draft, Listing

# ISO 10383 codes of the exchanges, by how the lists call them.
US_EXCHANGES = {"Nasdaq": "XNAS", "NYSE": "XNYS", "CBOE": "BATS", "OTC": "OTCM", "": "OTCM"}
CN_EXCHANGES = {"SH": "XSHG", "SZ": "XSHE", "BJ": "XBSE"}
WORLD_EXCHANGES = {
    "LSE": "XLON", "JPX": "XTKS", "HKG": "XHKG", "NSE": "XNSE", "TOR": "XTSE", "ASX": "XASX", "PAR": "XPAR",
    "SAO": "BVMF", "GER": "XETR", "KSC": "XKRX", "STO": "XSTO", "EBS": "XSWX", "TAI": "XTAI", "MIL": "XMIL",
    "SES": "XSES", "OSL": "XOSL", "MEX": "XMEX", "MCE": "XMAD", "JNB": "XJSE", "SAU": "XSAU", "AMS": "XAMS",
    "CPH": "XCSE", "NZE": "XNZE", "HEL": "XHEL", "BRU": "XBRU", "VIE": "XWBO", "IST": "XIST", "TLV": "XTAE",
    "ISE": "XDUB", "LIS": "XLIS",
}  # fmt: skip
# The world's list has sizes, the others are ranked: where two companies have one name, the larger gets it.
WORLD_RANKS = {"Large Cap": 800, "Mid Cap": 3000}
CN_RANK, UNKNOWN_RANK = 2500, 6000


def read_listings(folder: Path) -> Iterator[Listing]:
    """Every row of the three lists of companies."""
    for row in _rows(folder / "us_listed.csv"):
        ticker = f"{US_EXCHANGES[row['exchange']]}:{row['ticker']}"
        yield Listing("us", ticker, row["name"], int(row["rank"]), key="cik=" + row["cik"])
    for row in _rows(folder / "cn_listed.csv"):
        code, _, suffix = row["code"].partition(".")
        chinese = (row["short_name"], row["full_name"])
        yield Listing("cn", f"{CN_EXCHANGES[suffix]}:{code}", row["english_name"], CN_RANK, chinese)
    for row in _rows(folder / "world_listed.csv"):
        ticker = row["symbol"].rpartition(".")[0]
        # The list also has warrants, notes and funds, under the name of the company that issued them.
        if row["exchange"] == "KSC" and not re.fullmatch(r"\d{6}", ticker):
            continue
        rank = WORLD_RANKS.get(row["size"], UNKNOWN_RANK)
        key = "isin=" + row["isin"] if row["isin"] else ""
        yield Listing("world", f"{WORLD_EXCHANGES[row['exchange']]}:{ticker}", row["name"], rank, key=key)


def read_coins(folder: Path, known: Iterable[Draft]) -> Iterator[Draft]:
    """The coins of the list that are not among `known`."""
    symbols = {ticker for draft in known for ticker in (draft.id, *draft.tickers)}
    names = {name.casefold().replace(" ", "") for draft in known for name in draft.names}
    for row in _rows(folder / "cryptos.csv"):
        # A digit after a symbol tells two coins with the same one apart.
        symbol = row["symbol"]
        name = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", row["name"])
        if not name or f"crypto:{symbol}" in symbols or row["name"].casefold().replace(" ", "") in names:
            continue
        draft = Draft(f"crypto:{symbol}", "crypto", name, rank=UNKNOWN_RANK)
        for spelling in dict.fromkeys((name, row["name"])):
            draft.add_name(spelling, 1)
        yield draft


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
