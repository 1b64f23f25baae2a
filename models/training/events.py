"""The types of events that rows teach, and how well a network finds them in rows it was not trained on."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.data.dataset import Row

log = logging.getLogger(__name__)

# A type that fewer rows report is not learned.
FEWEST_ROWS = 5
# With fewer rows than that nothing is said of how well events are found.
FEWEST_HELD_OUT = 20
# Each training row that says which events it reports comes so many times more: types are many and rows few.
COPIES = 3
# A held-out type with fewer rows has the common threshold: its own would be that of a few texts.
ROWS_FOR_OWN_THRESHOLD = 30
TEMPERATURES = np.geomspace(0.25, 4.0, 41)
# Where the threshold may be, and what it is before there is anything to learn it from.
CANDIDATES, DEFAULT_THRESHOLD = np.linspace(0.1, 0.9, 33), 0.5


@dataclass(frozen=True)
class EventFigures:
    """Of the head for events: the temperature of its logits, and for each type its threshold and scores."""

    temperature: float
    thresholds: dict[str, float]
    scores: dict[str, dict[str, float]]


def event_types(rows: Sequence[Row]) -> tuple[str, ...]:
    """The types that enough rows report, in alphabetical order.  Those of fewer rows are logged."""
    counts = Counter(name for row in rows for name in row.events or ())
    for name in sorted(name for name, n in counts.items() if n < FEWEST_ROWS):
        log.warning("event %s: not learned, since fewer than %d rows report it", name, FEWEST_ROWS)
    return tuple(sorted(name for name, n in counts.items() if n >= FEWEST_ROWS))


def event_copies(rows: Sequence[Row]) -> list[Row]:
    """More copies of the rows that say which events they report, without their other labels."""
    copies = [replace(row, labels={}, targets=()) for row in rows if row.events is not None]
    return copies * COPIES


def event_figures(types: Sequence[str], rows: Sequence[Row], logits: np.ndarray) -> EventFigures:
    """Calibrate and score logits [rows, types] on those of the rows that say which events they report.

    With fewer than FEWEST_HELD_OUT of those there are no scores.  The rows must not have been trained on.
    One temperature and, unless a type has many rows, one threshold serve all types: rows of each are few.
    """
    labelled = [i for i, row in enumerate(rows) if row.events is not None]
    if len(labelled) < FEWEST_HELD_OUT or not types:
        return EventFigures(1.0, dict.fromkeys(types, DEFAULT_THRESHOLD), {})
    truth = np.array([[name in (rows[i].events or ()) for name in types] for i in labelled])
    own = logits[labelled].astype(float)
    temperature = min(TEMPERATURES, key=lambda value: _cross_entropy(own / value, truth))
    probabilities = _sigmoid(own / temperature)
    common = _best_threshold(probabilities, truth)
    thresholds = {}
    for i, name in enumerate(types):
        enough = truth[:, i].sum() >= ROWS_FOR_OWN_THRESHOLD
        own_threshold = _best_threshold(probabilities[:, i], truth[:, i]) if enough else common
        thresholds[name] = round(own_threshold, 4)
    reported = probabilities >= np.array(list(thresholds.values()))
    scores = {name: _scores(reported[:, i], truth[:, i]) for i, name in enumerate(types)}
    return EventFigures(round(float(temperature), 4), thresholds, scores)


def macro_f1(scores: Mapping[str, Mapping[str, float]]) -> float:
    """The mean of F1 over the types that some row reports; NaN without any."""
    known = [figures["f1"] for figures in scores.values() if figures["n"]]
    return float(np.mean(known)) if known else float("nan")


def _scores(reported: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The number of rows that report a type, and how well they are found; both arrays are bool [rows]."""
    hits, found, n = int((reported & truth).sum()), int(reported.sum()), int(truth.sum())
    return {
        "n": n,
        "precision": round(hits / found, 4) if found else 0.0,
        "recall": round(hits / n, 4) if n else 0.0,
        "f1": round(2 * hits / (found + n), 4) if found + n else 0.0,
    }


def _best_threshold(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the highest F1 over all rows and types; the middle of those that are as good."""

    def f1(threshold: float) -> float:
        reported = probabilities >= threshold
        return float(2 * (reported & truth).sum() / max(1, reported.sum() + truth.sum()))

    scores = np.array([f1(threshold) for threshold in CANDIDATES])
    return float(np.median(CANDIDATES[scores == scores.max()]))


def _cross_entropy(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, logits) - truth * logits))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))
