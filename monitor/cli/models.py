"""Commands about the classifier: using, explaining, training and scoring it."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from monitor.cli.options import (
    EXISTING,
    config_option,
    examples,
    json_option,
    map_option,
    plain_errors,
    progress,
)
from monitor.runtime import log, settings
from monitor.runtime.settings import Settings
from stream.domain.documents import printable


@click.command(
    epilog=examples(
        "monitor classify --json headlines.txt",
        'echo \'{"id": "1", "title": "Profit doubles"}\' | monitor classify --json -',
    )
)
@click.argument("file", type=EXISTING)
@config_option
@json_option
@plain_errors
def classify(file: Path, config: Path | None, as_json: bool) -> None:
    """Label texts: one text, or one JSON object, a line of FILE (- for standard input)."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from models import backend_selection
    from models.inference.engine import Engine
    from monitor.cli.classify import classify_lines

    engine = Engine.load(backend_selection.cached_backend(chosen.models))
    failed = 0
    with click.open_file(str(file), "rb") as stream, progress(file, "classifying") as advance:
        for number, answer in enumerate(classify_lines(engine, _text_lines(stream, advance)), 1):
            if "error" in answer:
                failed += 1
                click.echo(f"{file}:{number}: {answer['error']}", err=True)
            click.echo(json.dumps(answer, ensure_ascii=False) if as_json else printable(_for_people(answer)))
    sys.exit(1 if failed else 0)


def _text_lines(stream: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[str]:
    for line in stream:
        advance(len(line))
        yield line.decode("utf-8", "replace")


def _for_people(answer: Mapping[str, Any]) -> str:
    if answer["status"] == "unsupported":
        return f"unsupported ({answer.get('error') or answer['lang'] or 'no words'})"
    sentiment, topic = answer["sentiment"], answer["topic"]
    words = ", ".join(span["text"] for span in answer["evidence"] if span["task"] == "sentiment")
    line = (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )
    return line if answer["certain"] else f"{line}  uncertain"


@click.command(
    epilog=examples(
        "monitor train --train labels.csv",
        "monitor train --train a.jsonl --train b.csv --valid c.jsonl \\",
        "    --map text=headline,sentiment=mood --method lora",
        "monitor train --recipe models/recipes/en.yaml --root ./data --base ./minilm --out ./mine",
        "monitor models promote VERSION && MONITOR_MODELS__WEIGHTS=registry monitor run",
    )
)
@click.option("--train", "files", type=EXISTING, multiple=True,
              help="Labelled rows, .jsonl or .csv; may be given several times.")  # fmt: skip
@click.option("--recipe", type=EXISTING, help="YAML file of sources, columns and what their values mean.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder that the recipe's files are relative to; else the recipe's own.")  # fmt: skip
@click.option("--licensed-only", is_flag=True, help="Leave out sources of the recipe without a licence.")
@click.option("--valid", "valid_files", type=EXISTING, multiple=True,
              help="Rows to choose the best epoch by; without it some are held out.")  # fmt: skip
@click.option("--base", default=None, help="Trained model, Hugging Face name or local encoder to start "
              "from.  [default: the shipped model]")  # fmt: skip
@click.option("--language", "languages", multiple=True, default=("en",), show_default=True,
              help="Languages of the rows (ISO 639-1).")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder to write; without it a new version in the registry.")  # fmt: skip
@click.option("--registry", type=click.Path(file_okay=False, path_type=Path), default=Path("registry"),
              show_default=True)  # fmt: skip
@click.option("--join", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Model whose other languages the new one takes over.")  # fmt: skip
@click.option("--name", default="house", show_default=True, help="First part of the version.")
@click.option("--method", type=click.Choice(["full", "lora", "adalora", "ia3"]), default="full",
              show_default=True)  # fmt: skip
@click.option("--rank", type=click.IntRange(1), default=8, show_default=True, help="Of LoRA and AdaLoRA.")
@click.option("--pooling", type=click.Choice(["additive", "dot", "multihead", "mean", "first"]),
              default="additive", show_default=True, help="Head of a new encoder.")  # fmt: skip
@click.option("--teacher", "teachers", multiple=True,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Model to learn from as well; several are averaged.")  # fmt: skip
@click.option("--layers", type=click.IntRange(0), default=0, help="Keep so many layers; 0 keeps all.")
@click.option("--vocabulary", type=click.IntRange(0), default=0, help="Keep so many word vectors; 0: all.")
@click.option("--max-loss", type=click.FloatRange(0), default=0.5, show_default=True,
              help="Points of macro-F1 that int8, bfloat16 or fewer layers may cost.")  # fmt: skip
@click.option("--frozen", type=click.IntRange(0), default=0, help="Lowest layers that do not learn.")
@click.option("--max-tokens", type=click.IntRange(8, 512), default=128, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option("--label-smoothing", type=click.FloatRange(0, 0.5), default=0.1, show_default=True)
@click.option("--class-weights", is_flag=True, help="Rare labels weigh more.")
@click.option("--averaging", type=click.FloatRange(0, 1, max_open=True), default=0.999, show_default=True,
              help="Memory of the running mean of the weights.")  # fmt: skip
@click.option("--augmentation", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Chance of each edit that keeps the meaning.")  # fmt: skip
@click.option("--r-drop", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option(
    "--rehearsal",
    type=click.IntRange(0),
    help="So many of the project's lessons go along, against forgetting.  [default: as many as own rows]",
)
@click.option("--patience", type=click.IntRange(1), default=2, show_default=True,
              help="Stop after so many epochs without gain.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Train so many times; the best run or the mean of their weights is kept.")  # fmt: skip
@map_option("text, title, topic, sentiment, entities")
@json_option
@plain_errors
def train(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Fine-tune a classifier on labelled rows; start again with the same options to go on."""
    log.set_up(Settings().log)
    from monitor.cli import train

    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("reading", total=None)
        folder, result = train.run(
            files,
            options,
            lambda step, steps, note: bar.update(task, completed=step, total=steps, description=note),
        )
    if as_json:
        runs = {run.name: {"score": run.score, "curve": run.curve} for run in result.runs}
        held = {"scores": result.part.scores, "leaks": result.leaks, "kept": result.best.name, "runs": runs}
        answer = {"version": result.info.version, "folder": str(folder), "seconds": result.seconds}
        click.echo(json.dumps(answer | held))
        return
    click.echo(f"{result.info.version} written to {folder} in {result.seconds:.0f} s")
    click.echo((folder / "README.md").read_text(encoding="utf-8"))


@click.group()
def models() -> None:
    """The trained models of a registry."""


registry_option = click.option(
    "--registry", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("registry"),
    show_default=True,
)  # fmt: skip


@models.command("list")
@registry_option
@json_option
@plain_errors
def models_list(registry: Path, as_json: bool) -> None:
    """Versions, their languages and scores; * runs."""
    from models.network import registry as kept

    running = kept.current(registry)
    for info in kept.versions(registry):
        scores = {part.folder: part.scores for part in info.parts}
        if as_json:
            click.echo(
                json.dumps({"version": info.version, "current": info.version == running, "scores": scores})
            )
            continue
        figures = ", ".join(
            f"{folder} {task} {found.get('macro_f1', found['score']):.3f}"
            for folder, tasks in scores.items()
            for task, found in tasks.items()
        )
        click.echo(f"{'*' if info.version == running else ' '} {info.version}  {figures}")


@models.command("show")
@click.argument("version")
@registry_option
@plain_errors
def models_show(version: str, registry: Path) -> None:
    """The card of a version."""
    from models.network import artifact

    artifact.read_info(registry / version)
    click.echo((registry / version / "README.md").read_text(encoding="utf-8"))


@models.command("promote", epilog=examples("monitor models promote house-0123456789ab"))
@click.argument("version")
@registry_option
@plain_errors
def models_promote(version: str, registry: Path) -> None:
    """Make a version the one that runs, after its self-check."""
    from models.inference.engine import Engine
    from models.network import registry as kept

    kept.promote(registry, version, Engine.verify)
    click.echo(f"{version} runs from the next start on where models.weights is {registry}")


@models.command("export", epilog=examples("monitor models export ./mine --data validation.jsonl"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data", "files", type=EXISTING, multiple=True, help="Labelled rows to hold the export against."
)
@map_option("text, title, topic, sentiment, entities")
@plain_errors
def models_export(folder: Path, files: tuple[Path, ...], columns: Mapping[str, str]) -> None:
    """Write the encoders as ONNX, for models.backend onnxruntime or openvino."""
    log.set_up(Settings().log)
    from models.data.dataset import read_rows
    from models.training.export import export

    for path in export(folder, read_rows(files, columns) if files else ()):
        click.echo(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")


@click.command(
    epilog=examples(
        "monitor evaluate validation.jsonl",
        "monitor evaluate validation.jsonl --html report.html --checks",
        "monitor evaluate --recipe models/recipes/zh.yaml --root ./data",
        "monitor evaluate validation.csv --against ./other",
    )
)
@click.argument("files", type=EXISTING, nargs=-1)
@config_option
@click.option("--recipe", type=EXISTING, help="Score the rows that the recipe's sources keep back.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder that the recipe's files are relative to.")  # fmt: skip
@click.option("--against", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Another model to compare with on the same rows.")  # fmt: skip
@click.option("--checks", is_flag=True, help="Flips, directions and how faithful the evidence is, too.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page too.")
@map_option("text, title, topic, sentiment, entities")
@json_option
@plain_errors
def evaluate(
    files: tuple[Path, ...],
    config: Path | None,
    as_json: bool,
    page: Path | None,
    **options: Any,
) -> None:
    """Score the classifier on labelled rows, with intervals, calibration and weak spots."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from models import backend_selection
    from models.evaluation.report import html
    from models.inference.engine import Engine
    from monitor.cli import evaluate

    report = evaluate.evaluate(Engine.load(backend_selection.cached_backend(chosen.models)), files, **options)
    if page is not None:
        page.write_text(html(report), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(evaluate.as_answer(report)))
    else:
        evaluate.show(report, Console())
