"""Logits and scores of a network on labelled rows, during training and before release."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.data.dataset import Row
from models.evaluation.scores import macro_f1
from models.network.classifier import span_mask
from models.network.info import EVENTS
from models.network.network import Network
from models.training.events import event_figures
from models.training.events import macro_f1 as macro_f1_of_events
from models.training.options import Progress
from stream.domain.documents import SENTIMENTS

BATCH_SIZE = 64


def network_logits(
    network: Network,
    texts: Sequence[str],
    device: torch.device,
    *,
    half: bool = False,
    progress: Progress | None = None,
    note: str = "",
) -> dict[str, np.ndarray]:
    """For each task, logits [texts, labels] in float32; texts are cut to the tokenizer's truncation.

    With a head for events, those of EVENTS are [texts, types].  The network must be on `device`.  `half`
    computes in bfloat16.
    """
    encodings = network.tokenizer.encode_batch(list(texts))
    order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
    results: dict[str, Any] = {}
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            inputs = network.inputs([encodings[i] for i in positions]).to(device)
            with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
                hidden = network.classifier.encode(inputs)
                outputs = {
                    task: logits for task, (logits, _) in network.classifier.apply_heads(hidden).items()
                }
                if network.classifier.events is not None:
                    outputs[EVENTS] = network.classifier.events(hidden)
            for task, logits in outputs.items():
                shape = (len(texts), logits.shape[1])
                results.setdefault(task, np.zeros(shape, np.float32))[positions] = (
                    logits.float().cpu().numpy()
                )
            if progress is not None:
                progress(start + len(positions), len(order), note)
    return results


def target_logits(
    network: Network, rows: Sequence[Row], device: torch.device
) -> tuple[list[Row], np.ndarray]:
    """For each target of the rows that the network can see: a row with its label, and logits [sentiments].

    Texts are cut to the tokenizer's truncation.  The network must be on `device`.
    """
    by_target: list[Row] = []
    logits: list[np.ndarray] = []
    with_targets = [row for row in rows if row.targets]
    with torch.inference_mode():
        for start in range(0, len(with_targets), BATCH_SIZE):
            batch = with_targets[start : start + BATCH_SIZE]
            encodings = network.tokenizer.encode_batch([row.text for row in batch])
            inputs = network.inputs(encodings).to(device)
            spans = np.zeros((sum(len(row.targets) for row in batch), inputs.ids.shape[1]), bool)
            texts: list[int] = []
            for position, (row, encoding) in enumerate(zip(batch, encodings, strict=True)):
                for target in row.targets:
                    span = span_mask(encoding, target.places)
                    if any(span):
                        spans[len(texts), : len(span)] = span
                        texts.append(position)
                        by_target.append(replace(row, labels={"sentiment": target.label}, targets=()))
            if texts:
                hidden = network.classifier.encode(inputs)
                own = torch.from_numpy(spans[: len(texts)]).to(device)
                output, _ = network.classifier.target(hidden, torch.tensor(texts, device=device), own)
                logits.append(output.float().cpu().numpy())
    return by_target, np.concatenate(logits) if logits else np.empty((0, len(SENTIMENTS)), np.float32)


def held_out_score(network: Network, valid: Sequence[Row], device: torch.device, half: bool) -> float:
    """The mean over the tasks of the score of `task_scores`, and over the events of their macro-F1."""
    logits = network_logits(network, [row.text for row in valid], device, half=half)
    scores = [task_scores(task, logits[task], valid, names) for task, names in network.labels.items()]
    values = [task["score"] for task in scores if task]
    if EVENTS in logits:
        of_events = macro_f1_of_events(event_figures(network.event_types, valid, logits[EVENTS]).scores)
        values += [of_events] if np.isfinite(of_events) else []
    return float(np.mean(values))


def task_scores(task: str, logits: np.ndarray, rows: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """Macro-F1 and accuracy of rows with one right label, accuracy of rows with several.

    `score` is the mean of the macro-F1 and the latter accuracy.  Empty without labels.
    """
    predicted = logits.argmax(-1)
    single, several = _single_and_several(task, rows)
    scores: dict[str, float] = {}
    if single:
        truth = np.array([names.index(rows[i].labels[task].names[0]) for i in single])
        accuracy = float((truth == predicted[single]).mean())
        wrong = float((truth != predicted[single]).sum())
        scores |= {"n": len(single), "accuracy": accuracy, "wrong": wrong}
        scores |= {"macro_f1": macro_f1(truth, predicted[single], len(names))}
    if several:
        right = [names[predicted[i]] in rows[i].labels[task].names for i in several]
        scores |= {"n_of_several": len(several), "accuracy_of_several": float(np.mean(right))}
        scores["wrong"] = scores.get("wrong", 0) + right.count(False)
    parts = [scores[key] for key in ("macro_f1", "accuracy_of_several") if key in scores]
    return scores | {"score": float(np.mean(parts))} if parts else {}


def _single_and_several(task: str, rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Positions of rows with exactly one label among all labels, and of rows with a weaker label."""
    single: list[int] = []
    several: list[int] = []
    for i, row in enumerate(rows):
        label = row.labels.get(task)
        if label is not None:
            (single if label.only and not label.among else several).append(i)
    return single, several
