"""Train the head for targets of a trained model alone: its encoder and everything else stay as they are.

The encoder reads the texts once, so a run takes minutes.
"""

import logging
import math
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from models.backends.device import compute_device
from models.data.dataset import Row, Source, fingerprint, near_duplicates
from models.errors import DataError, WeightsError
from models.network import artifact
from models.network.info import TARGET, ModelInfo, PartInfo, read_info
from models.network.target_heads import DistanceTargetHead, TargetHead
from models.training.batches import shuffled_batches
from models.training.card import head_card
from models.training.features import compute_features
from models.training.fit import MAX_GRADIENT_NORM, TARGET_SMOOTHING, adamw, warmup_then_linear
from models.training.losses import allowed_loss
from models.training.options import FitOptions, Progress, TrainingOptions
from models.training.release import check_score_loss, with_target_figures
from models.training.rows import as_classified
from models.training.scoring import task_scores
from models.training.target_lesson import TargetLesson
from models.training.train import (
    Run,
    TrainingResult,
    check_folder,
    report_leaks,
    seed_everything,
    split_rows,
    teaches_target_sentiment,
)
from stream.domain.documents import SENTIMENTS

log = logging.getLogger(__name__)

# Texts with targets are few: a smaller share of them would say too little of an epoch.
HOLDOUT = 0.1


def train_heads(
    options: TrainingOptions,
    rows: Sequence[Row],
    valid: Sequence[Row] = (),
    sources: Sequence[Source] = (),
    progress: Progress | None = None,
) -> TrainingResult:
    """Train the head for targets of the model options.base on the rows that have targets.

    Writes a copy of that model with the new head to options.out; its card names the `sources`.  The best
    epoch is selected on `valid`, or on a held-out part of `rows`.  Raises DataError and WeightsError.
    """
    started = time.monotonic()
    check_folder(options.out)
    base, info, part = _trained_part(options)
    labelled, held_out = _split(options, rows, valid)
    leaks = near_duplicates(labelled, held_out)
    report_leaks(leaks)
    texts = [row.text for row in (*labelled, *held_out)]
    features = compute_features(base, part, texts, options.fit.device, progress)
    lesson = TargetLesson.of(features, range(len(labelled)), labelled)
    check = TargetLesson.of(features, range(len(labelled), len(texts)), held_out)
    if not lesson.by_target or not check.by_target:
        raise DataError("no target is in what the model reads of its text: there is nothing to learn from")
    seeds = range(options.fit.seed, options.fit.seed + options.seeds)
    fits = [HeadFit(options.fit, seed, _start(base, info, part), lesson, check) for seed in seeds]
    runs = [fit.run(progress) for fit in fits]
    best = max(runs, key=lambda run: run.score)
    head = fits[runs.index(best)].head.cpu()
    answers = _is_continued(part) or teaches_target_sentiment(lesson.rows)
    part = _store(options, base, info, part, head, check)
    part = msgspec.structs.replace(
        part, target_sentiment=answers, data=part.data | _files(lesson.rows, sources)
    )
    parts = tuple(part if other.folder == part.folder else other for other in info.parts)
    info = artifact.save_info(options.out, msgspec.structs.replace(info, name=options.name, parts=parts))
    result = TrainingResult(info, part, len(leaks), runs, best, time.monotonic() - started)
    card = head_card(options, result, lesson.rows, sources)
    (options.out / "README.md").write_text(card, encoding="utf-8")
    return result


class HeadFit:
    """Trains one head on a lesson, in place, and ends with the weights of the best epoch by `check`."""

    def __init__(
        self, options: FitOptions, seed: int, head: TargetHead, lesson: TargetLesson, check: TargetLesson
    ) -> None:
        self.options, self.seed, self.lesson, self.check = options, seed, lesson, check
        self.device = compute_device(options.device)
        self.head = head.to(self.device)

    def run(self, progress: Progress | None = None) -> Run:
        seed_everything(self.seed)
        positions = [i for i, targets in enumerate(self.lesson.targets) if targets]
        lengths = [self.lesson.features.tokens(self.lesson.texts[i]) for i in positions]
        steps = self.options.epochs * math.ceil(len(positions) / self.options.batch_size)
        weights: list[Tensor] = list(self.head.parameters())
        average = [weight.detach().clone() for weight in weights]
        optimizer = adamw(weights, self.options)
        schedule = warmup_then_linear(optimizer, steps, self.options.warmup)
        order, step, curve, best = random.Random(self.seed), 0, [], (-1.0, self.head.state_dict())
        for epoch in range(self.options.epochs):
            self.head.train()
            for batch in shuffled_batches(lengths, self.options.batch_size, order):
                loss = self._step([positions[i] for i in batch], optimizer, weights)
                schedule.step()
                step += 1
                with torch.no_grad():
                    decay = min(self.options.averaging, (1 + step) / (10 + step))
                    torch._foreach_lerp_(average, weights, 1 - decay)
                if progress is not None:
                    progress(step, steps, f"epoch {epoch + 1} loss {loss:.3f}")
            trained = [weight.detach().clone() for weight in weights]
            _assign(weights, average)
            curve.append(self.score())
            log.info("epoch %d: %.4f on the held-out rows", epoch + 1, curve[-1])
            if curve[-1] > best[0]:
                best = curve[-1], {key: value.cpu().clone() for key, value in self.head.state_dict().items()}
            elif len(curve) - 1 - int(np.argmax(curve)) >= self.options.patience:
                break
            _assign(weights, trained)
        self.head.load_state_dict(best[1])
        self.head.eval()
        return Run(f"seed {self.seed}", best[0], tuple(curve), best[1])

    def _step(
        self, batch: Sequence[int], optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]
    ) -> float:
        logits, allowed = self.lesson.forward(self.head, batch, self.device)
        loss = allowed_loss(logits, allowed, torch.ones_like(allowed), TARGET_SMOOTHING).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
        optimizer.step()
        return float(loss.detach())

    def score(self) -> float:
        """The score of the head on the held-out targets: see `task_scores`."""
        self.head.eval()
        logits = self.check.logits(self.head, self.device)
        return task_scores("sentiment", logits, self.check.by_target, SENTIMENTS)["score"]


@torch.no_grad()
def _assign(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


def _trained_part(options: TrainingOptions) -> tuple[Path, ModelInfo, PartInfo]:
    """The folder of the model to train a head of, and its part for the language.  Raises WeightsError."""
    base = Path(options.base)
    if not (base / "model.json").is_file():
        raise WeightsError(
            f"{base} is no trained model: --only-heads needs one, since it trains nothing else; "
            "train without it first"
        )
    info = read_info(base)
    part = info.part_of(options.languages[0])
    if part is None:
        raise WeightsError(
            f"{base} reads {', '.join(info.languages)}, not {options.languages[0]}: choose another base "
            "or another --language"
        )
    return base, info, part


def _split(
    options: TrainingOptions, rows: Sequence[Row], valid: Sequence[Row]
) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows that have targets.  Raises DataError if there are none."""
    labelled, held_out = (
        [clean for row in group if row.targets and (clean := as_classified(row)).targets]
        for group in (rows, valid)
    )
    if not labelled or (valid and not held_out):
        which = "validation row" if labelled else "row"
        raise DataError(f"no {which} has targets: give rows with `entities` or `targets` (docs/training.md)")
    if not held_out:
        return split_rows(labelled, max(HOLDOUT, options.holdout), options.fit.seed)
    return labelled, held_out


def _is_continued(part: PartInfo) -> bool:
    """Whether training goes on with the head of the part, instead of a new one."""
    return part.target_sentiment and part.target_head == DistanceTargetHead.kind


def _start(base: Path, info: ModelInfo, part: PartInfo) -> TargetHead:
    """The head to train: that of the model, or a new one if it is of an older kind or was never trained."""
    classifier = artifact.load_part(base, part, info.labels).network.classifier
    if _is_continued(part):
        head: TargetHead = classifier.target
        return head
    width = int(classifier.encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
    return DistanceTargetHead(width, len(SENTIMENTS))


def _store(
    options: TrainingOptions,
    base: Path,
    info: ModelInfo,
    part: PartInfo,
    head: TargetHead,
    check: TargetLesson,
) -> PartInfo:
    """Copy the model to options.out with the new head, as int8, and describe the part.

    Raises WeightsError if int8 costs more than options.max_loss points.
    """
    device, labels, rows = torch.device("cpu"), {"sentiment": SENTIMENTS}, check.by_target
    before = {"sentiment": check.logits(head, device)}
    shutil.copytree(base, options.out, dirs_exist_ok=True)
    part = artifact.replace_head(options.out, part, TARGET, head)
    part = msgspec.structs.replace(part, target_head=head.kind)
    stored = artifact.load_part(options.out, part, info.labels).network.classifier.target
    after = {"sentiment": check.logits(stored, device)}
    check_score_loss("int8", labels, rows, before=before, after=after, max_loss=options.max_loss)
    return with_target_figures(part, rows, after["sentiment"])


def _files(rows: Sequence[Row], sources: Sequence[Source]) -> dict[str, str]:
    """The files of the sources that some of the rows are from: their names, and their SHA-256."""
    names = {row.source for row in rows}
    return {one.file.name: fingerprint(one.file) for one in sources if one.title_or_file in names}
