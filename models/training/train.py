"""From an encoder and labelled rows to a model folder that `weights.load` reads.

Data flows one way: rows are split and checked for leaks, a teacher labels them where there is one,
the loop of `models.fit` trains, and what came out is stored as int8, held against full precision,
calibrated on the rows held out, and described.
"""

import hashlib
import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from models.backends.device import compute_device, compute_dtype
from models.data.dataset import Row, Source, fingerprint, near_duplicates
from models.data.drills import WRITTEN, drills, lessons
from models.errors import DataError, WeightsError
from models.inference.normalize import normal_form
from models.network import artifact
from models.network.calibration import softmax
from models.network.classifier import AttentionClassifier
from models.settings import SHIPPED_WEIGHTS
from models.training.adapters import Method, adapt, merge
from models.training.fit import Fit, FitOptions, Progress
from models.training.release import MAX_LOSS, refuse_loss, store
from models.training.scoring import held_out_score, network_logits
from models.training.trimming import drop_layers, trim_vocabulary
from stream.domain.documents import SENTIMENTS, TASKS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What to train.  The defaults fine-tune the shipped model on the house's own rows."""

    out: Path
    base: str = str(SHIPPED_WEIGHTS)
    name: str = "house"
    languages: tuple[str, ...] = ("en",)
    join: Path | None = None
    teachers: tuple[Path, ...] = ()
    vocabulary: int = 0
    layers: int = 0
    frozen: int = 0
    pooling: str = "additive"
    method: Method = "full"
    rank: int = 8
    max_tokens: int = 128
    holdout: float = 0.05
    seeds: int = 1
    max_loss: float = MAX_LOSS
    fit: FitOptions = field(default_factory=FitOptions)


@dataclass(frozen=True)
class Run:
    """What one seed came to: its score on the rows held out, after its best epoch and after each."""

    name: str
    score: float
    curve: tuple[float, ...]
    state: Mapping[str, torch.Tensor] = field(repr=False)


@dataclass(frozen=True)
class TrainingResult:
    """What came out: the model, its figures on the rows held out, leaks found, and every run."""

    info: artifact.ModelInfo
    part: artifact.PartInfo
    leaks: int
    runs: Sequence[Run]
    best: Run
    seconds: float


@dataclass
class Start:
    """A network to train and what goes with it."""

    classifier: AttentionClassifier
    tokenizer: Tokenizer
    pad_id: int
    labels: dict[str, tuple[str, ...]]
    others: tuple[artifact.PartInfo, ...] = ()
    others_in: Path | None = None
    kept: str = ""
    target_sentiment: bool = False


def train(
    options: TrainingOptions,
    rows: Sequence[Row],
    valid: Sequence[Row] = (),
    sources: Sequence[Source] = (),
    progress: Progress | None = None,
) -> TrainingResult:
    """Train on `rows` and write a model to options.out; `sources` are named in its card.

    The best epoch is chosen on `valid`, or on a part of `rows` held out.  Raises DataError and
    WeightsError, the latter also where int8, bfloat16 or fewer layers cost more than options.max_loss points.
    """
    started = time.monotonic()
    labelled = [row for row in rows if row.labels or row.targets]
    if not valid:
        labelled, valid = split(labelled, options.holdout, options.fit.seed)
    leaks = near_duplicates(labelled, valid)
    report_leaks(leaks)
    seen = labelled
    if options.teachers:  # who alone can say something about rows without labels
        seen = labelled + [row for row in rows if not row.labels and not row.targets]
    options.out.mkdir(parents=True, exist_ok=True)
    start, runs = run_seeds(options, [*labelled, *valid], seen, valid, progress)
    best = max(runs, key=lambda run: run.score)
    start.classifier.load_state_dict(best.state)
    if options.layers and options.teachers:
        hold_against_teachers(options, start, valid, progress)
    part = store(
        options.out, options.languages, options.max_tokens,
        start.classifier, start.tokenizer, start.pad_id, start.labels, valid, options.max_loss,
    )  # fmt: skip
    part = msgspec.structs.replace(
        part,
        data={source.file.name: fingerprint(source.file) for source in sources},
        target_sentiment=start.target_sentiment or teaches_target_sentiment(seen),
    )
    info = artifact.save_info(
        options.out, artifact.ModelInfo(options.name, "", start.labels, (part, *with_others(options, start)))
    )
    result = TrainingResult(info, part, len(leaks), runs, best, time.monotonic() - started)
    card = model_card(options, result, seen, sources, start.kept)
    (options.out / "README.md").write_text(card, encoding="utf-8")
    for path in (*options.out.glob("checkpoint-*.pt"), *options.out.glob("teacher-*.npz")):
        path.unlink(missing_ok=True)
    return result


def run_seeds(
    options: TrainingOptions,
    known: Sequence[Row],
    seen: Sequence[Row],
    valid: Sequence[Row],
    progress: Progress | None,
) -> tuple[Start, list[Run]]:
    """Train on `seen` once a seed; of several, the mean of their weights is one more candidate.

    Runs from one trained model often lie in one basin, where the mean does better than each (Wortsman et
    al. 2022, "Model soups"); runs with new heads do not, and their mean then loses.  `known` are all rows
    with labels: they say which labels there are.
    """
    soft: dict[str, np.ndarray] | None = None
    runs: list[Run] = []
    for seed in range(options.fit.seed, options.fit.seed + options.seeds):
        seed_everything(seed)
        start = begin(options, known)
        if soft is None:
            soft = teach(options, start.labels, seen, progress)
        fit = Fit(
            replace(options.fit, seed=seed), start.classifier, start.tokenizer, start.pad_id, start.labels,
            seen, soft, options.out / f"checkpoint-{seed}.pt",
        )  # fmt: skip
        score = partial(held_out_score, fit, valid=valid)
        fit.run(score, progress, options.out / "logs" / f"seed-{seed}")
        start.classifier = fit.classifier.cpu()
        start.classifier.encoder = merge(start.classifier.encoder, options.method)
        state = {key: value.clone() for key, value in start.classifier.state_dict().items()}
        runs.append(Run(f"seed {seed}", fit.best, tuple(fit.curve), state))
    if len(runs) > 1:
        mean = {key: torch.stack([run.state[key].float() for run in runs]).mean(0) for key in runs[0].state}
        start.classifier.load_state_dict(mean)
        runs.append(Run("their mean", score(start.classifier.to(fit.device)), (), mean))
        start.classifier.cpu()
    return start, runs


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def lesson_rows(language: str) -> list[Row]:
    """The written lessons of a language, as rows; none where there are none."""
    return _written(WRITTEN[0], lessons(language))


def drill_rows(counts: Mapping[str, int], seed: int) -> list[Row]:
    """The written lessons and so many drill sentences of each language, as rows."""
    found: list[Row] = []
    for language, count in counts.items():
        found += lesson_rows(language) + _written(WRITTEN[1], drills(language, count, seed))
    return found


def _written(source: str, pairs: Sequence[tuple[str, dict[str, str]]]) -> list[Row]:
    return [Row(text, Row.of(text, **labels).labels, source=source) for text, labels in pairs]


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(train, held out): about `share` of the texts.

    The same text never lands on both sides, and a held-out row that nearly repeats a training row
    goes back to training.
    """
    dice = random.Random(seed)
    held_texts = {text for text in sorted({row.text for row in rows}) if dice.random() < share}
    kept: list[Row] = []
    held: list[Row] = []
    for row in rows:
        (held if row.text in held_texts else kept).append(row)
    near = {id(row) for row, _ in near_duplicates(kept, held)}
    kept += [row for row in held if id(row) in near]
    held = [row for row in held if id(row) not in near]
    if not held:
        raise DataError("too few rows to hold any out for validation: give a file with --valid")
    return kept, held


def report_leaks(leaks: Sequence[tuple[Row, Row]]) -> None:
    """Say how many validation rows nearly repeat training rows, and where the first ones are."""
    for row, twin in leaks[:3]:
        log.warning("validation row %s nearly repeats training row %s", row.where, twin.where)
    if leaks:
        log.warning(
            "%d validation rows nearly repeat training rows: scores on them flatter; take them out",
            len(leaks),
        )


def begin(options: TrainingOptions, rows: Sequence[Row]) -> Start:
    """The network to train: a part of a trained model with its heads, or a bare encoder with new ones."""
    base = Path(options.base)
    start = _from_model(options, base, rows) if (base / "model.json").is_file() else _bare(options, rows)
    encoder: Any = start.classifier.encoder
    kept = [f"{encoder.config.num_hidden_layers} layers"]
    if options.layers:
        kept = [f"layers {', '.join(map(str, drop_layers(encoder, options.layers)))}"]
    if options.vocabulary:
        texts = [row.text for row in rows]
        start.tokenizer, ids = trim_vocabulary(encoder, start.tokenizer, texts, options.vocabulary)
        start.pad_id = encoder.config.pad_token_id
        kept.append(f"{len(ids)} word vectors")
    start.kept = ", ".join(kept)
    if options.frozen:
        encoder.embeddings.requires_grad_(False)
        for layer in list(encoder.encoder.layer)[: options.frozen]:
            layer.requires_grad_(False)
    start.tokenizer.no_padding()
    start.tokenizer.enable_truncation(options.max_tokens)
    steps = len(rows) // options.fit.batch_size * options.fit.epochs
    start.classifier.encoder = adapt(encoder, options.method, options.rank, steps)
    return start


def _from_model(options: TrainingOptions, base: Path, rows: Sequence[Row]) -> Start:
    info = artifact.read_info(base)
    found = [part for part in info.parts if options.languages[0] in part.languages]
    if not found:
        raise WeightsError(
            f"{base} reads {', '.join(info.languages)}, not {options.languages[0]}: choose another base "
            "or another --language"
        )
    part = artifact.load_part(base, found[0], info.labels)
    labels = {task: label_names(rows, task, info.labels[task]) for task in TASKS}
    others = tuple(other for other in info.parts if other is not found[0])
    classifier = part.classifier
    if labels != info.labels:
        log.warning(
            "topics that %s does not have: topics are learned anew and other languages left out", base
        )
        encoder: Any = classifier.encoder
        fresh = AttentionClassifier(encoder, int(encoder.config.hidden_size), labels, part.info.pooling)
        fresh.heads["sentiment"], fresh.target = classifier.heads["sentiment"], classifier.target
        classifier, others = fresh, ()
    return Start(
        classifier, part.tokenizer, part.pad_id, labels, others, base,
        target_sentiment=part.info.target_sentiment,
    )  # fmt: skip


def _bare(options: TrainingOptions, rows: Sequence[Row]) -> Start:
    try:
        tokenizer = AutoTokenizer.from_pretrained(options.base, trust_remote_code=False)
        encoder = AutoModel.from_pretrained(options.base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(f"base encoder {options.base!r} cannot be loaded: {error}") from error
    encoder = artifact.drop_pooler(encoder.float())
    fast = tokenizer.backend_tokenizer
    fast.normalizer = normal_form(fast)
    known = [artifact.read_info(folder).labels for folder in (*options.teachers, options.join) if folder]
    labels = {task: label_names(rows, task, known[0][task] if known else ()) for task in TASKS}
    classifier = AttentionClassifier(encoder, int(encoder.config.hidden_size), labels, options.pooling)
    start = Start(classifier, fast, tokenizer.pad_token_id or 0, labels)
    if options.join:
        info = artifact.read_info(options.join)
        start.others = tuple(p for p in info.parts if not set(p.languages) & set(options.languages))
        start.others_in = options.join
    return start


def label_names(rows: Sequence[Row], task: str, known: Sequence[str]) -> tuple[str, ...]:
    """The labels of a task: the three sentiments; the topics known already, and new ones by alphabet."""
    if task == "sentiment":
        return SENTIMENTS
    named = {name for row in rows if task in row.labels for name in row.labels[task].names}
    topics = (*known, *sorted(named - set(known)))
    if not topics:
        raise DataError(f"no row has a {task} label: give files for both topic and sentiment")
    return topics


def teach(
    options: TrainingOptions,
    labels: Mapping[str, Sequence[str]],
    rows: Sequence[Row],
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Mean probabilities of the teachers, [rows, labels] a task; empty without teachers.

    A row whose label is known for every task has nothing to ask a teacher: its probabilities are NaN.
    """
    if not options.teachers:
        return {}
    asked = [i for i, row in enumerate(rows) if set(labels) - set(row.labels)]
    found = {task: np.full((len(rows), len(names)), np.nan, np.float32) for task, names in labels.items()}
    texts = [rows[i].text for i in asked]
    answers = [_cached_answers(options, folder, labels, texts, progress) for folder in options.teachers]
    for task, whole in found.items():
        whole[asked] = np.mean([answer[task] for answer in answers], axis=0)
    return found


def hold_against_teachers(
    options: TrainingOptions, start: Start, valid: Sequence[Row], progress: Progress | None
) -> None:
    """Refuse a network with fewer layers that is worse than the whole ones by more than options.max_loss."""
    texts = [row.text for row in valid]
    whole = [_cached_answers(options, folder, start.labels, texts, progress) for folder in options.teachers]
    full = {task: np.mean([answers[task] for answers in whole], axis=0) for task in start.labels}
    device, half = compute(options)
    given = network_logits(start.classifier.to(device), start.tokenizer, start.pad_id, texts, device, half)
    start.classifier.cpu()
    refuse_loss(f"keeping {options.layers} layers", start.labels, valid, full, given, options.max_loss)


def _cached_answers(
    options: TrainingOptions,
    folder: Path,
    labels: Mapping[str, Sequence[str]],
    texts: Sequence[str],
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    info = artifact.read_info(folder)
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    cache = options.out / f"teacher-{info.version}-{digest[:12]}.npz"
    if cache.is_file():
        with np.load(cache) as stored:
            return {task: stored[task] for task in labels}
    part_info = next((part for part in info.parts if set(options.languages) & set(part.languages)), None)
    if part_info is None:
        raise WeightsError(f"teacher {folder} does not read {', '.join(options.languages)}")
    for task, names in labels.items():
        if tuple(names) != info.labels[task]:
            raise WeightsError(f"teacher {folder} has other {task} labels than the rows and the base")
    part = artifact.load_part(folder, part_info, info.labels)
    part.tokenizer.no_padding()
    part.tokenizer.enable_truncation(part_info.max_tokens)
    device, half = compute(options)
    logits = network_logits(
        part.classifier.to(device), part.tokenizer, part.pad_id, texts,
        device, half, progress, f"teacher {info.version}",
    )  # fmt: skip
    temperature = part_info.temperature
    found = {t: softmax(logits[t] / temperature.get(t, 1.0)).astype(np.float32) for t in labels}
    np.savez_compressed(cache, **found)  # type: ignore[arg-type]
    return found


def compute(options: TrainingOptions) -> tuple[torch.device, bool]:
    """The device, and whether it computes in bfloat16."""
    device = compute_device(options.fit.device)
    return device, compute_dtype(options.fit.dtype, device) is torch.bfloat16


def teaches_target_sentiment(rows: Sequence[Row]) -> bool:
    """Whether the rows name targets that are clearly positive and others that are clearly negative.

    Targets that are "negative" or "not negative" teach a head that never answers positive.
    """
    sentiments = {target.label.only for row in rows for target in row.targets}
    return {"positive", "negative"} <= sentiments


def with_others(options: TrainingOptions, start: Start) -> tuple[artifact.PartInfo, ...]:
    """Copy the parts for other languages of the model we started from."""
    if start.others_in is None:
        return ()
    for part in start.others:
        target = options.out / part.folder
        if target.resolve() != (start.others_in / part.folder).resolve():
            shutil.copytree(start.others_in / part.folder, target, dirs_exist_ok=True)
    return start.others


def model_card(
    options: TrainingOptions,
    result: TrainingResult,
    rows: Sequence[Row],
    sources: Sequence[Source],
    kept: str,
) -> str:
    """What was trained, on what, how, and how well it does on the rows held out, as Markdown."""
    how = "every weight" if options.method == "full" else f"{options.method} of rank {options.rank}"
    fit = options.fit
    counts = Counter(row.source for row in rows)
    lines = [
        f"# {result.info.version}",
        "",
        f"Languages: {', '.join(result.info.languages)}.  This run trained {', '.join(options.languages)}: "
        f"base `{Path(options.base).name}` ({kept}), {how}, {options.pooling} pooling, up to {fit.epochs} "
        f"epochs, learning rate {fit.learning_rate:g}, batch size {fit.batch_size}, "
        f"{result.seconds:.0f} s.",
        "",
        "| source | rows | licence as stated |",
        "|---|---|---|",
    ]
    licences = {source.title_or_file: source.licence or "not stated" for source in sources}
    for name, count in counts.most_common():
        lines.append(f"| {name or 'rows'} | {count} | {licences.get(name, 'written by the project')} |")
    if options.teachers:
        lines += ["", f"Teachers: {', '.join(artifact.read_info(t).version for t in options.teachers)}."]
    lines += [
        "",
        "Best epoch, on rows that were not trained on (int8, as it is stored); ECE after temperature scaling"
        " on the same rows:",
        "",
        "| task | rows | accuracy | macro-F1 | ECE |",
        "|---|---|---|---|---|",
    ]
    for task, found in result.part.scores.items():
        n = found.get("n", 0) + found.get("n_of_several", 0)
        accuracy = found.get("accuracy", found.get("accuracy_of_several", float("nan")))
        macro = f"{found['macro_f1']:.3f}" if "macro_f1" in found else "-"
        lines.append(f"| {task} | {n:.0f} | {accuracy:.3f} | {macro} | {found['ece']:.3f} |")
    lines += [
        "",
        "Score on the rows held out, after each epoch:",
        "",
        "| run | best | epochs |",
        "|---|---|---|",
    ]
    for run in result.runs:
        curve = ", ".join(f"{value:.3f}" for value in run.curve)
        kept_mark = " (kept)" if run is result.best else ""
        lines.append(f"| {run.name}{kept_mark} | {run.score:.3f} | {curve} |")
    lines += ["", f"Validation rows that nearly repeat training rows: {result.leaks}."]
    return "\n".join(lines) + "\n"
