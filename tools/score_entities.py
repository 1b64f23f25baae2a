"""Measure how well texts are linked to entities: labelled texts, and exact names of the lists of companies.

    python -m tools.score_entities DATA
    python -m tools.score_entities DATA --errors
    python -m tools.score_entities DATA --json > scores.json

DATA is the folder of the texts and of the lists of companies, which are no part of the repository.  The
labels are in `tests/data/entity_links.jsonl` (`tools/entity_labels.py`).  The truth of exact names comes from
the lists alone (`tools/exact_names.py`).
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from stream.domain.documents import TextInput
from tools.entity_labels import LABELS, Counts, LabelledMention, Links, Score, Span, read_labels, score_links
from tools.exact_names import ExactName, exact_names

# So many characters are shown before and after an error.
CONTEXT = 30

FindLinks = Callable[[str, str], Links]
"""The links of a text in a language."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data files")
    parser.add_argument("--labels", type=Path, default=LABELS, help="file of labels (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--errors", action="store_true", help="print each error with the text around it")
    options = parser.parse_args()
    gazetteer = Gazetteer.load()
    linker = Linker(gazetteer)

    @cache
    def find(text: str, lang: str) -> Links:
        return {link.entity: link.spans for link in linker.link(TextInput(text, lang=lang))}

    scores, errors = score_labels(options.data, options.labels, find, gazetteer)
    names, missed = score_names(exact_names(options.data), find, gazetteer)
    if options.json:
        print(json.dumps(_as_json(scores, names, gazetteer), indent=2))
    else:
        print("\n".join(_table(scores, names)))
    if options.errors:
        print("\n".join(["", *errors, *missed]))


def score_labels(
    data: Path, labels: Path, find: FindLinks, gazetteer: Gazetteer
) -> tuple[dict[str, Score], list[str]]:
    """The scores of labelled texts, by language and difficulty, and a line for each error."""
    scores: dict[str, Score] = defaultdict(Score)
    errors = []
    for labelled in read_labels(labels):
        text = labelled.read(data)
        score = score_links(_current(labelled.mentions, gazetteer), find(text, labelled.lang))
        difficulty = "hard" if labelled.hard else "easy"
        for group in ("all", labelled.lang, difficulty, f"{labelled.lang} {difficulty}"):
            scores[group] += score
        place = f"{labelled.file} row {labelled.row}"
        errors += [f"{e.kind} {e.entity}: {_around(text, e.span)}  ({place})" for e in score.errors]
    return dict(sorted(scores.items())), errors


def _current(mentions: Iterable[LabelledMention], gazetteer: Gazetteer) -> list[LabelledMention]:
    """The mentions, with the ids that the gazetteer has now."""
    return [replace(mention, id=mention.id and gazetteer.resolve(mention.id)) for mention in mentions]


def score_names(
    names: Iterable[ExactName], find: FindLinks, gazetteer: Gazetteer
) -> tuple[dict[str, Counts], list[str]]:
    """The recall of exact names, by file and kind of match, and a line for each that was missed."""
    counts: dict[str, Counts] = defaultdict(Counts)
    errors = []
    for name in names:
        found = any(
            any(_overlap(span, name.span) for span in spans) and _is_called(gazetteer, entity, name)
            for entity, spans in find(name.text, name.lang).items()
        )
        counts[f"{name.source}, {name.match}"] += Counts(right=1) if found else Counts(missed=1)
        if not found:
            errors.append(
                f"missed {name.name} ({name.match}): {_around(name.text, name.span)}  ({name.source})"
            )
    return dict(counts), errors


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is_called(gazetteer: Gazetteer, entity_id: str, name: ExactName) -> bool:
    """Whether an entity has the name, or a ticker of one that has it on the lists."""
    entity = gazetteer.entities[entity_id]
    names = {each.text.casefold() for each in entity.names}
    return name.name.casefold() in names or not name.tickers.isdisjoint((entity.id, *entity.tickers))


def _around(text: str, span: Span) -> str:
    before, after = text[max(0, span[0] - CONTEXT) : span[0]], text[span[1] : span[1] + CONTEXT]
    return f"{before}[{text[span[0] : span[1]]}]{after}".replace("\n", " ")


def _as_json(scores: dict[str, Score], names: dict[str, Counts], gazetteer: Gazetteer) -> dict[str, object]:
    labelled = {
        group: {"n": score.n, "entities": _figures(score.entities), "spans": _figures(score.spans)}
        for group, score in scores.items()
    }
    exact = {
        group: {"n": counts.right + counts.missed, "recall": _number(counts.recall)}
        for group, counts in names.items()
    }
    return {"gazetteer": gazetteer.version, "labelled": labelled, "exact_names": exact}


def _figures(counts: Counts) -> dict[str, object]:
    return {
        "precision": _number(counts.precision),
        "recall": _number(counts.recall),
        "right": counts.right,
        "wrong": counts.wrong,
        "missed": counts.missed,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _table(scores: dict[str, Score], names: dict[str, Counts]) -> Iterator[str]:
    yield f"{'':<12} {'':>5}  {'entities of a text':^18}  {'spans':^18}"
    yield f"{'texts':<12} {'n':>5}  {'precision':>9} {'recall':>8}  {'precision':>9} {'recall':>8}"
    for group, score in scores.items():
        figures = "  ".join(f"{c.precision:9.3f} {c.recall:8.3f}" for c in (score.entities, score.spans))
        yield f"{group:<12} {score.n:5}  {figures}"
    yield ""
    yield f"{'exact names':<60} {'n':>5} {'recall':>8}"
    for group, counts in names.items():
        yield f"{group:<60} {counts.right + counts.missed:5} {counts.recall:8.3f}"


if __name__ == "__main__":
    main()
