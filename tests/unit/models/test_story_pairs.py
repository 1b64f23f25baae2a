"""The written pairs for stories and copies: sizes, both labels, and test texts that no training file has."""

import csv
import re
import unicodedata
from itertools import chain
from pathlib import Path

import pytest

import models

ROOT = Path(models.__file__).parent
TRAINING = ROOT / "data" / "stories"
CHECKS = ROOT / "evaluation" / "checks"
WRITTEN = ROOT / "data" / "augmentation" / "written"

FILES = {
    TRAINING / "pairs_en.csv": ("same", 130),
    TRAINING / "pairs_zh.csv": ("same", 100),
    CHECKS / "stories_en.csv": ("same", 100),
    CHECKS / "stories_zh.csv": ("same", 60),
    CHECKS / "copies_en.csv": ("copy", 70),
    CHECKS / "copies_zh.csv": ("copy", 50),
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def letters(text: str) -> str:
    """The text without case, punctuation, spaces and full-width forms."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold())


def texts(path: Path) -> set[str]:
    """Every text of a file of pairs or of labelled texts, reduced to its letters and digits."""
    columns = ("first", "second", "text")
    return {letters(row[column]) for row in rows(path) for column in columns if column in row}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_has_enough_pairs_of_both_labels(path: Path) -> None:
    label, least = FILES[path]
    labels = [row[label] for row in rows(path)]
    assert set(labels) == {"0", "1"}
    assert min(labels.count("0"), labels.count("1")) >= least


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_row_is_complete_and_no_pair_is_there_twice(path: Path) -> None:
    label, _ = FILES[path]
    found = rows(path)
    for row in found:
        assert all(value and value == value.strip() for name, value in row.items() if name != "second"), row
        assert row["second"].strip() and row["first"] != row["second"], row
    pairs = [frozenset((row["first"], row["second"])) for row in found]
    assert len(set(pairs)) == len(pairs)
    if label == "same":
        assert [int(row["pair"]) for row in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_text_of_the_checks_is_in_a_training_file(language: str) -> None:
    trained = texts(TRAINING / f"pairs_{language}.csv")
    trained.update(chain.from_iterable(texts(path) for path in WRITTEN.glob(f"{language}_*.csv")))
    for name in ("stories", "copies"):
        assert not texts(CHECKS / f"{name}_{language}.csv") & trained


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_two_checks_share_no_text(language: str) -> None:
    assert not texts(CHECKS / f"stories_{language}.csv") & texts(CHECKS / f"copies_{language}.csv")
