"""Compiles the gazetteer from public lists of companies and coins, and from the files in tools/gazetteer.

    python -m tools.compile_gazetteer FOLDER

FOLDER holds `us_listed.csv`, `cn_listed.csv`, `world_listed.csv` and `cryptos.csv`.  The result is written to
models/entities/data, and the previous result is read from there: a known entity keeps its id, and one that
left the lists stays.  docs/entities.md describes all files.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import gazetteer_files as files
from tools.gazetteer_drafts import Draft, join_listings, settle_names
from tools.gazetteer_ids import keep_ids
from tools.gazetteer_lists import read_coins, read_listings

DATA = Path("models/entities/data")
HAND = Path(__file__).parent / "gazetteer"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of the lists")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the compiled gazetteer")
    parser.add_argument("--hand", type=Path, default=HAND, help="folder of the hand-written files")
    options = parser.parse_args(arguments)
    try:
        drafts = compile_entities(options.folder, options.hand, options.data)
    except files.CompileError as error:
        sys.exit(str(error))
    print(f"{len(drafts):,} entities, {sum(len(draft.names) for draft in drafts):,} names")


def compile_entities(folder: Path, hand: Path, data: Path) -> list[Draft]:
    """Compile the lists in `folder` and the files in `hand` into `data`.  Raises CompileError."""
    corrections = files.read_corrections(hand / "corrections.txt")
    listings = [corrections.correct(listing) for listing in read_listings(folder)]
    kept = [listing for listing in listings if listing is not None]
    drafts = join_listings(kept, corrections, files.read_places(hand))
    files.add_companies(hand / "companies.txt", drafts)
    coins = files.read_entities(hand / "coins.txt", "crypto")
    drafts += [*coins, *read_coins(folder, coins)]
    for kind in ("index", "commodity", "currency", "central_bank", "regulator"):
        drafts += files.read_entities(hand / f"{kind}.txt", kind)
    published = files.read_published(data)
    drafts = keep_ids(drafts, published.drafts, published.ids)
    settle_names(drafts, files.read_words(hand))
    files.write(drafts, published, data)
    return drafts


if __name__ == "__main__":
    main()
