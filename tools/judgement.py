"""Measure a classifier on all that its labels are judged by: labelled sets, checks, names, speed and start.

    python -m tools.judgement --data FOLDER
    python -m tools.judgement --data FOLDER --second-opinion off --second-opinion auto:LARGE
    python -m tools.judgement --data FOLDER --weights SEED1 --weights SEED2 --json > figures.json
    python -m tools.judgement --data FOLDER --only kinds --only plain
    python -m tools.judgement --data FOLDER --only left-out --left-out tfn=FOLDER --left-out sentfin=FOLDER

FOLDER of `--data` holds the labelled files, which are no part of the repository.  Each model, and each value
of `models.second_opinion`, is a column of the table.  Texts go through the product as the daemon classifies
them.  Intervals are 95 % by bootstrap (of speed and start: the least and the most of the rounds); `*` marks
what is required and not reached.  A topic that is newer than the labels of a set does not count there: the
next best topic takes its place.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.backend_selection import select_backend
from models.document_classifier import DocumentClassifier
from models.errors import ModelError
from models.inference.second_opinion import SecondOpinion
from models.inference.whole import Mode
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from tools.judgement_figures import (
    LEFT_OUT,
    Figure,
    direction_figures,
    kind_figures,
    label_figures,
    left_out_figures,
    plain_figures,
    target_figures,
)
from tools.judgement_speed import headlines, speed_figures, start_figures

FROM_TEXTS = {
    "labels": label_figures,
    "kinds": kind_figures,
    "pairs": direction_figures,
    "targets": target_figures,
    "plain": plain_figures,
}
SPEED, START, LEFT_OUT_GROUP = "speed", "start", "left-out"
GROUPS = (*FROM_TEXTS, SPEED, START, LEFT_OUT_GROUP)


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, and which texts get a second opinion (None: as the settings have it)."""

    weights: Path
    second_opinion: str | None
    threads: int

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.weights.name, self.second_opinion]))

    def settings(self, second_opinion: str | None = None) -> ModelSettings:
        """The settings with which it runs, without the cache of repeated texts."""
        values: dict[str, Any] = {"weights": self.weights, "threads": self.threads, "remembered_texts": 0}
        if mode := second_opinion or self.second_opinion:
            values["second_opinion"] = mode
        return ModelSettings.model_validate(values)

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which a command runs it."""
        values = {"WEIGHTS": str(self.weights.resolve()), "THREADS": str(self.threads)}
        if self.second_opinion:
            values["SECOND_OPINION"] = self.second_opinion
        return {f"MONITOR_MODELS__{name}": value for name, value in values.items()}


def main() -> None:
    options = _parser().parse_args()
    opinions = options.second_opinion or [None]
    subjects = [
        Subject(weights, opinion, options.threads)
        for weights in options.weights or [SHIPPED_WEIGHTS]
        for opinion in opinions
    ]
    try:
        tables = [list(figures(subject, options)) for subject in subjects]
    except (ModelError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    if options.json:
        columns = [
            {"weights": str(subject.weights), "second_opinion": subject.second_opinion, "figures": rows}
            for subject, rows in zip(subjects, map(_as_json, tables), strict=True)
        ]
        print(json.dumps(columns, indent=2))
    else:
        print("\n".join(table([subject.name for subject in subjects], tables)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled files")
    parser.add_argument("--weights", type=Path, action="append", help="model folder; can be repeated")
    parser.add_argument("--second-opinion", action="append", help="value of the setting; can be repeated")
    parser.add_argument("--only", action="append", choices=GROUPS, help="measure only this; can be repeated")
    parser.add_argument(
        "--left-out",
        action="append",
        type=_left_out,
        default=[],
        metavar="SOURCE=FOLDER",
        help=f"a model that was trained without one source ({', '.join(LEFT_OUT)}); can be repeated",
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--headlines", type=int, default=4000, help="for speed (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="for speed and start (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _left_out(value: str) -> tuple[str, Path]:
    source, _, folder = value.partition("=")
    if source not in LEFT_OUT or not folder:
        raise argparse.ArgumentTypeError(f"{value}: SOURCE=FOLDER, where SOURCE is {', '.join(LEFT_OUT)}")
    return source, Path(folder)


def figures(subject: Subject, options: argparse.Namespace) -> Iterator[Figure]:
    """All figures of one column."""
    wanted = options.only or GROUPS
    texts = [group for group in FROM_TEXTS if group in wanted]
    if texts or SPEED in wanted:
        classifier = _load(subject.settings())
        for group in texts:
            _progress(subject, group)
            yield from FROM_TEXTS[group](classifier, options.data)
        if SPEED in wanted:
            _progress(subject, SPEED)
            mode = _mode(classifier)
            small = _load(subject.settings(Mode.OFF)) if mode is not Mode.OFF else None
            drawn = headlines(options.data, options.headlines)
            yield from speed_figures(classifier, small, drawn, mode=mode, rounds=options.rounds)
    if START in wanted:
        _progress(subject, START)
        yield from start_figures(subject.variables, options.rounds)
    if LEFT_OUT_GROUP in wanted:
        models = dict(options.left_out)
        yield from left_out_figures(_load_alone, options.data, models)


def _load(settings: ModelSettings) -> DocumentClassifier:
    return DocumentClassifier.load(settings, choose=select_backend)


def _mode(classifier: DocumentClassifier) -> Mode:
    """Which texts get a second opinion, also where the settings leave that open."""
    engine = classifier.engine
    return engine.mode if isinstance(engine, SecondOpinion) else Mode.OFF


def _load_alone(weights: Path) -> DocumentClassifier:
    return _load(ModelSettings(weights=weights, remembered_texts=0, second_opinion="off"))


def _progress(subject: Subject, group: str) -> None:
    print(f"{subject.name}: {group} ...", file=sys.stderr, flush=True)


def _as_json(rows: Sequence[Figure]) -> list[Mapping[str, object]]:
    return [asdict(figure) | {"reached": figure.reached} for figure in rows]


def table(names: Sequence[str], columns: Sequence[Sequence[Figure]]) -> Iterator[str]:
    """Lines of text: a row for each figure, with a column for each model."""
    by_name = [{figure.name: figure for figure in column} for column in columns]
    rows = list(dict.fromkeys(name for column in by_name for name in column))
    cells = [[_cell(column.get(name)) for column in by_name] for name in rows]
    first = max(map(len, rows), default=0)
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    yield "  ".join([" " * first, f"{'n':>5}", f"{'required':>8}", *map(str.ljust, names, widths)])
    for name, row in zip(rows, cells, strict=True):
        figure = next(column[name] for column in by_name if name in column)
        yield "  ".join(
            [name.ljust(first), f"{figure.n:5}", f"{_required(figure):>8}", *map(str.ljust, row, widths)]
        ).rstrip()


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    digits = _digits(figure.value)
    missed = " *" if figure.reached is False else ""
    if figure.interval is None:
        return f"{figure.value:.{digits}f}{missed}"
    low, high = figure.interval
    return f"{figure.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}){missed}"


def _digits(value: float) -> int:
    """Shares with three digits, seconds and points with two, counts and rates with none."""
    if value == int(value) and value > 1:
        return 0
    return 3 if value <= 1 else 2 if value < 100 else 0


def _required(figure: Figure) -> str:
    if figure.at_least is not None:
        return f">= {figure.at_least:g}"
    return f"<= {figure.at_most:g}" if figure.at_most is not None else ""


if __name__ == "__main__":
    main()
