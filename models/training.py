"""Fine-tuning: from any Hugging Face encoder and labelled rows to a folder `weights.load` reads."""

import logging
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from models import weights
from models.classifier import Classifier, pad
from models.dataset import Row
from models.device import compute_device, compute_dtype
from models.errors import DataError, WeightsError
from models.evaluation import TaskReport, score
from stream.nouns import SENTIMENTS, TASKS

log = logging.getLogger(__name__)

NO_LABEL = -100
LINK = r"https?://\S+"


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.  The defaults suit a small encoder and tens of thousands of headlines."""

    base: str
    out: Path
    name: str = "monitor"
    languages: tuple[str, ...] = ("en",)
    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: float = 0.06
    label_smoothing: float = 0.1
    averaging: float = 0.999
    max_tokens: int = 128
    lora_rank: int = 0
    holdout: float = 0.04
    patience: int = 2
    seed: int = 1
    device: str = "auto"
    dtype: str = "auto"


class Progress(Protocol):
    """Who is told how far training is; called once a step."""

    def __call__(self, step: int, steps: int, note: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Example:
    """A tokenised row: ids [tokens], words [tokens] (1 for the text's own), labels [tasks]."""

    ids: Sequence[int]
    words: Sequence[int]
    labels: Sequence[int]


@dataclass(frozen=True)
class TrainingResult:
    info: weights.ModelInfo
    held_out: Sequence[TaskReport]
    seconds: float


def train(
    options: TrainingOptions,
    rows: Sequence[Row],
    valid: Sequence[Row] = (),
    progress: Progress | None = None,
) -> TrainingResult:
    """Train one encoder and a head for each task that the rows label, and write it to options.out.

    The best epoch by mean macro-F1 is kept, measured on `valid`, or on a part of `rows` held out
    (texts that occur twice stay on one side).  Stops early after `patience` epochs without gain.
    """
    started = time.monotonic()
    seed_everything(options.seed)
    labels = label_names(rows)
    if valid and not any(row.labels.get(task) in names for row in valid for task, names in labels.items()):
        raise DataError("no validation row has a label that the training rows have")
    options.out.mkdir(parents=True, exist_ok=True)
    if not valid:
        rows, valid = split(rows, options.holdout, options.seed)
    classifier, tokenizer, pad_id = _start(options, labels)
    fit = _Fit(options, classifier, labels, pad_id, progress)
    best = fit.run(_examples(rows, tokenizer, labels), _examples(valid, tokenizer, labels))
    if options.lora_rank:
        classifier.encoder = classifier.encoder.merge_and_unload()  # type: ignore[operator]
    info = weights.save(
        options.out,
        classifier,
        tokenizer,
        name=options.name,
        labels=labels,
        languages=options.languages,
        max_tokens=options.max_tokens,
    )
    result = TrainingResult(info, best, time.monotonic() - started)
    (options.out / "README.md").write_text(model_card(options, result, len(rows)), encoding="utf-8")
    return result


def model_card(options: TrainingOptions, result: TrainingResult, rows: int) -> str:
    """What was trained, how, and how well it does on the rows that were held out, as Markdown."""
    how = f"LoRA of rank {options.lora_rank}" if options.lora_rank else "the whole encoder"
    lines = [
        f"# {result.info.version}",
        "",
        f"Base `{Path(options.base).name}`, {how}, {rows} rows, up to {options.epochs} epochs, "
        f"learning rate {options.learning_rate:g}, batch size {options.batch_size}, seed {options.seed}, "
        f"{result.seconds:.0f} s.  Languages: {', '.join(result.info.languages)}.",
        "",
        "Scores of the best epoch on rows that were not trained on:",
        "",
        "| task | rows | accuracy | macro-F1 |",
        "|---|---|---|---|",
    ]
    for report in result.held_out:
        lines.append(f"| {report.task} | {report.n} | {report.accuracy:.3f} | {report.macro_f1:.3f} |")
    return "\n".join(lines) + "\n"


def label_names(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """The label names of each task: the three sentiments, and the topics in alphabetical order."""
    topics = tuple(sorted({row.labels["topic"] for row in rows if "topic" in row.labels}))
    names = {"topic": topics, "sentiment": SENTIMENTS}
    missing = [task for task in TASKS if not any(task in row.labels for row in rows)]
    if missing:
        raise DataError(f"no row has a {missing[0]} label: give files for both topic and sentiment")
    return names


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out): about `share` of the texts; the same text never lands on both sides."""
    chosen = random.Random(seed)
    held_texts = {text for text in sorted({row.text for row in rows}) if chosen.random() < share}
    parts: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        parts[row.text in held_texts].append(row)
    if not parts[1]:
        raise DataError("too few rows to hold any out for validation: give a file with --valid")
    return parts


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _start(
    options: TrainingOptions, labels: Mapping[str, tuple[str, ...]]
) -> tuple[Classifier, Tokenizer, int]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(options.base, trust_remote_code=False)
        encoder = AutoModel.from_pretrained(options.base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(f"base encoder {options.base!r} cannot be loaded: {error}") from error
    encoder = weights.drop_pooler(encoder.float())
    width = int(encoder.config.hidden_size)
    if options.lora_rank:
        encoder = _with_lora(encoder, options.lora_rank)
    fast = tokenizer.backend_tokenizer
    fast.no_padding()
    fast.enable_truncation(options.max_tokens)
    fast.normalizer = _without_links(fast.normalizer)
    return Classifier(encoder, width, labels), fast, tokenizer.pad_token_id or 0


def _without_links(normalizer: normalizers.Normalizer | None) -> normalizers.Normalizer:
    """A link is one word to the tokenizer: its letters say nothing and cost a dozen tokens."""
    steps = [normalizers.Replace(Regex(LINK), "http"), *([normalizer] if normalizer else [])]
    return normalizers.Sequence(steps)


def _with_lora(encoder: Any, rank: int) -> Any:
    """Low-rank adapters on every linear layer (Hu et al. 2021); the heads train in full."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise WeightsError("LoRA needs the package peft: pip install '.[train]'") from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
    return get_peft_model(encoder, config)


def _examples(
    rows: Sequence[Row], tokenizer: Tokenizer, labels: Mapping[str, tuple[str, ...]]
) -> list[Example]:
    place = {task: {name: i for i, name in enumerate(names)} for task, names in labels.items()}
    encodings = tokenizer.encode_batch([row.text for row in rows])
    return [
        Example(
            encoding.ids,
            [1 - special for special in encoding.special_tokens_mask],
            [place[task].get(row.labels.get(task, ""), NO_LABEL) for task in labels],
        )
        for row, encoding in zip(rows, encodings, strict=True)
    ]


class _Fit:
    """The training loop: its optimiser, schedule and best state."""

    def __init__(
        self,
        options: TrainingOptions,
        classifier: Classifier,
        labels: Mapping[str, tuple[str, ...]],
        pad_id: int,
        progress: Progress | None,
    ) -> None:
        self.options, self.labels, self.pad_id = options, labels, pad_id
        self.device = compute_device(options.device)
        self.dtype = compute_dtype(options.dtype, self.device)
        self.classifier = classifier.to(self.device)
        self.progress = progress or (lambda step, steps, note: None)
        self.trained: list[Tensor] = [p for p in self.classifier.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.trained]
        self.loss = nn.CrossEntropyLoss(
            ignore_index=NO_LABEL, reduction="sum", label_smoothing=options.label_smoothing
        )

    def run(self, examples: Sequence[Example], valid: Sequence[Example]) -> list[TaskReport]:
        """Train, and leave the classifier in its best epoch's state; that epoch's reports."""
        per_epoch = math.ceil(len(examples) / self.options.batch_size)
        steps = per_epoch * self.options.epochs
        optimizer, schedule = self._optimizer(steps)
        best: list[TaskReport] = []
        best_mean, best_state, stale, step = -1.0, {}, 0, 0
        for epoch in range(1, self.options.epochs + 1):
            self.classifier.train()
            for batch in self._shuffled(examples):
                loss = self._step(batch, optimizer, schedule)
                step += 1
                self._average(step)
                self.progress(step, steps, f"epoch {epoch} loss {loss:.3f}")
            self._swap()
            reports = self.evaluate(valid)
            mean = float(np.mean([report.macro_f1 for report in reports]))
            log.info("epoch %d: %s", epoch, _summary(reports))
            if mean > best_mean:
                best, best_mean, stale = reports, mean, 0
                state = self.classifier.state_dict()
                best_state = {key: value.detach().cpu().clone() for key, value in state.items()}
            elif (stale := stale + 1) >= self.options.patience:
                log.info("no gain in %d epochs: stopping early", stale)
                break
            self._swap()
        self.classifier.load_state_dict(best_state)
        return best

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Keep a running mean of the weights, over ever more steps (Polyak and Juditsky 1992)."""
        keep = min(self.options.averaging, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.trained, 1 - keep)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the weights that are being trained and their mean, which is what gets scored."""
        for weight, mean in zip(self.trained, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    def _optimizer(self, steps: int) -> tuple[torch.optim.Optimizer, Any]:
        decay = [p for p in self.trained if p.ndim > 1]
        plain = [p for p in self.trained if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": self.options.weight_decay},
             {"params": plain, "weight_decay": 0.0}],
            lr=self.options.learning_rate,
            fused=True,
        )  # fmt: skip
        warm = max(1, int(steps * self.options.warmup))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: min((s + 1) / warm, max(0.0, (steps - s) / max(1, steps - warm)))
        )
        return optimizer, schedule

    def _shuffled(self, examples: Sequence[Example]) -> Iterator[list[Example]]:
        """Random batches of like lengths: shuffled pools, each sorted by length, then cut."""
        size, order = self.options.batch_size, random.sample(range(len(examples)), len(examples))
        batches = []
        for at in range(0, len(order), size * 50):
            pool = sorted(order[at : at + size * 50], key=lambda i: len(examples[i].ids))
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        random.shuffle(batches)
        for batch in batches:
            yield [examples[i] for i in batch]

    def _step(self, batch: Sequence[Example], optimizer: torch.optim.Optimizer, schedule: Any) -> float:
        logits = self._forward(batch)
        target = torch.tensor([example.labels for example in batch], device=self.device)
        losses = []
        for i, task in enumerate(self.labels):
            labelled = int((target[:, i] != NO_LABEL).sum())
            if labelled:
                losses.append(self.loss(logits[task], target[:, i]) / labelled)
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.classifier.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        return float(loss.detach())

    def _forward(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        ids = pad([example.ids for example in batch], self.pad_id).to(self.device)
        attend = pad([[1] * len(example.ids) for example in batch], 0).to(self.device)
        words = pad([example.words for example in batch], 0).to(self.device).bool()
        half = self.dtype is torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            return {task: logits for task, (logits, _) in self.classifier(ids, attend, words).items()}

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example]) -> list[TaskReport]:
        """Score each task on the examples that carry its label."""
        self.classifier.eval()
        order = sorted(examples, key=lambda example: len(example.ids))
        given: dict[str, list[np.ndarray]] = {task: [] for task in self.labels}
        for at in range(0, len(order), 64):
            for task, logits in self._forward(order[at : at + 64]).items():
                given[task].append(logits.argmax(-1).cpu().numpy())
        truth = np.array([example.labels for example in order])
        reports = []
        for i, (task, names) in enumerate(self.labels.items()):
            known = truth[:, i] != NO_LABEL
            if known.any():
                reports.append(score(task, truth[known, i], np.concatenate(given[task])[known], names))
        return reports


def _summary(reports: Sequence[TaskReport]) -> str:
    return ", ".join(
        f"{report.task} accuracy {report.accuracy:.3f} macro-F1 {report.macro_f1:.3f}" for report in reports
    )
