"""What a network says of rows while it is trained or stored, and how much of it is right."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from models.data.dataset import Row
from models.evaluation.scores import macro_f1
from models.network.classifier import AttentionClassifier, Inputs
from models.training.fit import Fit, Progress


def network_logits(
    classifier: AttentionClassifier, tokenizer: Tokenizer, pad_id: int, texts: Sequence[str],
    device: torch.device, half: bool, progress: Progress | None = None, note: str = "",
) -> dict[str, np.ndarray]:  # fmt: skip
    """For each task, logits [texts, labels] in float32; the tokenizer says how long a text may be."""
    encodings = tokenizer.encode_batch(list(texts))
    order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
    found: dict[str, Any] = {}
    with torch.inference_mode():
        for at in range(0, len(order), 64):
            chosen = order[at : at + 64]
            inputs = Inputs.of([encodings[i] for i in chosen], pad_id).to(device)
            with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
                answers = classifier(inputs)
            for task, (logits, _) in answers.items():
                whole = found.setdefault(task, np.zeros((len(texts), logits.shape[1]), np.float32))
                whole[chosen] = logits.float().cpu().numpy()
            if progress is not None:
                progress(at + len(chosen), len(order), note)
    return found


def held_out_score(fit: Fit, classifier: AttentionClassifier, valid: Sequence[Row]) -> float:
    """Mean over the tasks of `task_figures`' score."""
    logits = network_logits(
        classifier, fit.tokenizer, fit.pad_id, [row.text for row in valid], fit.device, fit.half
    )
    figures = [task_figures(task, logits[task], valid, names) for task, names in fit.labels.items()]
    return float(np.mean([found["score"] for found in figures if found]))


def task_figures(
    task: str, logits: np.ndarray, rows: Sequence[Row], names: Sequence[str]
) -> dict[str, float]:
    """Macro-F1 and accuracy where one label is right, accuracy where one of several is; their mean is
    the score.  Empty without labels."""
    given = logits.argmax(-1)
    single, several = _by_kind_of_label(task, rows)
    found: dict[str, float] = {}
    if single:
        truth = np.array([names.index(rows[i].labels[task].names[0]) for i in single])
        accuracy = float((truth == given[single]).mean())
        found |= {"n": len(single), "accuracy": accuracy, "wrong": float((truth != given[single]).sum())}
        found |= {"macro_f1": macro_f1(truth, given[single], len(names))}
    if several:
        right = [names[given[i]] in rows[i].labels[task].names for i in several]
        found |= {"n_of_several": len(several), "accuracy_of_several": float(np.mean(right))}
        found["wrong"] = found.get("wrong", 0) + right.count(False)
    scores = [found[key] for key in ("macro_f1", "accuracy_of_several") if key in found]
    return found | {"score": float(np.mean(scores))} if scores else {}


def _by_kind_of_label(task: str, rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Positions of rows with one label for the task out of all, and of rows with several it may be."""
    single: list[int] = []
    several: list[int] = []
    for i, row in enumerate(rows):
        label = row.labels.get(task)
        if label is not None:
            (single if label.only and not label.among else several).append(i)
    return single, several
