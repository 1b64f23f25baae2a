"""Train a classifier: from an encoder and labelled rows to a model folder that the engine loads.

The rows are split and checked for leaks, teachers (if any) label them, the loop of `models.training.fit`
trains, and the result is stored as int8, compared with full precision, calibrated on the held-out rows and
described in a card.
"""

import logging
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch

from models.data.dataset import Row, Source, fingerprint, near_duplicates
from models.errors import DataError
from models.inference import heap
from models.network import artifact
from models.network.info import EMBEDDING, EVENTS, ModelInfo, PartInfo
from models.training.adapters import merge
from models.training.card import model_card
from models.training.embeddings import embedding_lesson
from models.training.events import event_copies
from models.training.fit import Trainer
from models.training.news_head import fit_news_head
from models.training.options import Progress, TrainingOptions
from models.training.release import store
from models.training.rows import as_classified
from models.training.scoring import held_out_score
from models.training.speed import RunSpeed
from models.training.start import Start, load_start
from models.training.teachers import check_against_base, delete_cache, teacher_probabilities

log = logging.getLogger(__name__)

MAX_REPORTED_LEAKS = 3
# The share of the rows with events that are held out.
EVENT_HOLDOUT = 0.2
# Rows that boilerplate is put to, for the head that tells it from news; shorter ones are headlines.
MOST_NEWS, SHORTEST_NEWS = 400, 80
# The subfolder for TensorBoard.
LOGS = "logs"


@dataclass(frozen=True)
class Run:
    """The result of one seed: best score on the held-out rows, score after each epoch, weights.

    `speed` is None for the mean of runs, and for a run of which nothing was left to train.
    """

    name: str
    score: float
    curve: tuple[float, ...]
    state: Mapping[str, torch.Tensor] = field(repr=False)
    speed: RunSpeed | None = None


@dataclass(frozen=True)
class TrainingResult:
    """The trained model, its new part, the number of leaked validation rows, and all runs."""

    info: ModelInfo
    part: PartInfo
    leaks: int
    runs: Sequence[Run]
    best: Run
    seconds: float

    @property
    def speed(self) -> RunSpeed | None:
        """That of the last run that trained."""
        return next((run.speed for run in reversed(self.runs) if run.speed is not None), None)


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a run.  `training` are the `labelled` rows and, with a teacher, unlabelled ones."""

    labelled: Sequence[Row]
    training: Sequence[Row]
    valid: Sequence[Row]


def train(
    options: TrainingOptions,
    rows: Sequence[Row],
    valid: Sequence[Row] = (),
    sources: Sequence[Source] = (),
    progress: Progress | None = None,
) -> TrainingResult:
    """Train on `rows` and write a model to options.out; its card names the `sources`.

    The network learns from the texts as it will read them: clean, and without boilerplate.  The best epoch is
    selected on `valid`, or on a held-out part of `rows`.  Raises DataError and WeightsError, also if int8,
    bfloat16 or fewer layers cost more than options.max_loss points.
    """
    started = time.monotonic()
    check_folder(options.out)
    heap.keep_all()
    split_rows = _split_rows(options, list(map(as_classified, rows)), list(map(as_classified, valid)))
    leaks = near_duplicates(split_rows.labelled, split_rows.valid)
    report_leaks(leaks)
    options.out.mkdir(parents=True, exist_ok=True)
    start, runs = run_seeds(options, split_rows, progress)
    best = max(runs, key=lambda run: run.score)
    start.network.classifier.load_state_dict(best.state)
    check_against_base(options, start.network, split_rows.valid, progress)
    info, part = _write_model(options, start, split_rows, sources)
    result = TrainingResult(info, part, len(leaks), runs, best, time.monotonic() - started)
    card = model_card(options, result, split_rows.training, sources, start.size)
    (options.out / "README.md").write_text(card, encoding="utf-8")
    delete_cache(options.out)
    for path in options.out.glob("checkpoint-*.pt"):
        path.unlink(missing_ok=True)
    return result


def check_folder(out: Path) -> None:
    """Raises DataError if the folder holds anything but an unfinished run, which would be mixed with."""
    if out.is_dir() and not any(out.glob("checkpoint-*.pt")):
        others = sorted(path.name for path in out.iterdir() if not is_of_a_run(path))
        if others:
            raise DataError(f"{out} is not empty: it holds {others[0]}; choose a new folder, or delete it")


def is_of_a_run(path: Path) -> bool:
    """Whether a run writes such a file or folder before it is finished."""
    return path.name == LOGS or path.suffix == ".part" or path.match("teacher-*.npz")


def _split_rows(options: TrainingOptions, rows: Sequence[Row], valid: Sequence[Row]) -> TrainingRows:
    labelled = [row for row in rows if row.is_labelled]
    if not valid:
        labelled, valid = split_rows(labelled, options.holdout, options.fit.seed)
    # Rows without labels are of use only to learn from a teacher.
    unlabelled = [row for row in rows if not row.is_labelled] if options.teachers else []
    return TrainingRows(labelled, labelled + unlabelled, valid)


def run_seeds(
    options: TrainingOptions, rows: TrainingRows, progress: Progress | None
) -> tuple[Start, list[Run]]:
    """Train once for each seed; with several seeds the mean of their weights is one more candidate.

    Runs from one trained model often end in one basin, where the mean does better than each of them (Wortsman
    et al. 2022, "Model soups"); runs with new heads do not, and their mean does worse.
    """
    teacher: dict[str, np.ndarray] | None = None
    lessons = [*rows.training, *event_copies(rows.labelled)]
    runs: list[Run] = []
    for seed in range(options.fit.seed, options.fit.seed + options.seeds):
        seed_everything(seed)
        start = load_start(options, [*rows.labelled, *rows.valid])
        network = start.network
        if teacher is None:
            teacher = teacher_probabilities(options, network.labels, lessons, progress, network.event_types)
            embeddings = embedding_lesson(options, network, [row.text for row in lessons], progress)
            teacher |= {} if embeddings is None else {EMBEDDING: embeddings}
        checkpoint = options.out / f"checkpoint-{seed}.pt"
        trainer = Trainer(replace(options.fit, seed=seed), network, lessons, teacher, checkpoint)
        score = partial(held_out_score, valid=rows.valid, device=trainer.device, half=trainer.half)
        trainer.run(score, progress, options.out / LOGS / f"seed-{seed}")
        speed = trainer.speed.result(trainer.device, trainer.dtype)
        network.classifier.cpu()
        network.classifier.encoder = merge(network.classifier.encoder, options.method)
        state = {key: value.clone() for key, value in network.classifier.state_dict().items()}
        runs.append(Run(f"seed {seed}", trainer.best_score, tuple(trainer.curve), state, speed))
    if len(runs) > 1:
        mean = {key: torch.stack([run.state[key].float() for run in runs]).mean(0) for key in runs[0].state}
        network.classifier.load_state_dict(mean)
        network.classifier.to(trainer.device)
        runs.append(Run("their mean", score(network), (), mean))
        network.classifier.cpu()
    return start, runs


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def split_rows(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows): about `share` of the texts are held out, and more of those that say
    which events they report: those have few rows of a type.

    The same text is never on both sides, and a held-out row that nearly repeats a training row moves back to
    training.  Raises DataError if no row is left to hold out.
    """
    rng = random.Random(seed)
    of_text = {row.text: share for row in rows}
    of_text |= {row.text: max(share, EVENT_HOLDOUT) for row in rows if row.events is not None}
    held_out_texts = {text for text in sorted(of_text) if rng.random() < of_text[text]}
    training = [row for row in rows if row.text not in held_out_texts]
    held_out = [row for row in rows if row.text in held_out_texts]
    near = {id(row) for row, _ in near_duplicates(training, held_out)}
    training += [row for row in held_out if id(row) in near]
    held_out = [row for row in held_out if id(row) not in near]
    if not held_out:
        raise DataError("too few rows to hold any out for validation: give a file with --valid")
    return training, held_out


def report_leaks(leaks: Sequence[tuple[Row, Row]]) -> None:
    """Log how many validation rows nearly repeat training rows, and where the first ones are."""
    for row, twin in leaks[:MAX_REPORTED_LEAKS]:
        log.warning("validation row %s nearly repeats training row %s", row.where, twin.where)
    if leaks:
        log.warning(
            "%d validation rows nearly repeat training rows: scores on them are too good; remove them",
            len(leaks),
        )


def _write_model(
    options: TrainingOptions, start: Start, rows: TrainingRows, sources: Sequence[Source]
) -> tuple[ModelInfo, PartInfo]:
    """Store the trained part and model.json in options.out."""
    part = store(
        options.out,
        start.network,
        rows.valid,
        languages=options.languages,
        max_tokens=options.max_tokens,
        max_loss=options.max_loss,
        bits=options.bits,
    )
    texts = [row.text for row in rows.training if len(row.text) >= SHORTEST_NEWS][:MOST_NEWS]
    part = msgspec.structs.replace(
        part,
        news_head=fit_news_head(
            start.network, options.languages[0], texts, max_tokens=options.max_tokens, seed=options.fit.seed
        ),
        data={source.file.name: fingerprint(source.file) for source in sources},
        target_sentiment=start.target_sentiment or teaches_target_sentiment(rows.training),
    )
    if part.event_thresholds and not part.event_scores:
        # Too few rows to learn the thresholds again: those of the base are better than none.
        part = msgspec.structs.replace(
            part,
            event_thresholds=part.event_thresholds | dict(start.event_thresholds),
            temperature=part.temperature | {EVENTS: start.event_temperature},
        )
    parts = (part, *copy_other_parts(options, start))
    labels = dict(start.network.labels)
    return artifact.save_info(options.out, ModelInfo(options.name, "", labels, parts)), part


def teaches_target_sentiment(rows: Sequence[Row]) -> bool:
    """Whether the rows name targets that are clearly positive and others that are clearly negative.

    Targets that are "negative" or "not negative" teach a head that never answers positive.
    """
    sentiments = {target.label.only for row in rows for target in row.targets}
    return {"positive", "negative"} <= sentiments


def copy_other_parts(options: TrainingOptions, start: Start) -> tuple[PartInfo, ...]:
    """Copy the parts for other languages of the model that training started from."""
    if start.other_parts_in is None:
        return ()
    for part in start.other_parts:
        source, target = start.other_parts_in / part.folder, options.out / part.folder
        if target.resolve() != source.resolve():
            shutil.copytree(source, target, dirs_exist_ok=True)
    return start.other_parts
