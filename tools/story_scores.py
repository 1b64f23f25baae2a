"""How well stories are told apart: clusters of headlines, and pairs that look alike or tell the same.

    python -m tools.story_scores --headlines HEADLINES [--weights FOLDER]

HEADLINES are JSON lines with id, title, publisher, host, story and published_at.  Of every second event the
headlines are for tuning; the figures of the others are what to expect.  Pairs and copies are the kept tests
in models/evaluation/checks.  Everything runs as in the daemon: the classifier's embeddings and entities, the
shipped list of publishers, one assigner.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from models.backend_selection import cached_backend
from models.document_classifier import DocumentClassifier
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from monitor.story_calibration import story_inputs
from stream.domain.documents import Document, Kind
from stream.domain.stories import StoryAssignment, StoryInput
from stream.stories.assignment import Assigner
from stream.stories.features import story_features
from stream.stories.publishers import shipped_publishers

CHECKS = Path(__file__).parents[1] / "models" / "evaluation" / "checks"
CHUNK = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--headlines", type=Path)
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS)
    options = parser.parse_args()
    settings = ModelSettings(weights=options.weights, second_opinion="off")
    classifier = DocumentClassifier.load(settings, choose=cached_backend)
    for line in _lines(classifier, options.headlines):
        print(line)


def _lines(classifier: DocumentClassifier, headlines: Path | None) -> Iterator[str]:
    if headlines is not None:
        yield from _clusters(classifier, headlines)
    for language in ("en", "zh"):
        yield _pairs(classifier, language)
        yield _copies(classifier, language)


def _clusters(classifier: DocumentClassifier, file: Path) -> Iterator[str]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    events = sorted({row["story"] for row in rows})
    tuned = set(events[::2])
    inputs = _headlines(classifier, rows)
    assigned = assign(classifier, inputs)
    truth = {document.key: row["story"] for document, row in zip(inputs, rows, strict=True)}
    for name, is_tuned in (("for tuning", True), ("others", False)):
        keys = [key for key, event in truth.items() if (event in tuned) is is_tuned]
        found = {key: assigned[key].story for key in keys}
        precision, recall, f1 = b_cubed(found, {key: truth[key] for key in keys})
        copies = sum(assigned[key].copy_of is not None for key in keys)
        voices = sum(assigned[key].is_voice for key in keys)
        yield (
            f"events {name}: B-cubed precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}; "
            f"{len(keys)} headlines, {copies} copies, {voices} voices, {len(set(found.values()))} stories"
        )


def _headlines(classifier: DocumentClassifier, rows: Sequence[Mapping[str, str]]) -> list[StoryInput]:
    inputs = []
    for start in range(0, len(rows), CHUNK):
        documents = [
            Document(
                row["id"],
                Kind.NEWS,
                row["publisher"][:128] or "unknown",
                datetime.fromisoformat(row["published_at"]),
                title=row["title"],
                url=f"http://{row['host']}/{row['id']}",
                lang="en",
            )
            for row in rows[start : start + CHUNK]
        ]
        predictions = classifier.classify([document.text_input for document in documents])
        for document, prediction in zip(documents, predictions, strict=True):
            features = story_features(document, prediction, shipped_publishers())
            inputs.append(
                StoryInput(
                    document.key, document.kind, document.source, document.id, document.published_at, features
                )
            )
    return inputs


def assign(classifier: DocumentClassifier, inputs: Sequence[StoryInput]) -> dict[str, StoryAssignment]:
    """What is decided on documents that arrive in their order, by key."""
    assigner = Assigner(classifier.story_weights)
    ordered = sorted(inputs, key=lambda document: document.order)
    return {document.key: assigner.assign(document)[0] for document in ordered}


def b_cubed(found: Mapping[str, int], truth: Mapping[str, str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of clusters (Bagga and Baldwin 1998), each the mean over the documents."""
    both = Counter((found[key], truth[key]) for key in truth)
    of_found, of_truth = Counter(found.values()), Counter(truth.values())
    precision = sum(n * n / of_found[cluster] for (cluster, _), n in both.items()) / len(truth)
    recall = sum(n * n / of_truth[event] for (_, event), n in both.items()) / len(truth)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _pairs(classifier: DocumentClassifier, language: str) -> str:
    rows = _rows(f"stories_{language}.csv")
    decided = _decide(classifier, language, rows)
    joined = [first.story == second.story for first, second in decided]
    same = [row["same"] == "1" for row in rows]
    right = [each for each, label in zip(joined, same, strict=True) if label]
    apart = [not each for each, label in zip(joined, same, strict=True) if not label]
    return (
        f"{language}: of {len(right)} pairs of one event {sum(right) / len(right):.3f} joined, of "
        f"{len(apart)} look-alikes {sum(apart) / len(apart):.3f} kept apart"
    )


def _copies(classifier: DocumentClassifier, language: str) -> str:
    rows = _rows(f"copies_{language}.csv")
    called = [second.copy_of is not None for _, second in _decide(classifier, language, rows)]
    copies = [row["copy"] == "1" for row in rows]
    both = sum(each and label for each, label in zip(called, copies, strict=True))
    return (
        f"{language}: pairs called copies {sum(called)}, precision {both / max(1, sum(called)):.3f}, recall "
        f"{both / sum(copies):.3f} of {sum(copies)}"
    )


def _decide(
    classifier: DocumentClassifier, language: str, rows: Sequence[Mapping[str, str]]
) -> list[tuple[StoryAssignment, StoryAssignment]]:
    """What is decided on the two texts of each pair, which nobody else has seen."""
    firsts = story_inputs([row["first"] for row in rows], classifier, language)
    seconds = story_inputs([row["second"] for row in rows], classifier, language)
    decided = []
    for first, second in zip(firsts, seconds, strict=True):
        assigner = Assigner(classifier.story_weights)
        decided.append((assigner.assign(first)[0], assigner.assign(second)[0]))
    return decided


def _rows(file: str) -> list[dict[str, str]]:
    with (CHECKS / file).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    main()
