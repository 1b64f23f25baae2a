"""Which texts a small model leaves to a larger one, found on streams, and the calibration of the pair.

The streams need no labels: a text wants a second opinion where the two models disagree.  A logistic
regression of that on how unsure the small model is, and on the kinds of text (`models.inference.routing`),
gives the weights.  The threshold is such that no stream has more than a given share of such texts.  Labelled
rows, if there are any, calibrate the labels that stay and the others, each for themselves.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy.optimize import minimize

from models.backend_selection import cached_backend
from models.data.augmentation_sets import AUGMENTATION_SOURCES
from models.data.dataset import Row
from models.errors import DataError
from models.inference import routing
from models.inference.engine import Engine
from models.network import artifact
from models.network.calibration import fit_temperature
from models.network.info import ModelInfo, PartInfo, Routing
from models.plan import check_labels
from models.settings import ModelSettings
from stream.domain.documents import TASKS, Prediction

# A little less than a fifth: other streams have more such texts than these.
SHARE = 0.18
# Texts of a stream that are read, at random; a stream with fewer than FEWEST says too little of its language.
MOST, FEWEST = 3000, 200
FEWEST_CALIBRATION_ROWS = 100
# How much a different label counts: a wrong topic does less harm than a wrong sentiment.
DISAGREEMENT = {"sentiment": 1.0, "topic": 0.5}
# The names of the features, in the order of the columns.
FEATURES = (*TASKS, *routing.CUES, "post")


@dataclass(frozen=True)
class Answers:
    """What both models predict for texts, in their order."""

    texts: Sequence[str]
    first: Sequence[Prediction]
    second: Sequence[Prediction]

    @classmethod
    def of(cls, texts: Sequence[str], first: Engine, second: Engine) -> "Answers":
        return cls(texts, first.classify(texts), second.classify(texts))

    def of_part(self, part: PartInfo) -> "Answers":
        """Those in the languages of a part that both models read."""
        both = zip(self.texts, self.first, self.second, strict=True)
        read = [
            one for one in both if one[1].lang in part.languages and one[1].sentiment and one[2].sentiment
        ]
        return Answers([one[0] for one in read], [one[1] for one in read], [one[2] for one in read])

    def features(self) -> np.ndarray:
        """[texts, FEATURES]."""
        rows = (routing.features(*pair) for pair in zip(self.texts, self.first, strict=True))
        values = [[row.get(name, 0.0) for name in FEATURES] for row in rows]
        return np.array(values, float).reshape(len(self.texts), len(FEATURES))

    def disagreement(self) -> np.ndarray:
        """[texts], from 0 to 1."""
        pairs = zip(self.first, self.second, strict=True)
        return np.array(
            [
                max(DISAGREEMENT[task] * (getattr(a, task) != getattr(b, task)) for task in TASKS)
                for a, b in pairs
            ]
        )

    def doubts(self, route: Routing) -> np.ndarray:
        """[texts]."""
        weights = np.array([route.weights.get(name, 0.0) for name in FEATURES])
        return np.asarray(self.features() @ weights)


def pair(
    folder: Path,
    second_folder: Path,
    streams: Mapping[str, Sequence[str]],
    labelled: Sequence[Row] = (),
    share: float = SHARE,
) -> ModelInfo:
    """Write the routing of the small model in `folder` into its model.json, for the larger one.

    `streams` are texts by the name of their file.  The version of the small model stays: alone it labels as
    before.  Raises WeightsError, and DataError if no stream has enough texts in a language of the model.
    """
    first, second = (
        Engine.load(cached_backend(ModelSettings(weights=path, remembered_texts=0)))
        for path in (folder, second_folder)
    )
    check_labels(second.info, first.info)
    samples = {name: _sample(texts) for name, texts in streams.items()}
    answers = {name: Answers.of(texts, first, second) for name, texts in samples.items()}
    of_rows = Answers.of([row.text for row in labelled], first, second)
    parts = []
    for part in first.info.parts:
        own = {name: found.of_part(part) for name, found in answers.items()}
        own = {name: found for name, found in own.items() if len(found.texts) >= FEWEST}
        if second.info.part_of(part.languages[0]) is None:
            parts.append(part)
            continue
        if not own:
            languages = ", ".join(part.languages)
            raise DataError(f"no stream has {FEWEST} different texts in {languages}: name a file with more")
        route = calibrate(find_routing(own, share), part, labelled, of_rows)
        parts.append(
            msgspec.structs.replace(part, routing=msgspec.structs.replace(route, second=second.version))
        )
    info = msgspec.structs.replace(first.info, parts=tuple(parts))
    artifact.write_info(folder, info)
    return info


def _sample(texts: Sequence[str]) -> list[str]:
    unique = list(dict.fromkeys(texts))
    return random.Random(1).sample(unique, min(MOST, len(unique)))


def find_routing(streams: Mapping[str, Answers], share: float) -> Routing:
    """The weights that tell best where the models disagree, and a threshold for the share."""
    features = np.concatenate([found.features() for found in streams.values()])
    disagreement = np.concatenate([found.disagreement() for found in streams.values()])
    least = [routing.LEAST_OF_A_CUE * (name in routing.MISLEADING) for name in FEATURES]
    weights = np.maximum(fit_weights(features, disagreement), least)
    route = Routing({name: float(value) for name, value in zip(FEATURES, weights, strict=True) if value}, 0.0)
    doubts = {name: found.doubts(route) for name, found in streams.items()}
    threshold = max(threshold_for(values, share) for values in doubts.values())
    shares = {name: round(float((values >= threshold).mean()), 4) for name, values in doubts.items()}
    return msgspec.structs.replace(route, threshold=threshold, share=shares)


def fit_weights(features: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """The weights [features] of a logistic regression on values from 0 to 1, none of them negative.

    Only their ratios matter: the largest of a task is 1.  A cue never speaks against a second opinion.
    """
    count = features.shape[1]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = features @ values[:count] + values[count]
        chance = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        gradient = chance - disagreement
        own = np.logaddexp(0, logits) - disagreement * logits
        slope = np.append(features.T @ gradient + values[:count], gradient.sum())
        return float(own.sum() + (values[:count] ** 2).sum() / 2), slope

    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B", bounds=bounds).x[:count]
    largest = float(found[: len(TASKS)].max())
    if largest <= 0:
        return np.array([routing.DEFAULT.weights.get(name, 0.0) for name in FEATURES])
    return np.asarray((found / largest).round(3))


def threshold_for(doubts: np.ndarray, share: float) -> float:
    """The lowest threshold that at most this share of the doubts reaches."""
    ordered = np.sort(doubts)[::-1]
    place = math.floor(share * len(ordered))
    if place >= len(ordered):
        return 0.0
    # Digits that a file keeps, above the first one that must stay below.
    return (math.floor(float(ordered[place]) * 1e6) + 1) / 1e6


def calibrate(route: Routing, part: PartInfo, labelled: Sequence[Row], answers: Answers) -> Routing:
    """The routing with the temperatures of both models on the labelled rows that each of them labels."""
    own: list[tuple[Row, Prediction]] = []
    other: list[tuple[Row, Prediction]] = []
    for row, text, first, second in zip(labelled, answers.texts, answers.first, answers.second, strict=True):
        if first.lang in part.languages and first.sentiment and row.source not in AUGMENTATION_SOURCES:
            is_routed = bool(second.sentiment) and routing.doubt(route, text, first) >= route.threshold
            (other if is_routed else own).append((row, second if is_routed else first))
    return msgspec.structs.replace(
        route, temperature=_temperatures(own), second_temperature=_temperatures(other)
    )


def _temperatures(pairs: Sequence[tuple[Row, Prediction]]) -> dict[str, float]:
    """For each task with enough labels, the temperature of probabilities that are calibrated already."""
    found = {}
    for task in TASKS:
        labels = [(row.labels.get(task), one) for row, one in pairs]
        single = [(label.only, one) for label, one in labels if label and label.only and not label.among]
        if len(single) >= FEWEST_CALIBRATION_ROWS:
            names = list(single[0][1].probabilities[task])
            chances = np.array([[one.probabilities[task][name] for name in names] for _, one in single])
            allowed = np.array([[name == only for name in names] for only, _ in single])
            found[task] = round(fit_temperature(np.log(np.maximum(chances, 1e-9)), allowed), 4)
    return found
