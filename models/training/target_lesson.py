"""Targets to learn from: their tokens in the features of texts, and the labels that are right."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.data.dataset import Row
from models.network.target_heads import TargetHead
from models.training.batches import sentiment_mask
from models.training.features import Features
from models.training.scoring import BATCH_SIZE


@dataclass(frozen=True)
class TargetLesson:
    """Targets to learn from, or to be scored on.

    `features` are those of all texts of a run; `texts` are the positions there of the own ones.  `targets`
    are for each of them the tokens bool [tokens] and the allowed labels, of the targets with a token.
    """

    features: Features
    texts: Sequence[int]
    rows: Sequence[Row]
    targets: Sequence[Sequence[tuple[np.ndarray, Tensor]]]

    @classmethod
    def of(cls, features: Features, texts: Sequence[int], rows: Sequence[Row]) -> "TargetLesson":
        """The targets of `rows`, whose texts are at the positions `texts`, that the network can see."""
        seen, targets = [], []
        for text, row in zip(texts, rows, strict=True):
            spans = [features.span(text, target.places) for target in row.targets]
            pairs = [(target, span) for target, span in zip(row.targets, spans, strict=True) if span.any()]
            seen.append(replace(row, targets=tuple(target for target, _ in pairs)))
            targets.append([(span, sentiment_mask([target.label])[0]) for target, span in pairs])
        return cls(features, texts, seen, targets)

    @property
    def by_target(self) -> list[Row]:
        """A row for each target, whose sentiment is that towards the target."""
        return [
            replace(row, labels={"sentiment": target.label}, targets=())
            for row in self.rows
            for target in row.targets
        ]

    def forward(
        self, head: TargetHead, positions: Sequence[int], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Logits and allowed labels [targets, sentiments] of the texts at these positions, in order."""
        hidden = self.features.hidden([self.texts[position] for position in positions], device)
        texts, spans, allowed = [], [], []
        for row, position in enumerate(positions):
            for span, labels in self.targets[position]:
                texts.append(row)
                spans.append(np.pad(span, (0, hidden.words.shape[1] - len(span))))
                allowed.append(labels)
        mask = torch.from_numpy(np.array(spans)).to(device)
        logits, _ = head(hidden, torch.tensor(texts, device=device), mask)
        return logits, torch.stack(allowed).to(device)

    @torch.inference_mode()
    def logits(self, head: TargetHead, device: torch.device) -> np.ndarray:
        """Logits [targets, sentiments] in the order of `by_target`."""
        positions = [i for i, targets in enumerate(self.targets) if targets]
        parts = [
            self.forward(head, positions[start : start + BATCH_SIZE], device)[0].cpu().numpy()
            for start in range(0, len(positions), BATCH_SIZE)
        ]
        return np.concatenate(parts)
