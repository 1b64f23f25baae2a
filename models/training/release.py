"""From a trained network to a part of a model: in 8 or 4 bits, compared with full precision, calibrated.

The part also gets canaries (sentences that it must label right) and a reference profile for drift.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from models.data.augmentation_sets import AUGMENTATION_SOURCES, generated_sentences
from models.data.dataset import Row
from models.errors import WeightsError
from models.inference.drift import Profiler
from models.network import artifact
from models.network.calibration import expected_calibration_error, fit_temperature, reliability, softmax
from models.network.info import EVENTS, TARGET, Canary, ModelInfo, PartInfo, read_info
from models.network.network import Network
from models.network.profile import Profile
from models.network.quantisation import Bits
from models.training.events import DEFAULT_THRESHOLD, event_figures
from models.training.moments import input_moments
from models.training.options import MAX_LOSS, MAX_LOSS_OF_4_BITS
from models.training.scoring import network_logits, target_logits, task_scores
from stream.domain.documents import SENTIMENTS

log = logging.getLogger(__name__)

# This many rows may change by chance, and in a small set they are points of macro-F1.
MAX_CHANCE_ROWS = 3
CANARIES = 8
CANARY_CANDIDATES = 200
CANARY_CONFIDENCE = 0.8
MIN_CALIBRATION_ROWS = 100
# Calibrated confidence from which a label counts.  Below it a sentiment is more likely wrong than right, and
# a topic is a guess among the nearest of the twenty.
CERTAIN_FROM = {"sentiment": 0.5, "topic": 0.25}

Logits = Mapping[str, np.ndarray]


def store(
    out: Path,
    network: Network,
    valid: Sequence[Row],
    *,
    languages: tuple[str, ...],
    max_tokens: int,
    max_loss: float = MAX_LOSS,
    bits: Bits = 8,
) -> PartInfo:
    """Write the network as a part in `out` in so many `bits`, calibrate it on `valid` and describe it.

    Raises WeightsError if the bits, or the bits computed in bfloat16, cost more than `max_loss` points.  4
    bits may cost no more than MAX_LOSS_OF_4_BITS.
    """
    if bits == 4:
        max_loss = min(max_loss, MAX_LOSS_OF_4_BITS)
    name = f"int{bits}"
    texts = [row.text for row in valid]
    exact = network_logits(network, texts, torch.device("cpu"))
    info = artifact.save_part(
        out / "-".join(languages),
        network.classifier,
        network.tokenizer,
        languages=languages,
        max_tokens=max_tokens,
        pooling=next(iter(network.classifier.heads.values())).kind,  # type: ignore[arg-type]
        event_thresholds=dict.fromkeys(network.event_types, DEFAULT_THRESHOLD),
        bits=bits,
        moments=input_moments(network, languages[0]) if bits == 4 else None,
    )
    stored, logits = _stored_logits(out, info, network.labels, texts)
    check_score_loss(name, network.labels, valid, before=exact, after=logits, max_loss=max_loss)
    _, bfloat16 = _stored_logits(out, info, network.labels, texts, torch.bfloat16)
    what = f"{name} computed in bfloat16"
    check_score_loss(what, network.labels, valid, before=exact, after=bfloat16, max_loss=max_loss)
    calibration = calibrate(network.labels, valid, logits)
    events = event_figures(network.event_types, valid, logits.get(EVENTS, np.empty((len(valid), 0))))
    info = msgspec.structs.replace(
        info,
        temperature=calibration.temperature | ({EVENTS: events.temperature} if events.thresholds else {}),
        certain_from=CERTAIN_FROM,
        scores=calibration.scores,
        event_thresholds=events.thresholds,
        event_scores=events.scores,
        reference=reference_profile(stored, texts, logits, calibration.temperature),
        canaries=canaries(stored, languages[0], calibration.temperature),
    )
    return with_target_figures(info, *target_logits(stored, valid, torch.device("cpu")))


def with_target_figures(info: PartInfo, by_target: Sequence[Row], logits: np.ndarray) -> PartInfo:
    """The part with the temperature, threshold and scores of the sentiment towards names.

    `by_target` are a row for each target, with the sentiment towards it; `logits` are [rows, sentiments].
    Without rows the part has none: it uses those of the sentiment of texts.
    """
    figures = calibrate({"sentiment": SENTIMENTS}, by_target, {"sentiment": logits})
    if not figures.scores:
        return info
    return msgspec.structs.replace(
        info,
        temperature=info.temperature | {TARGET: figures.temperature["sentiment"]},
        certain_from=info.certain_from | {TARGET: CERTAIN_FROM["sentiment"]},
        scores=info.scores | {TARGET: figures.scores["sentiment"]},
    )


def compress(folder: Path, out: Path, language: str, rows: Sequence[Row]) -> ModelInfo:
    """Write the model in `folder` to `out`, with the part for a language in 4 bits, calibrated on `rows`.

    `rows` are labelled ones that the model was not trained on; those with labels that it does not know are
    left out.  The other parts are copied.  Raises WeightsError if 4 bits cost more than MAX_LOSS_OF_4_BITS
    points of macro-F1; nothing is left then.
    """
    info = read_info(folder)
    if language not in info.languages:
        raise WeightsError(
            f"{folder} reads {', '.join(info.languages)}, not {language}: choose another language"
        )
    known = [row for row in rows if row.labels and _is_known(row, info.labels)]
    if not known:
        raise WeightsError(f"no row has labels that {folder} knows: give rows to compare 4 bits on")
    if out.exists():
        raise WeightsError(f"{out} is there already: choose a new folder, or delete it")
    try:
        shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.onnx"))
        parts = tuple(
            _compressed(folder, out, part, info.labels, known) if language in part.languages else part
            for part in info.parts
        )
        return artifact.save_info(out, msgspec.structs.replace(info, parts=parts))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _is_known(row: Row, labels: Mapping[str, tuple[str, ...]]) -> bool:
    return all(set(label.names) <= set(labels[task]) for task, label in row.labels.items())


def _compressed(
    folder: Path, out: Path, part: PartInfo, labels: Mapping[str, tuple[str, ...]], rows: Sequence[Row]
) -> PartInfo:
    texts = [row.text for row in rows]
    network, before = _stored_logits(folder, part, labels, texts)
    smaller = artifact.compress_part(out, part, input_moments(network, part.languages[0]))
    stored, after = _stored_logits(out, smaller, labels, texts)
    check_score_loss("int4", labels, rows, before=before, after=after, max_loss=MAX_LOSS_OF_4_BITS)
    calibration = calibrate(labels, rows, after)
    temperature = part.temperature | calibration.temperature
    return msgspec.structs.replace(
        smaller,
        temperature=temperature,
        scores=part.scores | calibration.scores,
        canaries=canaries(stored, part.languages[0], temperature),
    )


def _stored_logits(
    out: Path,
    info: PartInfo,
    labels: Mapping[str, tuple[str, ...]],
    texts: Sequence[str],
    dtype: torch.dtype = torch.float32,
) -> tuple[Network, dict[str, np.ndarray]]:
    """The part as it is loaded from disk, and its logits computed in `dtype`."""
    stored = artifact.load_part(out, info, labels).network
    stored.tokenizer.enable_truncation(info.max_tokens)
    stored.classifier.to(dtype)
    return stored, network_logits(stored, texts, torch.device("cpu"))


@dataclass(frozen=True)
class Calibration:
    """For each task, the temperature of the logits and the scores on the validation rows."""

    temperature: dict[str, float]
    scores: dict[str, dict[str, float]]


def calibrate(labels: Mapping[str, Sequence[str]], valid: Sequence[Row], logits: Logits) -> Calibration:
    """Fit a temperature for each task with labels, and score it (with the calibration error `ece`)."""
    temperature, scores = {}, {}
    for task, names in labels.items():
        task_result = task_scores(task, logits[task], valid, names)
        if not task_result:
            continue
        allowed = np.array([[name in _options(row, task) for name in names] for row in valid])
        rows = _calibration_rows(allowed, valid)
        temperature[task] = round(fit_temperature(logits[task][rows], allowed[rows]), 4)
        probabilities = softmax(logits[task][rows] / temperature[task])
        right = allowed[rows][np.arange(rows.sum()), probabilities.argmax(-1)]
        error = expected_calibration_error(reliability(probabilities.max(-1), right))
        scores[task] = {key: round(value, 4) for key, value in task_result.items()} | {"ece": round(error, 4)}
    return Calibration(temperature, scores)


def _calibration_rows(allowed: np.ndarray, valid: Sequence[Row]) -> np.ndarray:
    """Which rows to calibrate on, bool [rows]; `allowed` is bool [rows, labels].

    Rows of the project's own sentences are left out: they are clearer than real texts, and would make the
    model look more certain than it may be.  Rows with several allowed labels say less about confidence.
    """
    real = np.array([row.source not in AUGMENTATION_SOURCES for row in valid])
    labelled = np.asarray(allowed.any(-1))
    rows = np.asarray((allowed.sum(-1) == 1) & real)
    if rows.sum() < MIN_CALIBRATION_ROWS:
        rows = labelled & real
    return rows if rows.any() else labelled


def _options(row: Row, task: str) -> tuple[str, ...]:
    """The labels that a row allows; none if it chooses among fewer than all labels."""
    label = row.labels.get(task)
    return label.names if label is not None and not label.among else ()


def check_score_loss(
    what: str,
    labels: Mapping[str, Sequence[str]],
    rows: Sequence[Row],
    *,
    before: Logits,
    after: Logits,
    max_loss: float = MAX_LOSS,
) -> None:
    """Raise WeightsError if `after` scores more than `max_loss` points below `before`.

    Both are logits or probabilities [rows, labels] for each task.  A difference of MAX_CHANCE_ROWS rows or
    fewer is no loss.
    """
    for task, names in labels.items():
        old, new = (task_scores(task, logits[task], rows, names) for logits in (before, after))
        points = 100 * (old["score"] - new["score"]) if old else 0.0
        if points > max_loss and new["wrong"] - old["wrong"] > MAX_CHANCE_ROWS:
            raise WeightsError(
                f"{what} costs {task} {points:.1f} points of macro-F1, more than {max_loss:g}: train longer "
                "or with a lower learning rate, keep more, or allow it with --max-loss"
            )


def reference_profile(
    network: Network, texts: Sequence[str], logits: Logits, temperature: Mapping[str, float]
) -> Profile:
    """Token counts, labels and confidences of the validation texts, to measure drift against."""
    profiler = Profiler(network.labels)
    encodings = network.tokenizer.encode_batch(list(texts))
    labelled = {}
    for task, names in network.labels.items():
        probabilities = softmax(logits[task] / temperature.get(task, 1.0))
        labelled[task] = [(names[row.argmax()], float(row.max())) for row in probabilities]
    profiler.add([(len(e.ids), e.ids.count(network.unknown_id)) for e in encodings], labelled)
    return profiler.profile()


def canaries(network: Network, language: str, temperature: Mapping[str, float]) -> tuple[Canary, ...]:
    """Generated sentences that the network labels right with high confidence.

    It must label them the same wherever it is loaded.
    """
    try:
        sentences = generated_sentences(language, CANARY_CANDIDATES, seed=11)
    except ValueError:
        log.info("no canaries: there are no generated sentences in %s", language)
        return ()
    logits = network_logits(network, [sentence.text for sentence in sentences], torch.device("cpu"))
    probabilities = {task: softmax(logits[task] / temperature.get(task, 1.0)) for task in network.labels}
    selected: list[Canary] = []
    per_sentiment: Counter[str] = Counter()
    for i, (text, labels, _) in enumerate(sentences):
        is_sure = all(
            rows[i].max() > CANARY_CONFIDENCE and network.labels[task][int(rows[i].argmax())] == labels[task]
            for task, rows in probabilities.items()
        )
        if is_sure and per_sentiment[labels["sentiment"]] < CANARIES // 2 and len(selected) < CANARIES:
            per_sentiment[labels["sentiment"]] += 1
            selected.append(Canary(text, labels))
    return tuple(selected)
