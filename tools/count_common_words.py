"""Finds the names of the gazetteer that are words, or names of people and places, as well.

    python -m tools.count_common_words DICTIONARY TEXTS...

DICTIONARY has a word a line, TEXTS have a JSON object with `text`, `title` or `body` a line.  A name counts
if the dictionary has it, or if the texts write it in lower case.  tools/gazetteer/common_words.txt gets the
names alone, nothing else of the texts.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from tools.compile_gazetteer import DATA, HAND
from tools.gazetteer_files import COMMON_WORDS, read_published

WORD = re.compile(r"[A-Za-z][A-Za-z'&.-]*[A-Za-z]|[A-Za-z]")
NAME = re.compile(r"[A-Za-z][A-Za-z'-]*(?: [A-Za-z][A-Za-z'-]*)?")
# A name that is in no dictionary: how often the texts write it in lower case, at least.  One that is in a
# dictionary: how rarely at most, if it is the name of a company all the same.
FEWEST, RAREST, FEWEST_CAPITALS = 3, 0.03, 20
HEADER = (
    "# Names that are words, or names of people and places, too.  Written by tools/count_common_words.py.\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    options = parser.parse_args()
    dictionary = {word.casefold() for word in options.dictionary.read_text(encoding="utf-8").split()}
    lower, capital = count(read_texts(options.texts))
    names = {name for draft in read_published(DATA).drafts for name in draft.names if NAME.fullmatch(name)}
    found = sorted(
        {name.casefold() for name in names if is_common(name.casefold(), dictionary, lower, capital)}
    )
    (HAND / COMMON_WORDS).write_text(HEADER + "\n".join(found) + "\n", encoding="utf-8")
    print(f"{len(found):,} of {len(names):,} names")


def read_texts(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                yield " . ".join(str(row[field]) for field in ("title", "text", "body") if row.get(field))


def count(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often words and pairs of words are in lower case, and how often they are not."""
    lower, capital = Counter[str](), Counter[str]()
    for text in texts:
        words = WORD.findall(text)
        for phrase in (*words, *(" ".join(pair) for pair in pairwise(words))):
            (lower if phrase.islower() else capital)[phrase.casefold()] += 1
    return lower, capital


def is_common(name: str, dictionary: set[str], lower: Counter[str], capital: Counter[str]) -> bool:
    """Whether a name is a word in texts, too."""
    if " " in name:
        return lower[name] > 0
    if name in dictionary or name.removesuffix("s") in dictionary:
        return not (capital[name] >= FEWEST_CAPITALS and lower[name] <= RAREST * capital[name])
    return lower[name] >= FEWEST and lower[name] > capital[name] / 4


if __name__ == "__main__":
    main()
