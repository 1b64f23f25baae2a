"""What the network says of one text: calibrated probabilities, and what they come from."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.inference.tokenize import TokenizedText
from models.network.calibration import softmax
from models.network.info import EVENTS
from stream.domain.errors import InferenceError

# Digits of probabilities and scores.  A float32 holds no more: further ones are noise that fills messages.
DECIMALS = 8


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """The network's output for one target.

    `probabilities` are [sentiments], `attention` one array [tokens] a window.  `margin` is the difference
    between the two largest probabilities.
    """

    probabilities: np.ndarray
    attention: list[np.ndarray]
    margin: float


@dataclass(frozen=True, slots=True)
class TextOutput:
    """The network's output for one text.

    `probabilities` are [labels] for each task.  `contributions` hold for each task one array [tokens] a
    window: how much each token contributed to the winning label (Head.with_contributions).  `targets` are in
    the order of the text's; None for one that has no token, and there are none if the part of the model does
    not answer for targets.  `margin` is the smallest difference, over tasks and targets, between the
    probabilities of the two likeliest labels.  `events` is the probability of each type of event [types];
    there are none if the part does not look for events.  `news` is the share of the text that is news and no
    boilerplate (`models.inference.long_texts`).  `embedding` float32 [size] is of length 1; None if the part
    gives none.
    """

    probabilities: dict[str, np.ndarray]
    contributions: dict[str, list[np.ndarray]]
    targets: list[TargetOutput | None]
    margin: float
    events: np.ndarray
    news: float = 1.0
    embedding: np.ndarray | None = None


def calibrated(logits: Tensor, text: TokenizedText, task: str, version: str) -> np.ndarray:
    """Calibrated probabilities [texts, labels] of a task from logits, for texts of the part of `text`.

    Raises InferenceError if one is not finite.
    """
    temperature = text.part.info.temperature.get(task, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        probabilities = softmax(logits.double().cpu().numpy() / temperature)
    if not np.isfinite(probabilities).all():
        raise InferenceError(f"{version}: {task} logits are not finite")
    return probabilities.round(DECIMALS)


def event_probabilities(logits: Tensor, text: TokenizedText, version: str) -> np.ndarray:
    """The probability of each type of event [texts, types], for texts of the part of `text`.

    Raises InferenceError if one is not finite.
    """
    temperature = text.part.info.temperature.get(EVENTS, 1.0)
    probabilities = torch.sigmoid(logits.double() / temperature).cpu().numpy()
    if not np.isfinite(probabilities).all():
        raise InferenceError(f"{version}: event logits are not finite")
    rounded: np.ndarray = probabilities.round(DECIMALS)
    return rounded


def margin(probabilities: np.ndarray) -> np.ndarray:
    """From [texts, labels], the difference between the two largest of each text; 1 with a single label."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    ordered = np.sort(probabilities, axis=1)
    difference: np.ndarray = ordered[:, -1] - ordered[:, -2]
    return difference


def split_windows(values: np.ndarray, text: TokenizedText, width: int) -> list[np.ndarray]:
    """Values [windows x width] of one text as one array [tokens] a window, without padding."""
    return [values[i * width : i * width + len(window)] for i, window in enumerate(text.windows)]
