"""Training batches: rows as padded tensors, and the order in which batches are drawn."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor

from models.data.dataset import Label, Row
from models.network.classifier import Inputs, span_mask
from models.network.info import EMBEDDING, EVENTS
from models.network.network import Network
from models.training.augment import augment
from stream.domain.documents import SENTIMENTS

# Rows are sorted by length within pools of this many batches.
POOL_BATCHES = 50


@dataclass(frozen=True)
class TrainingBatch:
    """Tokenised rows and their labels.

    For each task, `allowed`, `among` and `added` (the labels that rules added to those that were there) are
    bool [rows, labels] and `has_label` is bool [rows].

    `teacher` [rows, labels] are a teacher's probabilities, NaN for rows it was not asked about; empty without
    a teacher.  `events` [rows, types] are 1 for the events that a row reports and 0 for others, or a
    teacher's probabilities; NaN where nobody knows.  `embeddings` [rows, size] is what the embedding head
    must answer, None without one.  `target_text` [targets], `target_spans` [targets, tokens],
    `target_allowed` [targets, sentiments].
    """

    inputs: Inputs
    allowed: dict[str, Tensor]
    among: dict[str, Tensor]
    added: dict[str, Tensor]
    has_label: dict[str, Tensor]
    teacher: dict[str, Tensor]
    events: Tensor
    embeddings: Tensor | None
    target_text: Tensor
    target_spans: Tensor
    target_allowed: Tensor


class BatchBuilder:
    """Turns rows into training batches; texts are edited on the fly if augmentation is on.

    `teacher` are a teacher's probabilities [rows, labels] for each task, and [rows, types] for EVENTS, and
    the embeddings [rows, size] for EMBEDDING.  `rng` draws the edits.
    """

    def __init__(
        self,
        network: Network,
        rows: Sequence[Row],
        teacher: Mapping[str, np.ndarray],
        device: torch.device,
        augmentation: float,
        rng: random.Random,
    ) -> None:
        self.network, self.rows, self.teacher, self.device = network, rows, teacher, device
        self.augmentation, self.rng = augmentation, rng
        self._impossible = impossible_events(rows, network.event_types)
        self._label_index = {
            task: {name: i for i, name in enumerate(names)} for task, names in network.labels.items()
        }

    def build(self, positions: Sequence[int]) -> TrainingBatch:
        """The batch of the rows at these positions."""
        rows = [self.rows[i] for i in positions]
        encodings = self.network.tokenizer.encode_batch([self._text(row) for row in rows])
        inputs = self.network.inputs(encodings).to(self.device)
        allowed, among, added, has_label, teacher = {}, {}, {}, {}, {}
        for task, names in self.network.labels.items():
            labels = [row.labels.get(task) for row in rows]
            allowed[task] = self._mask(task, [label.names if label else () for label in labels])
            among[task] = self._mask(task, [(label.among or names) if label else names for label in labels])
            added[task] = self._mask(task, [label.also if label else () for label in labels])
            has_label[task] = allowed[task].any(-1)
            if task in self.teacher:
                probabilities = self.teacher[task][list(positions)]
                teacher[task] = torch.from_numpy(probabilities).float().to(self.device)
        targets = self._targets(rows, encodings, inputs.ids.shape[1])
        events = self._events(positions)
        embeddings = None
        if EMBEDDING in self.teacher:
            embeddings = torch.from_numpy(self.teacher[EMBEDDING][list(positions)]).to(self.device)
        return TrainingBatch(inputs, allowed, among, added, has_label, teacher, events, embeddings, *targets)

    def _events(self, positions: Sequence[int]) -> Tensor:
        """What the rows say of events; of the others, what a teacher or their topic says."""
        rows = [self.rows[i] for i in positions]
        values = event_truth(rows, self.network.event_types)
        if EVENTS in self.teacher:
            values = np.where(np.isnan(values), self.teacher[EVENTS][list(positions)], values)
        for i, row in enumerate(rows):
            topic = row.labels.get("topic")
            unseen = self._impossible.get(topic.only or "") if topic else None
            if unseen is not None:
                values[i, unseen & np.isnan(values[i])] = 0
        return torch.from_numpy(values).float().to(self.device)

    def _text(self, row: Row) -> str:
        """The row's text, edited unless targets point into it."""
        if not self.augmentation or row.targets:
            return row.text
        return augment(row.text, self.rng, self.augmentation)

    def _mask(self, task: str, names: Sequence[Sequence[str]]) -> Tensor:
        mask = torch.zeros(len(names), len(self.network.labels[task]), dtype=torch.bool)
        for row, row_names in enumerate(names):
            for name in row_names:
                mask[row, self._label_index[task][name]] = True
        return mask.to(self.device)

    def _targets(
        self, rows: Sequence[Row], encodings: Sequence[Encoding], tokens: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`target_text`, `target_spans` and `target_allowed` of the targets with at least one token."""
        texts, spans, labels = [], [], []
        for position, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
            for target in row.targets:
                span = span_mask(encoding, target.places)
                if any(span):
                    texts.append(position)
                    spans.append(span + [False] * (tokens - len(span)))
                    labels.append(target.label)
        span_tensor = torch.tensor(spans, dtype=torch.bool).view(len(spans), tokens)
        allowed = sentiment_mask(labels)
        return torch.tensor(texts).to(self.device), span_tensor.to(self.device), allowed.to(self.device)


def event_truth(rows: Sequence[Row], types: Sequence[str]) -> np.ndarray:
    """1 for each type of event that a row reports, else 0 [rows, types]; NaN for rows that do not say."""
    values = np.full((len(rows), len(types)), np.nan, np.float32)
    for i, row in enumerate(rows):
        if row.events is not None:
            values[i] = [name in row.events for name in types]
    return values


def impossible_events(rows: Sequence[Row], types: Sequence[str]) -> dict[str, np.ndarray]:
    """For each topic, which types of events no row with that topic reports: bool [types].

    Learned from the rows that say which events they report; other topics are left out.
    """
    impossible: dict[str, np.ndarray] = {}
    for row in rows:
        topic = row.labels.get("topic")
        if row.events is not None and topic is not None and topic.only is not None:
            unseen = impossible.setdefault(topic.only, np.ones(len(types), bool))
            unseen &= [name not in row.events for name in types]
    return impossible


def sentiment_mask(labels: Sequence[Label]) -> Tensor:
    """Which sentiments each label allows: bool [labels, sentiments]."""
    rows = [[name in label.names for name in SENTIMENTS] for label in labels]
    return torch.tensor(rows, dtype=torch.bool).view(len(rows), len(SENTIMENTS))


def shuffled_batches(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Row positions in random batches of similar lengths: shuffled pools, each sorted by length, then cut."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * POOL_BATCHES):
        pool = sorted(order[start : start + batch_size * POOL_BATCHES], key=lengths.__getitem__)
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    rng.shuffle(batches)
    return batches


def class_weights(labels: Mapping[str, Sequence[str]], rows: Sequence[Row]) -> dict[str, Tensor]:
    """For each task, the inverse root of each label's frequency, scaled to mean one over the rows."""
    weights = {}
    for task, names in labels.items():
        singles = [label.only for row in rows if (label := row.labels.get(task)) and label.only]
        counts = np.array([max(1, singles.count(name)) for name in names], float)
        raw = 1 / np.sqrt(counts)
        weights[task] = torch.tensor(raw / (raw * counts).sum() * counts.sum()).float()
    return weights
