"""Calibrates how the embeddings of a model decide whether two texts tell the same event, on written pairs."""

import csv
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.backend_selection import cached_backend
from models.document_classifier import DocumentClassifier
from models.network.artifact import write_info
from models.network.info import read_info
from models.settings import ModelSettings
from stream.domain.documents import EPOCH, Document, Kind, Prediction
from stream.domain.stories import StoryInput
from stream.stories.calibration import Calibration, Pair, calibrate
from stream.stories.features import story_features, story_input
from stream.stories.publishers import shipped_publishers

PAIRS = Path(__file__).parents[1] / "models" / "data" / "stories"


def calibrate_stories(folder: Path) -> dict[str, Calibration]:
    """Write the story weights of each part that gives embeddings into the model.json of a folder.

    Parts for languages without written pairs keep the default weights.  The version stays: labels do not
    depend on them.  Returns the calibrations by part.  Raises ModelError.
    """
    info, parts, found = read_info(folder), [], {}
    classifier: DocumentClassifier | None = None
    for part in info.parts:
        file = PAIRS / f"pairs_{part.languages[0]}.csv"
        if not part.embedding_size or not file.is_file():
            parts.append(part)
            continue
        settings = ModelSettings(weights=folder, second_opinion="off")
        classifier = classifier or DocumentClassifier.load(settings, choose=cached_backend)
        calibration = calibrate(read_pairs(file, classifier, part.languages[0]))
        found[part.folder] = calibration
        parts.append(msgspec.structs.replace(part, story_weights=calibration.weights))
    if found:
        write_info(folder, msgspec.structs.replace(info, parts=tuple(parts)))
    return found


def read_pairs(file: Path, classifier: DocumentClassifier, language: str) -> list[Pair]:
    """The pairs of a file with the columns first, second and same (1 or 0)."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    firsts = story_inputs([row["first"] for row in rows], classifier, language)
    seconds = story_inputs([row["second"] for row in rows], classifier, language)
    same = (row["same"] == "1" for row in rows)
    return [Pair(*pair) for pair in zip(firsts, seconds, same, strict=True)]


def story_inputs(texts: Sequence[str], classifier: DocumentClassifier, language: str) -> list[StoryInput]:
    """Texts as documents that wait for their story, each of an origin of its own."""
    documents = [
        Document(f"{number}", Kind.NEWS, f"wire {number}", EPOCH, title=text, lang=language)
        for number, text in enumerate(texts)
    ]
    predictions: Sequence[Prediction] = classifier.classify([document.text_input for document in documents])
    return [
        story_input(document, story_features(document, prediction, shipped_publishers()), EPOCH)
        for document, prediction in zip(documents, predictions, strict=True)
    ]
