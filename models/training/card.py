"""The card of a trained model: what was trained, on what, and how good it is, as Markdown."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.data.dataset import Row, Source
from models.network.info import PartInfo, read_info
from models.training.events import macro_f1
from models.training.options import TrainingOptions

if TYPE_CHECKING:
    from models.training.train import TrainingResult


def model_card(
    options: TrainingOptions,
    result: "TrainingResult",
    rows: Sequence[Row],
    sources: Sequence[Source],
    size: str,
) -> str:
    """The text of README.md in the model folder; `size` says which layers and word vectors are kept."""
    lines = [
        f"# {result.info.version}",
        "",
        _summary(options, result, size),
        "",
        "| source | rows | licence as stated |",
        "|---|---|---|",
        *_source_lines(rows, sources),
    ]
    if options.teachers:
        versions = ", ".join(read_info(folder).version for folder in options.teachers)
        lines += ["", f"Teachers: {versions}."]
    lines += [
        "",
        "Best epoch, on rows that were not trained on (int8, as stored); ECE after temperature scaling on the"
        " same rows:",
        "",
        "| task | rows | accuracy | macro-F1 | ECE |",
        "|---|---|---|---|---|",
        *_score_lines(result.part),
        "",
        "Score on the held-out rows, after each epoch:",
        "",
        "| run | best | epochs |",
        "|---|---|---|",
        *_run_lines(result),
        "",
        f"Validation rows that nearly repeat training rows: {result.leaks}.",
    ]
    if result.part.event_thresholds:
        lines += ["", *event_lines(result.part)]
    if not result.part.target_sentiment:
        lines += ["", "No sentiment towards names: no rows taught it."]
    return "\n".join(lines) + "\n"


def head_card(
    options: TrainingOptions, result: "TrainingResult", rows: Sequence[Row], sources: Sequence[Source]
) -> str:
    """The card of a model whose head for targets was trained alone: that of its base, and what is new."""
    base, part = Path(options.base), result.part
    card = (base / "README.md").read_text(encoding="utf-8") if (base / "README.md").is_file() else ""
    old_title = f"# {read_info(base).version}"
    body = card.removeprefix(old_title).strip()
    head = [
        f"# {result.info.version}",
        "",
        f"{read_info(base).version} with another head for the sentiment towards names in "
        f"{', '.join(part.languages)} texts; its encoder and all other heads are the same.  Trained alone on "
        f"{sum(len(row.targets) for row in rows)} targets of {len(rows)} texts, up to {options.fit.epochs} "
        f"epochs, learning rate {options.fit.learning_rate:g}, {result.seconds:.0f} s.",
        "",
        "| source | rows | licence as stated |",
        "|---|---|---|",
        *_source_lines(rows, sources),
        "",
        "Best epoch, on targets that the head was not trained on (int8, as stored).  Where the encoder was "
        "trained on these texts, the figures are too good.",
        "",
        "| | targets | accuracy | macro-F1 | ECE |",
        "|---|---|---|---|---|",
        *(line for line in _score_lines(part) if line.startswith("| target ")),
        "",
        "| run | best | epochs |",
        "|---|---|---|",
        *_run_lines(result),
    ]
    if not part.target_sentiment:
        head += ["", "No sentiment towards names: no rows taught it."]
    return "\n".join([*head, *(["", "## The model it is from", "", body] if body else [])]) + "\n"


def _summary(options: TrainingOptions, result: "TrainingResult", size: str) -> str:
    weights = "all weights" if options.method == "full" else f"{options.method} of rank {options.rank}"
    fit = options.fit
    return (
        f"Languages: {', '.join(result.info.languages)}.  This run trained {', '.join(options.languages)}: "
        f"base `{Path(options.base).name}` ({size}), {weights}, {options.pooling} pooling, up to "
        f"{fit.epochs} epochs, learning rate {fit.learning_rate:g}, batch size {fit.batch_size}, "
        f"{result.seconds:.0f} s{_speed(result)}."
    )


def _speed(result: "TrainingResult") -> str:
    if result.speed is None:
        return ""
    rate, share = result.speed.rows_per_second, 100 * result.speed.peak_share
    return f" ({rate:.1f} rows/s in {result.speed.dtype}, {share:.0f} % of the matrix peak)"


def _source_lines(rows: Sequence[Row], sources: Sequence[Source]) -> Iterator[str]:
    licences = {source.title_or_file: source.licence or "not stated" for source in sources}
    for name, count in Counter(row.source for row in rows).most_common():
        yield f"| {name or 'rows'} | {count} | {licences.get(name, 'written by the project')} |"


def _score_lines(part: PartInfo) -> Iterator[str]:
    for task, scores in part.scores.items():
        n = scores.get("n", 0) + scores.get("n_of_several", 0)
        accuracy = scores.get("accuracy", scores.get("accuracy_of_several", float("nan")))
        macro = f"{scores['macro_f1']:.3f}" if "macro_f1" in scores else "-"
        yield f"| {task} | {n:.0f} | {accuracy:.3f} | {macro} | {scores['ece']:.3f} |"


def event_lines(part: PartInfo) -> list[str]:
    """The figures of each type of event that a part looks for."""
    scores = part.event_scores
    if not scores:
        return ["Events: no held-out row says which events it reports, so there are no figures."]
    rows = "those of a type are few: read the mean rather than one line"
    return [
        f"Events, on rows that were not trained on ({rows}): macro-F1 {macro_f1(scores):.3f} over "
        f"{len(scores)} types.",
        "",
        "| event | rows | precision | recall | F1 | reported from |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {own['n']:.0f} | {own['precision']:.2f} | {own['recall']:.2f} | {own['f1']:.2f} | "
            f"{part.event_thresholds[name]:.2f} |"
            for name, own in scores.items()
        ),
    ]


def _run_lines(result: "TrainingResult") -> Iterator[str]:
    for run in result.runs:
        curve = ", ".join(f"{value:.3f}" for value in run.curve)
        mark = " (kept)" if run is result.best else ""
        yield f"| {run.name}{mark} | {run.score:.3f} | {curve} |"
