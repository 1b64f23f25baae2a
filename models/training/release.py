"""From a trained network to a part that can be shipped: int8, held against full precision, calibrated,
with sentences to know it by and the looks of its data to tell drift from."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tokenizers import Tokenizer

from models.data.dataset import Row
from models.data.drills import WRITTEN, drills
from models.errors import WeightsError
from models.inference.drift import Profiler
from models.network import artifact
from models.network.calibration import expected_calibration_error, fit_temperature, reliability, softmax
from models.network.classifier import AttentionClassifier
from models.training.scoring import network_logits, task_figures

log = logging.getLogger(__name__)

# Points of macro-F1 that a smaller or faster form may cost.
MAX_LOSS = 0.5
# So few rows may turn by chance, and on a small set they are points of macro-F1.
FEW = 3
CANARIES = 8
ENOUGH = 100
# Calibrated confidences from which a label counts: below, a sentiment is more likely wrong than right, and a
# topic is a guess among the nearest of the twenty.
CERTAIN_FROM = {"sentiment": 0.5, "topic": 0.25}


def store(
    out: Path,
    languages: tuple[str, ...],
    max_tokens: int,
    classifier: AttentionClassifier,
    tokenizer: Tokenizer,
    pad_id: int,
    labels: Mapping[str, tuple[str, ...]],
    valid: Sequence[Row],
    max_loss: float = MAX_LOSS,
) -> artifact.PartInfo:
    """Write the part as int8, calibrate and describe it.

    Raises WeightsError where int8, or int8 computed in bfloat16, costs more than `max_loss` points.
    """
    texts = [row.text for row in valid]
    device = torch.device("cpu")
    exact = network_logits(classifier, tokenizer, pad_id, texts, device, half=False)
    info = artifact.save_part(
        out / "-".join(languages), classifier, tokenizer,
        languages=languages, max_tokens=max_tokens,
        pooling=next(iter(classifier.heads.values())).kind,  # type: ignore[arg-type]
    )  # fmt: skip
    part = artifact.load_part(out, info, labels)
    part.tokenizer.enable_truncation(max_tokens)
    logits = network_logits(part.classifier, part.tokenizer, part.pad_id, texts, device, half=False)
    refuse_loss("int8", labels, valid, exact, logits, max_loss)
    halved = artifact.load_part(out, info, labels)
    halved.tokenizer.enable_truncation(max_tokens)
    halved.classifier.to(torch.bfloat16)
    in_half = network_logits(halved.classifier, halved.tokenizer, halved.pad_id, texts, device, half=False)
    refuse_loss("int8 computed in bfloat16", labels, valid, exact, in_half, max_loss)
    scores, temperature = {}, {}
    for task, names in labels.items():
        figures = task_figures(task, logits[task], valid, names)
        if not figures:
            continue
        allowed = np.array([[name in _names(row, task) for name in names] for row in valid])
        # The project's own plain sentences would make it look surer of the world's than it may be.
        real = np.array([row.source not in WRITTEN for row in valid])
        known = (allowed.sum(-1) == 1) & real
        if known.sum() < ENOUGH:  # a row that may be several says less about how sure is sure enough
            known = allowed.any(-1) & real
        if not known.any():
            known = allowed.any(-1)
        temperature[task] = round(fit_temperature(logits[task][known], allowed[known]), 4)
        probabilities = softmax(logits[task][known] / temperature[task])
        confidence = probabilities.max(-1)
        right = allowed[known][np.arange(known.sum()), probabilities.argmax(-1)]
        error = expected_calibration_error(reliability(confidence, right))
        scores[task] = {key: round(value, 4) for key, value in figures.items()} | {"ece": round(error, 4)}
    return msgspec.structs.replace(
        info, temperature=temperature, certain_from=CERTAIN_FROM, scores=scores,
        reference=reference_profile(part, temperature, labels, texts, logits),
        canaries=canaries(part, temperature, labels),
    )  # fmt: skip


def refuse_loss(
    what: str,
    labels: Mapping[str, Sequence[str]],
    rows: Sequence[Row],
    full: Mapping[str, np.ndarray],
    given: Mapping[str, np.ndarray],
    max_loss: float = MAX_LOSS,
) -> None:
    """Raise WeightsError where `given` answers cost more than `max_loss` points against the `full` ones.

    Both are logits or probabilities [rows, labels] a task.  A loss of FEW rows or less is no loss.
    """
    for task, names in labels.items():
        before, after = (task_figures(task, answers[task], rows, names) for answers in (full, given))
        points = 100 * (before["score"] - after["score"]) if before else 0.0
        if points > max_loss and after["wrong"] - before["wrong"] > FEW:
            raise WeightsError(
                f"{what} costs {task} {points:.1f} points of macro-F1, more than {max_loss:g}: train longer "
                "or with a lower learning rate, keep more, or allow it with --max-loss"
            )


def _names(row: Row, task: str) -> tuple[str, ...]:
    label = row.labels.get(task)
    return label.names if label is not None and not label.among else ()


def reference_profile(
    part: artifact.Part,
    temperature: Mapping[str, float],
    labels: Mapping[str, Sequence[str]],
    texts: Sequence[str],
    logits: Mapping[str, np.ndarray],
) -> Any:
    profiler = Profiler(labels)
    encodings = part.tokenizer.encode_batch(list(texts))
    answers = {}
    for task, names in labels.items():
        probabilities = softmax(logits[task] / temperature.get(task, 1.0))
        answers[task] = [(names[row.argmax()], float(row.max())) for row in probabilities]
    profiler.add([(len(e.ids), e.ids.count(part.unknown_id)) for e in encodings], answers)
    return profiler.profile()


def canaries(
    part: artifact.Part, temperature: Mapping[str, float], labels: Mapping[str, Sequence[str]]
) -> tuple[artifact.Canary, ...]:
    """Drill sentences that the model is right and sure about: it must be so wherever it is loaded."""
    language = part.info.languages[0]
    try:
        pairs = drills(language, 200, seed=11)
    except ValueError:
        log.info("no canaries: there are no drills in %s", language)
        return ()
    logits = network_logits(
        part.classifier, part.tokenizer, part.pad_id, [text for text, _ in pairs], torch.device("cpu"), False
    )
    chosen: list[artifact.Canary] = []
    seen: Counter[str] = Counter()
    for i, (text, wanted) in enumerate(pairs):
        sure = {}
        for task, names in labels.items():
            probabilities = softmax(logits[task][i] / temperature.get(task, 1.0))
            if probabilities.max() > 0.8 and names[int(probabilities.argmax())] == wanted[task]:
                sure[task] = wanted[task]
        if sure == wanted and seen[wanted["sentiment"]] < CANARIES // 2 and len(chosen) < CANARIES:
            seen[wanted["sentiment"]] += 1
            chosen.append(artifact.Canary(text, wanted))
    return tuple(chosen)
