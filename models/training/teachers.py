"""Teachers: trained models whose probabilities a new network learns from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.backend_selection import select_backend
from models.backends.device import compute_device, compute_dtype
from models.backends.runtime import load_runtime
from models.data.dataset import Row
from models.errors import WeightsError
from models.inference.forward import ForwardPass
from models.inference.metrics import ModelMetrics
from models.network import artifact
from models.network.info import EVENTS, ModelInfo, PartInfo, read_info
from models.network.network import Network
from models.settings import ModelSettings
from models.training.features import tokenized
from models.training.options import Progress, TrainingOptions
from models.training.release import check_score_loss
from models.training.scoring import network_logits

# The answers of a teacher are stored for so many texts at a time: minutes of a large one.
PIECE = 8192
# Progress is shown after so many texts.
SHOWN = 64

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
    wanted = {**labels, EVENTS: event_types} if event_types else labels
    answers = [_cached_probabilities(options, folder, wanted, texts, progress) for folder in options.teachers]
    results = {}
    for task, names in wanted.items():
        of_task = [answer[task] for answer in answers if task in answer]
        if of_task:
            results[task] = np.full((len(rows), len(names)), np.nan, np.float32)
            results[task][asked[task]] = np.mean(of_task, axis=0)[[place[i] for i in asked[task]]]
    return results


def check_against_base(
    options: TrainingOptions, network: Network, valid: Sequence[Row], progress: Progress | None
) -> None:
    """Raise WeightsError if fewer layers of a base that is a teacher cost more than options.max_loss points.

    Other teachers may be much larger than the base: they say nothing about its layers.
    """
    base = Path(options.base).resolve()
    if not options.layers or base not in {folder.resolve() for folder in options.teachers}:
        return
    texts = [row.text for row in valid]
    full = _cached_probabilities(options, base, network.labels, texts, progress)
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
    """One teacher's calibrated probabilities [texts, labels] for each task, kept in the output folder.

    They are kept in pieces, so that a killed run loses a piece.
    """
    teacher: Teacher | None = None
    pieces = []
    for start in range(0, len(texts), PIECE):
        piece = texts[start : start + PIECE]
        digest = hashlib.sha256("\0".join([str(labels), *piece]).encode()).hexdigest()
        cache = options.out / f"teacher-{read_info(folder).version}-{digest[:12]}.npz"
        if not cache.is_file():
            teacher = teacher or Teacher(options, folder, labels)
            note = f"teacher {folder.name}, texts {start} to {start + len(piece)} of {len(texts)}"
            save_whole(cache, teacher.probabilities(piece, progress, note))
        with np.load(cache) as stored:
            pieces.append(dict(stored))
    return {task: np.concatenate([piece[task] for piece in pieces]) for task in (pieces[0] if pieces else ())}


def save_whole(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a file that is complete if it is there."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    part.replace(path)


class Teacher:
    """A trained model that answers with its calibrated probabilities, by the fastest backend here.

    Raises WeightsError if it does not read the language of the run, or has other labels than `labels`.
    """

    def __init__(self, options: TrainingOptions, folder: Path, labels: Labels) -> None:
        info = read_info(folder)
        self.info = _teacher_part(options, folder, info, labels)
        known = {**info.labels, EVENTS: self.info.event_types}
        # Where each label is in the teacher's order.  One that looks for fewer events says nothing of events.
        self.columns = {
            task: [known[task].index(name) for name in names]
            for task, names in labels.items()
            if set(names) <= set(known[task])
        }
        self.part = artifact.load_part(folder, self.info, info.labels)
        settings = select_backend(ModelSettings(weights=folder, device=options.fit.device))
        runtime = load_runtime(artifact.LoadedModel(info, (self.part,)), settings)
        self.forward = ForwardPass(runtime, info.version, ModelMetrics())

    def probabilities(
        self, texts: Sequence[str], progress: Progress | None, note: str
    ) -> dict[str, np.ndarray]:
        """Probabilities [texts, labels] for each task, and [texts, types] of EVENTS if it looks for them."""
        answers = {
            task: np.zeros((len(texts), len(columns)), np.float32) for task, columns in self.columns.items()
        }
        # A network in training reads as much of a text.
        read = tokenized(self.part, texts, max_windows=1)
        for done, (text, output) in enumerate(self.forward.outputs(read), start=1):
            known = {**output.probabilities, EVENTS: output.events}
            for task, columns in self.columns.items():
                answers[task][text.index] = known[task][columns]
            if progress is not None and (done % SHOWN == 0 or done == len(texts)):
                progress(done, len(texts), note)
        return answers


def _teacher_part(options: TrainingOptions, folder: Path, info: ModelInfo, labels: Labels) -> PartInfo:
    """The teacher's part for the languages of the run.  Raises WeightsError if its labels differ."""
    part = next((part for part in info.parts if set(options.languages) & set(part.languages)), None)
    if part is None:
        raise WeightsError(f"teacher {folder} does not read {', '.join(options.languages)}")
    for task in labels.keys() & info.labels.keys():
        names = labels[task]
        if missing := sorted(set(names) ^ set(info.labels[task])):
            raise WeightsError(
                f"teacher {folder} has other {task} labels than the rows and the base: {', '.join(missing)}"
            )
    return part


def _compute(options: TrainingOptions) -> tuple[torch.device, bool]:
    """The device, and whether it computes in bfloat16."""
    device = compute_device(options.fit.device)
    return device, compute_dtype(options.fit.dtype, device) is torch.bfloat16
