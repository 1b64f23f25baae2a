"""The training loop: losses over labels that may say little, an optimiser, a running mean, checkpoints."""

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from models.backends.device import compute_device, compute_dtype
from models.data.dataset import Label, Row
from models.errors import WeightsError
from models.network.classifier import AttentionClassifier, Hidden, Inputs, span_mask
from models.training.augment import augment
from stream.domain.documents import SENTIMENTS

log = logging.getLogger(__name__)

# How much a row whose label was chosen among some also says that it is none of the others.
OUTSIDE = 0.3


class Progress(Protocol):
    """Who is told how far training is; called once a step."""

    def __call__(self, step: int, steps: int, note: str) -> None: ...


@dataclass(frozen=True)
class FitOptions:
    """How the loop runs, whatever it trains on."""

    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: float = 0.06
    label_smoothing: float = 0.1
    class_weights: bool = False
    averaging: float = 0.999
    augmentation: float = 0.0
    r_drop: float = 0.0
    teacher_share: float = 0.5
    teacher_temperature: float = 2.0
    patience: int = 2
    seed: int = 1
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True)
class TrainingBatch:
    """Tokenised rows.  For each task, `allowed` and `among` are bool [rows, labels] and `known` [rows].

    `soft` [rows, labels] are a teacher's probabilities, where there is a teacher; NaN for a row it left.
    `target_text` [targets], `target_spans` [targets, tokens], `target_allowed` [targets, sentiments].
    """

    inputs: Inputs
    allowed: dict[str, Tensor]
    among: dict[str, Tensor]
    known: dict[str, Tensor]
    soft: dict[str, Tensor]
    target_text: Tensor
    target_spans: Tensor
    target_allowed: Tensor


def allowed_loss(logits: Tensor, allowed: Tensor, among: Tensor, smoothing: float) -> Tensor:
    """Minus the log of the summed probability of the allowed labels, given those asked for.

    logits [n, labels], allowed and among bool [n, labels]; returns [n].  With one allowed label out
    of all this is cross-entropy.  Where only some were asked for, OUTSIDE of the loss of the others
    is added.  `smoothing` spreads that much of the target over all that were asked for.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    never = torch.finfo(log_p.dtype).min
    asked = log_p.masked_fill(~among, never).logsumexp(-1)
    right = log_p.masked_fill(~allowed, never).logsumexp(-1) - asked
    spread = ((log_p - asked[:, None]) * among).sum(-1) / among.sum(-1)
    partial = allowed.sum(-1) > 1  # a set says nothing about how its members share
    mixed = torch.where(partial, right, (1 - smoothing) * right + smoothing * spread)
    return -mixed - OUTSIDE * asked


def distil_loss(logits: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the teacher's probabilities [n, labels], both softened; [n].

    Scaled by the temperature squared, so that its gradient keeps its size (Hinton et al. 2015).
    """
    wanted = torch.softmax(soft.clamp(min=1e-6).log() / temperature, dim=-1)
    given = torch.log_softmax(logits / temperature, dim=-1)
    return (wanted * (wanted.log() - given)).sum(-1) * temperature**2


class Fit:
    """Trains a classifier on rows; `soft` are a teacher's probabilities [rows, labels] for each task."""

    def __init__(
        self,
        options: FitOptions,
        classifier: AttentionClassifier,
        tokenizer: Tokenizer,
        pad_id: int,
        labels: Mapping[str, Sequence[str]],
        rows: Sequence[Row],
        soft: Mapping[str, np.ndarray] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.options, self.labels, self.pad_id, self.checkpoint = options, labels, pad_id, checkpoint
        self.device = compute_device(options.device)
        self.half = compute_dtype(options.dtype, self.device) is torch.bfloat16
        self.classifier, self.tokenizer = classifier.to(self.device), tokenizer
        self.rows, self.soft = rows, soft or {}
        self.place = {task: {name: i for i, name in enumerate(names)} for task, names in labels.items()}
        self.trained: list[Tensor] = [p for p in self.classifier.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.trained]
        self.weights = self._class_weights() if options.class_weights else {}
        self.dice = random.Random(options.seed)
        self.lengths = [len(e.ids) for e in tokenizer.encode_batch([row.text for row in rows])]
        self.steps = math.ceil(len(rows) / options.batch_size) * options.epochs
        self.optimizer, self.schedule = self._optimizer()
        self.epoch, self.step, self.stale = 0, 0, 0
        self.best: float = -1.0
        self.best_state: dict[str, Tensor] = {}
        self.curve: list[float] = []

    def run(self, score: "Score", progress: Progress | None = None, logs: Path | None = None) -> None:
        """Train, leaving the classifier as it was after its best epoch by `score`, which is the larger
        the better.  Goes on from the checkpoint where there is one."""
        tell = progress or (lambda step, steps, note: None)
        writer = tensorboard(logs)
        self._resume()
        while self.epoch < self.options.epochs and self.stale < self.options.patience:
            self.classifier.train()
            for batch in self._batches():
                loss = self._train_on(batch)
                self.step += 1
                self._follow()
                tell(self.step, self.steps, f"epoch {self.epoch + 1} loss {loss:.3f}")
                if writer is not None:
                    writer.add_scalar("loss", loss, self.step)
                    writer.add_scalar("learning_rate", self.schedule.get_last_lr()[0], self.step)
            self.epoch += 1
            self._end_epoch(score, writer)
        if writer is not None:
            writer.close()
        self.classifier.load_state_dict(self.best_state)
        self.classifier.eval()

    def _end_epoch(self, score: "Score", writer: Any) -> None:
        self._swap()
        self.classifier.eval()
        reached = score(self.classifier)
        self.curve.append(reached)
        log.info("epoch %d: %.4f on the rows held out", self.epoch, reached)
        if writer is not None:
            writer.add_scalar("held_out", reached, self.step)
        if reached > self.best:
            self.best, self.stale = reached, 0
            state = self.classifier.state_dict()
            self.best_state = {key: value.detach().cpu().clone() for key, value in state.items()}
        else:
            self.stale += 1
        self._swap()
        self._save()

    def _train_on(self, rows: Sequence[int]) -> float:
        batch = self.batch(rows)
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.schedule.step()
        encoder: Any = self.classifier.encoder
        if hasattr(getattr(encoder, "base_model", None), "update_and_allocate"):  # AdaLoRA
            encoder.base_model.update_and_allocate(self.step)
        return float(loss.detach())

    def _loss(self, batch: TrainingBatch) -> Tensor:
        logits, targets = self._forward(batch)
        losses = [self._task_loss(task, logits[task], batch) for task in self.labels]
        if len(batch.target_text):
            among = torch.ones_like(batch.target_allowed)
            losses.append(allowed_loss(targets, batch.target_allowed, among, 0.05).mean())
        if self.options.r_drop:
            again, _ = self._forward(batch)
            losses += [self.options.r_drop * symmetric(logits[t], again[t]) for t in self.labels]
        return torch.stack(losses).sum()

    def _task_loss(self, task: str, logits: Tensor, batch: TrainingBatch) -> Tensor:
        """Hard labels and the teacher's, each as a mean over the rows that have one.

        Where the teacher said nothing the hard label counts in full.
        """
        known, share, loss = batch.known[task], self.options.teacher_share, logits.new_zeros(())
        soft = batch.soft.get(task, logits.new_full(logits.shape, float("nan")))
        taught = soft[:, 0].isfinite()
        if known.any():
            allowed, among = batch.allowed[task][known], batch.among[task][known]
            each = allowed_loss(logits[known], allowed, among, self.options.label_smoothing)
            if task in self.weights:
                each = each * (allowed * self.weights[task]).sum(-1) / allowed.sum(-1)
            loss = loss + (each * torch.where(taught[known], 1 - share, 1.0)).mean()
        if taught.any():
            temperature = self.options.teacher_temperature
            loss = loss + share * distil_loss(logits[taught], soft[taught], temperature).mean()
        return loss

    def _forward(self, batch: TrainingBatch) -> tuple[dict[str, Tensor], Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            hidden: Hidden = self.classifier.encode(batch.inputs)
            logits = {task: answer for task, (answer, _) in self.classifier.apply_heads(hidden).items()}
            targets = torch.empty(0)
            if len(batch.target_text):
                targets, _ = self.classifier.target(hidden, batch.target_text, batch.target_spans)
        return logits, targets

    def batch(self, chosen: Sequence[int]) -> TrainingBatch:
        """Tokenise the rows at the positions `chosen`, edited where augmentation is on."""
        rows = [self.rows[i] for i in chosen]
        edit = self.options.augmentation
        texts = [augment(row.text, self.dice, edit) if edit and not row.targets else row.text for row in rows]
        encodings = self.tokenizer.encode_batch(texts)
        inputs = Inputs.of(encodings, self.pad_id).to(self.device)
        allowed, among, known, soft = {}, {}, {}, {}
        for task, names in self.labels.items():
            given = [row.labels.get(task) for row in rows]
            allowed[task] = self._mask(task, [label.names if label else () for label in given])
            among[task] = self._mask(task, [(label.among or names) if label else names for label in given])
            known[task] = allowed[task].any(-1)
            if task in self.soft:
                probabilities = self.soft[task][list(chosen)]
                soft[task] = torch.from_numpy(probabilities).float().to(self.device)
        text, spans, wanted = self._targets(rows, encodings, inputs.ids.shape[1])
        return TrainingBatch(inputs, allowed, among, known, soft, text, spans, wanted)

    def _mask(self, task: str, names: Sequence[Sequence[str]]) -> Tensor:
        mask = torch.zeros(len(names), len(self.labels[task]), dtype=torch.bool)
        for row, allowed in enumerate(names):
            for name in allowed:
                mask[row, self.place[task][name]] = True
        return mask.to(self.device)

    def _targets(
        self, rows: Sequence[Row], encodings: Sequence[Encoding], tokens: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        texts, spans, labels = [], [], []
        for at, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
            for target in row.targets:
                inside = span_mask(encoding, target.start, target.end)
                if any(inside):
                    texts.append(at)
                    spans.append(inside + [False] * (tokens - len(inside)))
                    labels.append(target.label)
        found = torch.tensor(spans, dtype=torch.bool).view(len(spans), tokens)
        wanted = _sentiments(labels)
        return torch.tensor(texts).to(self.device), found.to(self.device), wanted.to(self.device)

    def _batches(self) -> Iterator[list[int]]:
        """Random batches of like lengths: shuffled pools, each sorted by length, then cut."""
        dice = random.Random(f"{self.options.seed}/{self.epoch}")
        size, order = self.options.batch_size, list(range(len(self.rows)))
        dice.shuffle(order)
        batches = []
        for at in range(0, len(order), size * 50):
            pool = sorted(order[at : at + size * 50], key=self.lengths.__getitem__)
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        dice.shuffle(batches)
        yield from batches

    def _class_weights(self) -> dict[str, Tensor]:
        """Inverse root of the class frequency, with mean one over the rows."""
        weights = {}
        for task, names in self.labels.items():
            singles = [label.only for row in self.rows if (label := row.labels.get(task)) and label.only]
            counts = np.array([max(1, singles.count(name)) for name in names], float)
            raw = 1 / np.sqrt(counts)
            weights[task] = torch.tensor(raw / (raw * counts).sum() * counts.sum()).float().to(self.device)
        return weights

    def _optimizer(self) -> tuple[torch.optim.Optimizer, Any]:
        decay = [p for p in self.trained if p.ndim > 1]
        plain = [p for p in self.trained if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": self.options.weight_decay},
             {"params": plain, "weight_decay": 0.0}],
            lr=self.options.learning_rate,
            fused=True,
        )  # fmt: skip
        steps, warm = self.steps, max(1, int(self.steps * self.options.warmup))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: min((s + 1) / warm, max(0.0, (steps - s) / max(1, steps - warm)))
        )
        return optimizer, schedule

    @torch.no_grad()
    def _follow(self) -> None:
        """Keep a running mean of the weights, over ever more steps (Polyak and Juditsky 1992)."""
        keep = min(self.options.averaging, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, self.trained, 1 - keep)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the weights that are being trained and their mean, which is what gets scored."""
        for weight, mean in zip(self.trained, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "key": self._key(), "epoch": self.epoch, "step": self.step, "stale": self.stale,
            "best": self.best, "best_state": self.best_state, "curve": self.curve,
            "classifier": self.classifier.state_dict(), "average": self.average,
            "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
            "torch": torch.get_rng_state(), "dice": self.dice.getstate(),
        }  # fmt: skip
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def _resume(self) -> None:
        """Pick up after the last whole epoch; a checkpoint of another run is refused."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["key"] != self._key():
            raise WeightsError(
                f"{self.checkpoint} is of a run with other options or rows: delete it to start anew, "
                "or give the options of that run to go on"
            )
        self.classifier.load_state_dict(state["classifier"])
        self.average = [value.to(self.device) for value in state["average"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.step, self.stale = state["epoch"], state["step"], state["stale"]
        self.best, self.best_state, self.curve = state["best"], state["best_state"], state["curve"]
        torch.set_rng_state(state["torch"].cpu())
        version, internal, gauss = state["dice"]
        self.dice.setstate((version, tuple(internal), gauss))
        log.info("going on after epoch %d of %s", self.epoch, self.checkpoint)

    def _key(self) -> str:
        return f"{self.options} {len(self.rows)} rows {sum(self.lengths)} tokens"


class Score(Protocol):
    """How good a classifier is, the larger the better."""

    def __call__(self, classifier: AttentionClassifier) -> float: ...


def symmetric(one: Tensor, other: Tensor) -> Tensor:
    """R-Drop (Liang et al. 2021): half the divergence both ways between two passes, dropout apart."""
    p, q = torch.log_softmax(one, -1), torch.log_softmax(other, -1)
    both = (p.exp() * (p - q)).sum(-1) + (q.exp() * (q - p)).sum(-1)
    return 0.5 * both.mean()


def _sentiments(labels: Sequence[Label]) -> Tensor:
    rows = [[name in label.names for name in SENTIMENTS] for label in labels]
    return torch.tensor(rows, dtype=torch.bool).view(len(rows), len(SENTIMENTS))


def tensorboard(logs: Path | None) -> Any:
    """A TensorBoard writer, or None where there is no place for logs or the package is missing."""
    if logs is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard logs: the package tensorboard is not installed")
        return None
    return SummaryWriter(str(logs))
