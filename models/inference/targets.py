"""The sentiment towards parts of texts, such as names of companies, from the encoder pass of the texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.inference.outputs import TargetOutput, calibrated, margin, split_windows
from models.inference.tokenize import TokenizedText
from models.network.classifier import AttentionClassifier, Hidden

# Tokens, with padding, whose vectors are copied at a time: a few megabytes.
MOST_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class _Mask:
    """Which tokens of the text `row` of a batch are in its target `index`: bool [tokens]."""

    row: int
    index: int
    tokens: np.ndarray


def target_outputs(
    classifier: AttentionClassifier, hidden: Hidden, batch: Sequence[TokenizedText], version: str
) -> list[list[TargetOutput | None]]:
    """For each text of a batch, the output for each of its targets: see TextOutput.

    `hidden` are the vectors of the batch.  Raises InferenceError if a probability is not finite.
    """
    info = batch[0].part.info
    if not info.target_sentiment:
        return [[] for _ in batch]
    outputs: list[list[TargetOutput | None]] = [[None] * len(text.targets) for text in batch]
    width = max(len(window) for text in batch for window in text.windows)
    masks = [mask for row, text in enumerate(batch) if text.targets for mask in _masks(row, text, width)]
    device = hidden.vectors.device
    for group in _groups(masks):
        spans = np.zeros((len(group), max(len(mask.tokens) for mask in group)), bool)
        for place, mask in enumerate(group):
            spans[place, : len(mask.tokens)] = mask.tokens
        rows = torch.tensor([mask.row for mask in group], device=device)
        logits, weights = classifier.target(hidden, rows, torch.from_numpy(spans).to(device))
        probabilities = calibrated(logits, batch[0], info.target_task, version)
        margins, attention = margin(probabilities), weights.float().cpu().numpy()
        for place, mask in enumerate(group):
            by_window = split_windows(attention[place], batch[mask.row], width)
            output = TargetOutput(probabilities[place], by_window, float(margins[place]))
            outputs[mask.row][mask.index] = output
    return outputs


def _masks(row: int, text: TokenizedText, width: int) -> Iterator[_Mask]:
    """The targets of a text that have a token in its windows, each padded to `width`, laid end to end."""
    starts: np.ndarray = np.zeros((len(text.windows), width), np.int64)
    ends: np.ndarray = np.zeros_like(starts)
    for place, window in enumerate(text.windows):
        # Special tokens and padding have no characters.
        starts[place, : len(window)], ends[place, : len(window)] = np.asarray(window.offsets).T
    starts, ends = starts.reshape(-1), ends.reshape(-1)
    for index, target in enumerate(text.targets):
        tokens = np.zeros(len(starts), bool)
        for start, end in target:
            if start < end:
                tokens |= (starts < end) & (ends > start)
        if tokens.any():
            yield _Mask(row, index, tokens)


def _groups(masks: Sequence[_Mask]) -> Iterator[list[_Mask]]:
    """Masks of about the same length, in groups of at most MOST_TOKENS tokens."""
    group: list[_Mask] = []
    for mask in sorted(masks, key=lambda mask: -len(mask.tokens)):
        if group and (len(group) + 1) * len(group[0].tokens) > MOST_TOKENS:
            yield group
            group = []
        group.append(mask)
    if group:
        yield group
