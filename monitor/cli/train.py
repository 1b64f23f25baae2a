"""`monitor train`: fine-tune on labelled rows; writes a model folder or a new version of the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from monitor.cli.options import (
    EXISTING,
    encoding_option,
    examples,
    json_option,
    map_option,
    plain_errors,
    show_progress,
)
from monitor.runtime import log
from monitor.runtime.settings import Settings

if TYPE_CHECKING:
    from models.training import options as training
    from models.training.train import TrainingResult

Options = TypeVar("Options")
# A run takes minutes to hours, and its log is read as a whole.
SECONDS_BETWEEN_LINES = 30.0
# Defaults of --only-heads: an epoch takes seconds, and few held-out rows are no reason to stop early.
HEAD_DEFAULTS = {"epochs": 14, "batch_size": 32, "learning_rate": 1e-3, "averaging": 0.995, "patience": 14}
# Options that change the encoder, or all heads.
NOT_WITH_ONLY_HEADS = (
    "join", "embeddings", "method", "rank", "pooling", "teachers", "layers", "vocabulary", "frozen",
    "max_tokens", "bits", "label_smoothing", "class_weights", "augmentation", "r_drop", "rehearsal",
)  # fmt: skip
# Where a run writes before its version is added to the registry.
UNFINISHED = "unfinished"


@click.command(
    epilog=examples(
        "monitor train --train labels.csv",
        "monitor train --train a.jsonl --train b.csv --valid c.jsonl \\",
        "    --map text=headline,sentiment=mood --method lora",
        "monitor train --recipe models/recipes/en.yaml --root ./data --base ./minilm --out ./mine",
        "monitor models promote VERSION && MONITOR_MODELS__WEIGHTS=registry monitor run",
    )
)
@click.option(
    "--train", "files", type=EXISTING, multiple=True, help="Labelled rows, .jsonl or .csv; can be repeated."
)
@click.option(
    "--recipe", type=EXISTING, help="YAML file of sources, their columns and the meaning of values."
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the recipe's files.  [default: the recipe's folder]",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="SOURCE",
    help="Do not train on this source, but score the model on it; can be repeated.",
)
@click.option("--licensed-only", is_flag=True, help="Skip the recipe's sources without a licence.")
@click.option(
    "--valid",
    "valid_files",
    type=EXISTING,
    multiple=True,
    help="Validation rows.  [default: hold out some rows]",
)
@click.option(
    "--base",
    default=None,
    help="Trained model, Hugging Face name or local encoder to start from.  [default: the shipped model]",
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    default=("en",),
    show_default=True,
    help="Languages of the rows (ISO 639-1).",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.  [default: a new version in the registry]",
)
@click.option(
    "--registry",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("registry"),
    show_default=True,
)
@click.option(
    "--join",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model to copy the parts for other languages from.",
)
@click.option("--name", default="house", show_default=True, help="Prefix of the version.")
@click.option(
    "--method", type=click.Choice(["full", "lora", "adalora", "ia3"]), default="full", show_default=True
)
@click.option(
    "--rank", type=click.IntRange(1), default=8, show_default=True, help="Rank of LoRA and AdaLoRA."
)
@click.option(
    "--pooling",
    type=click.Choice(["additive", "dot", "multihead", "mean", "first"]),
    default="additive",
    show_default=True,
    help="Pooling of the heads on a new encoder.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model to distil from; can be repeated, the mean is used.",
)
@click.option(
    "--embeddings",
    metavar="ENCODER",
    help="Sentence encoder (Hugging Face name or folder) whose embeddings the model learns to give too: they "
    "tell which texts report the same.  [default: those of --base, if it gives any]",
)
@click.option(
    "--only-heads",
    type=click.Choice(["targets"]),
    help="Train only the head for the sentiment towards names, on the encoder of --base as it is: minutes. "
    "Other defaults: 14 epochs, learning rate 0.001.",
)
@click.option("--layers", type=click.IntRange(0), default=0, help="Layers to keep; 0 for all.")
@click.option("--vocabulary", type=click.IntRange(0), default=0, help="Word vectors to keep; 0 for all.")
@click.option(
    "--max-loss",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Points of macro-F1 that int8, bfloat16 or fewer layers may cost.",
)
@click.option(
    "--bits",
    type=click.Choice([8, 4]),
    default=8,
    show_default=True,
    help="Bits of a stored weight; 4 are refused if they cost more than 0.3 points of macro-F1.",
)
@click.option("--frozen", type=click.IntRange(0), default=0, help="Lowest layers to freeze.")
@click.option("--max-tokens", type=click.IntRange(8, 512), default=128, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option(
    "--head-rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times as fast as the encoder the heads learn; 10 suits a bare encoder.",
)
@click.option("--label-smoothing", type=click.FloatRange(0, 0.5), default=0.1, show_default=True)
@click.option("--class-weights", is_flag=True, help="Give rare labels more weight.")
@click.option(
    "--averaging",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.999,
    show_default=True,
    help="Decay of the moving average of the weights.",
)
@click.option(
    "--augmentation",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Probability of each meaning-preserving edit.",
)
@click.option("--r-drop", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option(
    "--rehearsal",
    type=click.IntRange(0),
    help="Written sentences of the project to add against forgetting.  [default: as many as own rows]",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Stop after this many epochs without improvement.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Train this many times; keep the best run or the mean of the weights.",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="What the products are computed in; auto measures which is faster here.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Time between checkpoints, which a killed run can lose.  One takes 2 GB for a large model.",
)
@map_option("text, title, topic, sentiment, entities, targets")
@encoding_option
@json_option
@plain_errors
def train(as_json: bool, registry: Path, **values: Any) -> None:
    """Fine-tune a classifier on labelled rows; repeat the command with the same options to resume."""
    log.set_up(Settings().log)
    from models.settings import SHIPPED_WEIGHTS
    from models.training.options import DataOptions, FitOptions, TrainingOptions

    if values["only_heads"]:
        _use_head_defaults(values)
    values["base"] = values["base"] or str(SHIPPED_WEIGHTS)
    out = values.pop("out")
    data = _options(DataOptions, values)
    options = _options(
        TrainingOptions, {**values, "out": out or registry / UNFINISHED, "fit": _options(FitOptions, values)}
    )
    with show_progress("reading", seconds=SECONDS_BETWEEN_LINES) as progress:
        result, left_out = train_on_files(data, options, progress)
    folder = out or _add_to_registry(registry, options.out, result)
    if as_json:
        click.echo(json.dumps(_as_dict(result, folder) | {"left_out": left_out}))
        return
    click.echo(f"{result.info.version} written to {folder} in {result.seconds:.0f} s")
    click.echo((folder / "README.md").read_text(encoding="utf-8"))


def train_on_files(
    data: training.DataOptions, options: training.TrainingOptions, progress: training.Progress
) -> tuple[TrainingResult, dict[str, Any]]:
    """Read the rows and train.  Returns the scores of the sources that were left out too, as --json has them.

    Raises DataError and WeightsError.
    """
    from models.data.dataset import read_rows
    from models.training.left_out import as_markdown, leave_out, score_left_out
    from models.training.only_heads import train_heads
    from models.training.rows import training_rows
    from models.training.train import train as train_model
    from monitor.story_calibration import calibrate_stories

    sources, rows = training_rows(data, options)
    rows, left_out = leave_out(rows, data.leave_out)
    valid = read_rows(data.valid_files, data.columns, data.encoding)
    run = train_heads if options.only_heads else train_model
    result = run(options, rows, valid, sources, progress)
    reports = score_left_out(options.out, left_out, rows)
    with (options.out / "README.md").open("a", encoding="utf-8") as card:
        if reports:
            card.write(as_markdown(reports))
        for part, calibration in calibrate_stories(options.out).items():
            card.write(
                f"\nStories, {part}: of written pairs that tell the same event {calibration.joined:.0%} are "
                f"joined, of look-alikes {calibration.kept_apart:.0%} are kept apart.\n"
            )
    return result, {name: [task.as_dict() for task in tasks] for name, tasks in reports.items()}


def _use_head_defaults(values: dict[str, Any]) -> None:
    """Put the defaults of --only-heads in the place of those of whole networks.

    Raises UsageError for options that do not go with it.
    """
    context = click.get_current_context()
    given = {
        parameter.name: parameter.opts[-1]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    }
    for name in NOT_WITH_ONLY_HEADS:
        if name in given:
            raise click.UsageError(f"{given[name]} does not go with --only-heads, which changes nothing else")
    values.update({name: value for name, value in HEAD_DEFAULTS.items() if name not in given})


def _options(options_type: type[Options], values: Mapping[str, Any]) -> Options:
    """The dataclass from the command-line values of the same names."""
    names = {field.name for field in fields(options_type)}  # type: ignore[arg-type]
    return options_type(**{name: value for name, value in values.items() if name in names})


def _add_to_registry(registry: Path, folder: Path, result: TrainingResult) -> Path:
    from models.network import registry as model_registry

    return model_registry.add(registry, folder, result.info)


def _as_dict(result: TrainingResult, folder: Path) -> dict[str, Any]:
    """The result as --json prints it."""
    return {
        "version": result.info.version,
        "folder": str(folder),
        "seconds": result.seconds,
        "speed": asdict(result.speed) if result.speed else None,
        "scores": result.part.scores,
        "leaks": result.leaks,
        "kept": result.best.name,
        "runs": {run.name: {"score": run.score, "curve": run.curve} for run in result.runs},
    }
