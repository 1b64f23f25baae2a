"""`monitor models`: the versions in a registry of trained models, and the ONNX export."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from monitor.cli.classify import parse_row
from monitor.cli.options import EXISTING, CommandGroup, examples, json_option, map_option, plain_errors
from monitor.runtime import log
from monitor.runtime.settings import Settings


@click.group(cls=CommandGroup)
def models() -> None:
    """Manage the trained models of a registry."""


registry_option = click.option(
    "--registry",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("registry"),
    show_default=True,
)


@models.command("list")
@registry_option
@json_option
@plain_errors
def models_list(registry: Path, as_json: bool) -> None:
    """List versions, their languages and scores; * marks the promoted one."""
    from models.network import registry as model_registry

    current = model_registry.current(registry)
    for info in model_registry.versions(registry):
        scores = {part.folder: part.scores for part in info.parts}
        if as_json:
            click.echo(
                json.dumps({"version": info.version, "current": info.version == current, "scores": scores})
            )
            continue
        summary = ", ".join(
            f"{folder} {task} {figures.get('macro_f1', figures['score']):.3f}"
            for folder, tasks in scores.items()
            for task, figures in tasks.items()
        )
        click.echo(f"{'*' if info.version == current else ' '} {info.version}  {summary}")


@models.command("show")
@click.argument("version")
@registry_option
@plain_errors
def models_show(version: str, registry: Path) -> None:
    """Show the model card of a version."""
    from models.network.info import read_info

    read_info(registry / version)
    click.echo((registry / version / "README.md").read_text(encoding="utf-8"))


@models.command("promote", epilog=examples("monitor models promote house-0123456789ab"))
@click.argument("version")
@registry_option
@plain_errors
def models_promote(version: str, registry: Path) -> None:
    """Run the self-check of a version, then make it the current one."""
    from models.inference.engine import Engine
    from models.network import registry as model_registry

    model_registry.promote(registry, version, Engine.verify)
    click.echo(f"{version} is used from the next start, if models.weights is {registry}")


@models.command(
    "pair",
    epilog=examples(
        "monitor models pair ./small --second ./large --stream headlines.jsonl --data valid.jsonl"
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--second",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the larger model, which gives the second opinion.",
)
@click.option(
    "--stream", "streams", type=EXISTING, multiple=True, required=True, help="Texts as they arrive."
)
@click.option("--data", "files", type=EXISTING, multiple=True, help="Labelled rows to calibrate the pair on.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.18,
    show_default=True,
    help="The largest share of a stream that the larger model labels.",
)
@map_option("text, title, topic, sentiment")
@plain_errors
def models_pair(
    folder: Path,
    second: Path,
    streams: tuple[Path, ...],
    files: tuple[Path, ...],
    share: float,
    columns: Mapping[str, str],
) -> None:
    """Find which texts a small model should leave to a larger one (mode auto of models.second_opinion).

    It is written into the model.json of FOLDER: weights and a threshold, from where the two disagree on the
    streams, and the calibration of each on the labelled rows that it labels.
    """
    log.set_up(Settings().log)
    from models.data.dataset import read_rows
    from models.training.pairing import pair

    texts = {file.name: list(_texts(file, columns)) for file in streams}
    info = pair(folder, second, texts, read_rows(files, columns), share)
    for part in info.parts:
        if part.routing is not None:
            shares = ", ".join(f"{value:.1%} of {name}" for name, value in part.routing.share.items())
            click.echo(f"{part.folder}: {shares}; {part.routing.weights}, from {part.routing.threshold:g} on")


def _texts(file: Path, columns: Mapping[str, str]) -> Iterator[str]:
    """The texts of a file as `monitor classify` reads it; rows without one are left out."""
    from stream.domain.files.input_rows import read_rows

    text_columns = [columns.get(name, name) for name in ("title", "text")]
    for row in read_rows(file, text_columns=text_columns, plain_text=True):
        line = parse_row(row, columns)
        if line.error is None and line.item.text:
            yield line.item.text


@models.command("compress", epilog=examples("monitor models compress ./mine ./small --data validation.jsonl"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--language", default="en", show_default=True, help="The part to compress.")
@click.option(
    "--data",
    "files",
    type=EXISTING,
    multiple=True,
    required=True,
    help="Labelled rows to compare 4 bits on and to calibrate with, which the model was not trained on.",
)
@map_option("text, title, topic, sentiment, entities")
@plain_errors
def models_compress(
    folder: Path, out: Path, language: str, files: tuple[Path, ...], columns: Mapping[str, str]
) -> None:
    """Store a model's part in 4 bits: about half as large.

    Refused if it costs more than 0.3 points of macro-F1.
    """
    log.set_up(Settings().log)
    from models.data.dataset import read_rows
    from models.training.release import compress

    info = compress(folder, out, language, read_rows(files, columns))
    for part in info.parts:
        size = sum(path.stat().st_size for path in (out / part.folder).iterdir())
        click.echo(f"{out / part.folder} ({size / 1e6:.0f} MB)")
    click.echo(info.version)


@models.command("export", epilog=examples("monitor models export ./mine --data validation.jsonl"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", "files", type=EXISTING, multiple=True, help="Labelled rows to compare the export on.")
@map_option("text, title, topic, sentiment, entities")
@plain_errors
def models_export(folder: Path, files: tuple[Path, ...], columns: Mapping[str, str]) -> None:
    """Export the encoders as ONNX, for models.backend onnxruntime or openvino."""
    log.set_up(Settings().log)
    from models.data.dataset import read_rows
    from models.training.export import export

    for path in export(folder, read_rows(files, columns) if files else ()):
        click.echo(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")
