"""Names in texts that are, letter for letter, names on the lists of companies: truth without the linker.

It reads the lists and the annotated texts, and nothing of `models`.
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CHINESE, ENGLISH = "zh/cfsc_names_dev.jsonl", "sentiment/sentfin_entities.jsonl"
COMPANY_KINDS = frozenset(("Stock", "Corporate"))
US_MICS = {"Nasdaq": "XNAS", "NYSE": "XNYS", "CBOE": "BATS"}
CHINESE_MICS = {"SH": "XSHG", "SZ": "XSHE", "BJ": "XBSE"}
WORLD_MICS = {
    "JPX": "XTKS", "HKG": "XHKG", "NSE": "XNSE", "TOR": "XTSE", "ASX": "XASX", "PAR": "XPAR", "SAO": "BVMF",
    "LSE": "XLON", "GER": "XETR", "KSC": "XKRX", "STO": "XSTO", "EBS": "XSWX", "TAI": "XTAI", "MIL": "XMIL",
    "SES": "XSES", "OSL": "XOSL", "MEX": "XMEX", "MCE": "XMAD", "JNB": "XJSE", "AMS": "XAMS", "SAU": "XSAU",
    "CPH": "XCSE", "NZE": "XNZE", "HEL": "XHEL", "BRU": "XBRU", "VIE": "XWBO", "IST": "XIST", "TLV": "XTAE",
    "ISE": "XDUB", "LIS": "XLIS",
}  # fmt: skip
# What is left out at the end of a company's name to get the form that headlines use.
LEGAL_FORM = re.compile(
    r"[\s,]+(?:inc|incorporated|corp|corporation|co|company|ltd|limited|plc|llc|lp|sa|ag|se|nv|ab|spa|the)\.?$",
    re.IGNORECASE,
)

Tickers = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class ExactName:
    """A name in a text that is a name of the lists.  `tickers` are those of all that are called so."""

    text: str
    lang: str
    name: str
    span: tuple[int, int]
    tickers: frozenset[str]
    source: str
    match: str


def exact_names(data: Path) -> Iterator[ExactName]:
    """All names of the annotated texts that the lists have."""
    listed = listed_names(data / "entities")
    yield from _chinese(data, listed)
    yield from _english(data, listed)


def listed_names(folder: Path) -> Tickers:
    """All names of the lists as they are written, each with the tickers that it may mean."""
    names: dict[str, set[str]] = defaultdict(set)
    for row in _table(folder / "us_listed.csv"):
        if row["exchange"] in US_MICS or row["exchange"] == "OTC":
            names[row["name"]].add(f"{US_MICS.get(row['exchange'], 'OTCM')}:{row['ticker']}")
    for row in _table(folder / "cn_listed.csv"):
        code, _, exchange = row["code"].partition(".")
        for column in ("short_name", "full_name", "english_name"):
            names[row[column]].add(f"{CHINESE_MICS[exchange]}:{code}")
    for row in _table(folder / "world_listed.csv"):
        ticker = row["symbol"].rpartition(".")[0]
        names[row["name"]].add(f"{WORLD_MICS[row['exchange']]}:{ticker}")
    names.pop("", None)
    return {name: frozenset(tickers) for name, tickers in names.items()}


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _chinese(data: Path, listed: Tickers) -> Iterator[ExactName]:
    with (data / CHINESE).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            for name in row["names"]:
                if name["kind"] in COMPANY_KINDS and name["text"] in listed:
                    span = name["start"], name["end"]
                    tickers = listed[name["text"]]
                    yield ExactName(row["text"], "zh", name["text"], span, tickers, CHINESE, "as written")


def _english(data: Path, listed: Tickers) -> Iterator[ExactName]:
    """Entities of English headlines: as a list writes them, in other capitals, or without the legal form."""
    forms = {
        "as written": listed,
        "other capitals": _keyed(listed, str.casefold),
        "without the legal form": _keyed(listed, without_legal_form),
    }
    with (data / ENGLISH).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            for name in row["entities"]:
                keys = (name, name.casefold(), without_legal_form(name))
                found = ((form, forms[form].get(key)) for form, key in zip(forms, keys, strict=True))
                match = next(((form, tickers) for form, tickers in found if tickers), None)
                span = _whole_word(row["text"], name)
                if match and span:
                    yield ExactName(row["text"], "en", name, span, match[1], ENGLISH, match[0])


def _keyed(listed: Tickers, key: Callable[[str], str]) -> Tickers:
    keyed: dict[str, set[str]] = defaultdict(set)
    for name, tickers in listed.items():
        keyed[key(name)] |= tickers
    return {name: frozenset(tickers) for name, tickers in keyed.items()}


def without_legal_form(name: str) -> str:
    """A company's name without the legal forms at its end, in lower case."""
    shorter = LEGAL_FORM.sub("", name)
    return name.casefold() if shorter == name else without_legal_form(shorter)


def _whole_word(text: str, name: str) -> tuple[int, int] | None:
    """Where a text has a name first, as whole words in whatever capitals."""
    match = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
    return match.span() if match else None
