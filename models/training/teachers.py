"""Teachers: trained models whose probabilities a new network learns from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.backends.device import compute_device, compute_dtype
from models.data.dataset import Row
from models.errors import WeightsError
from models.network import artifact
from models.network.calibration import softmax
from models.network.info import EVENTS, ModelInfo, PartInfo, read_info
from models.network.network import Network
from models.training.options import Progress, TrainingOptions
from models.training.release import check_score_loss
from models.training.scoring import network_logits

Labels = Mapping[str, Sequence[str]]


def teacher_probabilities(
    options: TrainingOptions,
    labels: Labels,
    rows: Sequence[Row],
    progress: Progress | None,
    event_types: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Mean probabilities of the teachers, [rows, labels] for each task; empty without teachers.

    Teachers are not asked about rows that have a label for every task: their probabilities are NaN.  Those
    that look for these types of events answer for EVENTS too, [rows, types], of the rows that do not say.
    """
    if not options.teachers:
        return {}
    unlabelled = [i for i, row in enumerate(rows) if set(labels) - set(row.labels)]
    asked = dict.fromkeys(labels, unlabelled)
    asked[EVENTS] = [i for i, row in enumerate(rows) if row.events is None] if event_types else []
    positions = sorted(set().union(*asked.values()))
    place = {position: i for i, position in enumerate(positions)}
    texts = [rows[i].text for i in positions]
    answers = [_cached_probabilities(options, folder, labels, texts, progress) for folder in options.teachers]
    results = {}
    for task, names in {**labels, EVENTS: event_types}.items():
        of_task = [answer[task] for answer in answers if task in answer]
        if of_task and all(part.shape[1] == len(names) for part in of_task):
            results[task] = np.full((len(rows), len(names)), np.nan, np.float32)
            results[task][asked[task]] = np.mean(of_task, axis=0)[[place[i] for i in asked[task]]]
    return results


def check_against_teachers(
    options: TrainingOptions, network: Network, valid: Sequence[Row], progress: Progress | None
) -> None:
    """Raise WeightsError if fewer layers cost more than options.max_loss points against the teachers."""
    texts = [row.text for row in valid]
    answers = [
        _cached_probabilities(options, folder, network.labels, texts, progress) for folder in options.teachers
    ]
    full = {task: np.mean([answer[task] for answer in answers], axis=0) for task in network.labels}
    device, half = _compute(options)
    network.classifier.to(device)
    student = network_logits(network, texts, device, half=half)
    network.classifier.cpu()
    what = f"keeping {options.layers} layers"
    check_score_loss(what, network.labels, valid, before=full, after=student, max_loss=options.max_loss)


def delete_cache(out: Path) -> None:
    """Delete the stored answers of teachers in the folder of a finished run."""
    for path in out.glob("teacher-*.npz"):
        path.unlink(missing_ok=True)


def _cached_probabilities(
    options: TrainingOptions,
    folder: Path,
    labels: Labels,
    texts: Sequence[str],
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """One teacher's calibrated probabilities [texts, labels] for each task, kept in the output folder."""
    info = read_info(folder)
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    cache = options.out / f"teacher-{info.version}-{digest[:12]}.npz"
    if cache.is_file():
        with np.load(cache) as stored:
            return {task: stored[task] for task in (*labels, EVENTS) if task in stored}
    part_info = _teacher_part(options, folder, info, labels)
    network = artifact.load_part(folder, part_info, info.labels).network
    network.tokenizer.no_padding()
    network.tokenizer.enable_truncation(part_info.max_tokens)
    device, half = _compute(options)
    network.classifier.to(device)
    note = f"teacher {info.version}"
    logits = network_logits(network, texts, device, half=half, progress=progress, note=note)
    probabilities = {
        task: softmax(logits[task] / part_info.temperature.get(task, 1.0)).astype(np.float32)
        for task in labels
    }
    if EVENTS in logits:
        calibrated = torch.from_numpy(logits[EVENTS] / part_info.temperature.get(EVENTS, 1.0))
        probabilities[EVENTS] = calibrated.sigmoid().numpy()
    np.savez_compressed(cache, **probabilities)  # type: ignore[arg-type]
    return probabilities


def _teacher_part(options: TrainingOptions, folder: Path, info: ModelInfo, labels: Labels) -> PartInfo:
    """The teacher's part for the languages of the run.  Raises WeightsError if its labels differ."""
    part = next((part for part in info.parts if set(options.languages) & set(part.languages)), None)
    if part is None:
        raise WeightsError(f"teacher {folder} does not read {', '.join(options.languages)}")
    for task, names in labels.items():
        if tuple(names) != info.labels[task]:
            raise WeightsError(f"teacher {folder} has other {task} labels than the rows and the base")
    return part


def _compute(options: TrainingOptions) -> tuple[torch.device, bool]:
    """The device, and whether it computes in bfloat16."""
    device = compute_device(options.fit.device)
    return device, compute_dtype(options.fit.dtype, device) is torch.bfloat16
