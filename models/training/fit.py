"""The training loop: optimiser, moving average of the weights, early stopping, checkpoints."""

import hashlib
import itertools
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.backends.device import compute_device, training_dtype
from models.data.dataset import Row
from models.errors import WeightsError
from models.network.classifier import AttentionClassifier, Hidden
from models.network.network import Network
from models.training.adapters import rank_state, restore_rank_state, update_rank
from models.training.batches import BatchBuilder, TrainingBatch, class_weights, shuffled_batches
from models.training.losses import (
    allowed_loss,
    distillation_loss,
    embedding_loss,
    event_loss,
    loss_without_added,
    r_drop_loss,
)
from models.training.options import FitOptions, Progress
from models.training.speed import SpeedMeter

log = logging.getLogger(__name__)

TARGET_SMOOTHING = 0.05
MAX_GRADIENT_NORM = 1.0
# The weight of the embeddings' cosine distance among the losses.
EMBEDDING_WEIGHT = 2.0

# Scores a network on validation rows; higher is better.
Score = Callable[[Network], float]


class Trainer:
    """Trains a network on rows, in place.

    `teacher` are a teacher's probabilities [rows, labels] for each task, and the embeddings to learn [rows,
    size] for EMBEDDING.  `checkpoint` is written every
    `options.checkpoint_seconds` and after every epoch, and training continues from it if it exists, to the
    same weights as without the interruption.
    """

    def __init__(
        self,
        options: FitOptions,
        network: Network,
        rows: Sequence[Row],
        teacher: Mapping[str, np.ndarray] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.options, self.network, self.checkpoint = options, network, checkpoint
        self.device = compute_device(options.device)
        self.half = training_dtype(options.dtype, self.device) is torch.bfloat16
        network.classifier.to(self.device)
        self.trainable: list[Tensor] = [p for p in self.classifier.parameters() if p.requires_grad]
        self.ema = [p.detach().clone() for p in self.trainable]
        weights = class_weights(network.labels, rows) if options.class_weights else {}
        self.weights = {task: weight.to(self.device) for task, weight in weights.items()}
        self.rng = random.Random(options.seed)
        self.builder = BatchBuilder(network, rows, teacher or {}, self.device, options.augmentation, self.rng)
        self.lengths = [len(e.ids) for e in network.tokenizer.encode_batch([row.text for row in rows])]
        self.steps = math.ceil(len(rows) / options.batch_size) * options.epochs
        encoder = [p for p in self.classifier.encoder.parameters() if p.requires_grad]
        self.optimizer = adamw(self.trainable, options, encoder)
        self.schedule = warmup_then_linear(self.optimizer, self.steps, options.warmup)
        self.row_digest = digest(rows)
        self.epoch, self.step, self.epochs_without_gain = 0, 0, 0
        self.batches_done = 0  # of the epoch in progress
        self.saved_at = time.monotonic()
        self.speed = SpeedMeter(self.classifier.encoder)
        self.best_score: float = -1.0
        self.best_state: dict[str, Tensor] = {}
        self.curve: list[float] = []
        self._resume()

    @property
    def dtype(self) -> torch.dtype:
        """What the products are computed in; the weights are float32."""
        return torch.bfloat16 if self.half else torch.float32

    @property
    def classifier(self) -> AttentionClassifier:
        return self.network.classifier

    def run(self, score: Score, progress: Progress | None = None, logs: Path | None = None) -> None:
        """Train; the network ends with the weights of its best epoch by `score`."""
        writer = tensorboard(logs, self.step)
        log.info("%d rows, %d steps, in %s on %s", len(self.lengths), self.steps, self.dtype, self.device)
        while self.epoch < self.options.epochs and self.epochs_without_gain < self.options.patience:
            self._run_epoch(progress, writer)
            self._end_epoch(score, writer)
        if writer is not None:
            writer.close()
        self.classifier.load_state_dict(self.best_state)
        self.classifier.eval()

    def _run_epoch(self, progress: Progress | None, writer: Any) -> None:
        self.classifier.train()
        order = random.Random(f"{self.options.seed}/{self.epoch}")
        batches = shuffled_batches(self.lengths, self.options.batch_size, order)
        for positions in batches[self.batches_done :]:
            self.speed.start_step()
            loss = self._train_on(self.builder.build(positions))
            self.step += 1
            self.batches_done += 1
            self._update_ema()
            self.speed.end_step([self.lengths[i] for i in positions], loss)
            if progress is not None:
                progress(self.step, self.steps, f"epoch {self.epoch + 1}, {self.speed}")
            if writer is not None:
                writer.add_scalar("loss", loss, self.step)
                writer.add_scalar("learning_rate", self.schedule.get_last_lr()[0], self.step)
            if time.monotonic() - self.saved_at >= self.options.checkpoint_seconds:
                self._save()

    def _end_epoch(self, score: Score, writer: Any) -> None:
        """Score the moving average of the weights, keep it if it is the best, write a checkpoint."""
        self.epoch, self.batches_done = self.epoch + 1, 0
        self._swap_in_ema()
        self.classifier.eval()
        epoch_score = score(self.network)
        self.curve.append(epoch_score)
        log.info("epoch %d: %.4f on the held-out rows", self.epoch, epoch_score)
        if writer is not None:
            writer.add_scalar("held_out", epoch_score, self.step)
        if epoch_score > self.best_score:
            self.best_score, self.epochs_without_gain = epoch_score, 0
            state = self.classifier.state_dict()
            self.best_state = {key: value.detach().cpu().clone() for key, value in state.items()}
        else:
            self.epochs_without_gain += 1
        self._swap_in_ema()
        self._save()

    def _train_on(self, batch: TrainingBatch) -> float:
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trainable, MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.schedule.step()
        update_rank(self.classifier.encoder, self.step)
        return float(loss.detach())

    def _loss(self, batch: TrainingBatch) -> Tensor:
        tasks = self.network.labels
        hidden, logits, targets, events = self._forward(batch)
        losses = [self._task_loss(task, logits[task], batch) for task in tasks]
        if events is not None:
            losses.append(event_loss(events, batch.events))
        if len(batch.target_text):
            among = torch.ones_like(batch.target_allowed)
            losses.append(allowed_loss(targets, batch.target_allowed, among, TARGET_SMOOTHING).mean())
        if batch.embeddings is not None and self.classifier.embedding is not None:
            embeddings = self.classifier.embedding(hidden)
            losses.append(EMBEDDING_WEIGHT * embedding_loss(embeddings, batch.embeddings))
        if self.options.r_drop:
            _, second, *_ = self._forward(batch)
            losses += [self.options.r_drop * r_drop_loss(logits[t], second[t]) for t in tasks]
        return torch.stack(losses).sum()

    def _task_loss(self, task: str, logits: Tensor, batch: TrainingBatch) -> Tensor:
        """The loss against the labels and against the teacher, each a mean over the rows that have one.

        The label counts in full if the teacher was not asked about a row.
        """
        has_label, share, loss = batch.has_label[task], self.options.teacher_share, logits.new_zeros(())
        teacher = batch.teacher.get(task, logits.new_full(logits.shape, float("nan")))
        has_teacher = teacher[:, 0].isfinite()
        if has_label.any():
            allowed, among = batch.allowed[task][has_label], batch.among[task][has_label]
            row_losses = allowed_loss(logits[has_label], allowed, among, self.options.label_smoothing)
            added = batch.added[task][has_label]
            row_losses = row_losses + loss_without_added(logits[has_label], allowed, among, added)
            if task in self.weights:
                row_losses = row_losses * (allowed * self.weights[task]).sum(-1) / allowed.sum(-1)
            loss = loss + (row_losses * torch.where(has_teacher[has_label], 1 - share, 1.0)).mean()
        if has_teacher.any():
            temperature = self.options.teacher_temperature
            distilled = distillation_loss(logits[has_teacher], teacher[has_teacher], temperature)
            loss = loss + share * distilled.mean()
        return loss

    def _forward(self, batch: TrainingBatch) -> tuple[Hidden, dict[str, Tensor], Tensor, Tensor | None]:
        """The token vectors; logits [rows, labels] of each task, of the targets [targets, sentiments], and of
        the events [rows, types] if the network has a head for them."""
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            hidden: Hidden = self.classifier.encode(batch.inputs)
            logits = {task: output for task, (output, _) in self.classifier.apply_heads(hidden).items()}
            targets = torch.empty(0)
            if len(batch.target_text):
                targets, _ = self.classifier.target(hidden, batch.target_text, batch.target_spans)
            events = None if self.classifier.events is None else self.classifier.events(hidden)
        return hidden, logits, targets, events

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Update the exponential moving average of the weights; its decay grows with the steps.

        Averaged weights do better than the last ones (Polyak and Juditsky 1992).
        """
        decay = min(self.options.averaging, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.ema, self.trainable, 1 - decay)

    @torch.no_grad()
    def _swap_in_ema(self) -> None:
        """Exchange the trained weights and their moving average, which is what is scored and kept."""
        for weight, average in zip(self.trainable, self.ema, strict=True):
            backup = weight.clone()
            weight.copy_(average)
            average.copy_(backup)

    def _save(self) -> None:
        """Write the checkpoint; the one before it stays until the new one is on the disk."""
        if self.checkpoint is None:
            return
        state = {
            "key": self._key(),
            "half": self.half,
            "epoch": self.epoch,
            "batches_done": self.batches_done,
            "step": self.step,
            "stale": self.epochs_without_gain,
            "best": self.best_score,
            "best_state": self.best_state,
            "curve": self.curve,
            "classifier": self.classifier.state_dict(),
            "average": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rank": rank_state(self.classifier.encoder),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "dice": self.rng.getstate(),
        }
        try:
            write_whole(self.checkpoint, state)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
            log.error("%s cannot be written, training goes on without it: %s", self.checkpoint, error)
        self.saved_at = time.monotonic()

    def _resume(self) -> None:
        """Continue from the checkpoint.  Raises WeightsError for one of another run, or a damaged one."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, UnpicklingError) as error:
            raise WeightsError(
                f"{self.checkpoint} cannot be read: delete it to start over: {error}"
            ) from error
        if state["key"] != self._key():
            raise WeightsError(
                f"{self.checkpoint} belongs to a run with other options or rows: delete it to start over, "
                "or use the options of that run to continue it"
            )
        # Measured again, the number type could be the other one.
        self.half = state["half"]
        self.classifier.load_state_dict(state["classifier"])
        self.ema = [value.to(self.device) for value in state["average"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.batches_done, self.step = state["epoch"], state["batches_done"], state["step"]
        self.best_score, self.best_state, self.curve = state["best"], state["best_state"], state["curve"]
        self.epochs_without_gain = state["stale"]
        restore_rank_state(self.classifier.encoder, state["rank"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)
        version, internal, gauss = state["dice"]
        self.rng.setstate((version, tuple(internal), gauss))
        log.info("continuing from %s: step %d of %d", self.checkpoint, self.step, self.steps)

    def _key(self) -> str:
        """What must be equal for a checkpoint to be continued."""
        return f"{self.options} rows {self.row_digest} {sum(self.lengths)} tokens"


def write_whole(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint to a file that is complete if it is there, also after a power failure."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def digest(rows: Sequence[Row]) -> str:
    """Changes with any text, label, target or event."""
    parts = hashlib.sha256()
    for row in rows:
        parts.update(f"{row.text}\0{sorted(row.labels.items())}\0{row.targets}\0{row.events}\n".encode())
    return parts.hexdigest()[:16]


def adamw(
    weights: Sequence[Tensor], options: FitOptions, encoder: Sequence[Tensor] = ()
) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and norms.

    The weights of the `encoder` learn at the learning rate, all others at `options.head_rate` times that.
    """
    of_encoder = set(map(id, encoder))
    groups = [
        {
            "params": [p for p in weights if (p.ndim > 1, id(p) in of_encoder) == (is_matrix, is_encoder)],
            "weight_decay": options.weight_decay if is_matrix else 0.0,
            "lr": options.learning_rate * (1.0 if is_encoder else options.head_rate),
        }
        for is_matrix, is_encoder in itertools.product((True, False), repeat=2)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def warmup_then_linear(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> Any:
    """Linear warm-up over the share `warmup` of the steps, then linear decay to zero."""
    warm = max(1, int(steps * warmup))
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )


def tensorboard(logs: Path | None, step: int) -> Any:
    """A TensorBoard writer that continues after `step`; None without a folder or without the package."""
    if logs is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard logs: the package tensorboard is not installed")
        return None
    return SummaryWriter(str(logs), purge_step=step + 1)
