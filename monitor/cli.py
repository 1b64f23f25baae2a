"""The command line.  Exit codes: 0 done; 1 something went wrong; 2 wrong usage or settings."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from alerts.errors import AlertError
from models.errors import ModelError
from monitor import log, settings
from monitor.settings import Settings, SettingsError
from stream.errors import StreamError
from stream.nouns import printable

if TYPE_CHECKING:
    from models.evaluation import TaskReport

F = TypeVar("F", bound=Callable[..., Any])
EXISTING = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)

config_option = click.option(
    "--config", "-c", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file (TOML); without it MONITOR_CONFIG, else the defaults.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def plain_errors(function: F) -> F:
    """Errors that are meant for people are printed as such, without a traceback."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SettingsError as error:
            click.echo(f"settings: {error}", err=True)
            sys.exit(2)
        except (StreamError, ModelError, AlertError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)

    return wrapped  # type: ignore[return-value]


def examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "monitor demo                          everything in one process, with a sample feed",
        "monitor doctor -c monitor.toml        is all there that a run needs?",
        "monitor run -c monitor.toml           the daemon",
        "echo 'Shares plunge' | monitor classify -",
    ),
)
@click.version_option(package_name="sentiment-monitor", prog_name="monitor")
def main() -> None:
    """Streaming financial sentiment: Kafka in, SQL and alerts out."""


@main.command(epilog=examples("monitor run -c monitor.toml", "MONITOR_LOG__FORMAT=json monitor run"))
@config_option
@plain_errors
def run(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from monitor.daemon import Daemon

    try:
        Daemon(chosen).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        logging.getLogger("monitor").critical("ended: %s", error)
        sys.exit(1)


@main.command(epilog=examples("monitor demo", "monitor demo --plain --state /tmp/demo"))
@config_option
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"),
              show_default=True, help="Folder for the database and the log.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Log lines instead of the live table.")
@plain_errors
def demo(config: Path | None, state: Path, plain: bool) -> None:
    """Everything in one process: broker, database, sample feed with a surge, monitor."""
    chosen = settings.load(config)
    console = Console()
    live = console.is_terminal and not plain
    state.mkdir(parents=True, exist_ok=True)
    log.set_up(chosen.log, state / "monitor.log" if live else None)
    click.echo(f"Starting (database and log in {state}) ...", err=True)
    from monitor.demo import Demo
    from monitor.live import LiveTable

    demo_ = Demo(chosen, state)
    if live:
        with LiveTable(demo_.daemon, console, demo_):
            demo_.run()
    else:
        click.echo(f"Metrics: {demo_.daemon.http.url}/metrics", err=True)
        demo_.run()


@main.group()
def topics() -> None:
    """The Kafka topics."""


@topics.command("create", epilog=examples("monitor topics create -c monitor.toml"))
@config_option
@plain_errors
def topics_create(config: Path | None) -> None:
    """Create the topics that are missing."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from stream import broker

    created = broker.create_topics(chosen.kafka)
    kafka = chosen.kafka
    for name in (*kafka.kinds, *kafka.written):
        click.echo(f"{name}: {'created' if name in created else 'was there'}")


@main.group()
def db() -> None:
    """The database."""


@db.command("upgrade", epilog=examples("monitor db upgrade -c monitor.toml"))
@config_option
@plain_errors
def db_upgrade(config: Path | None) -> None:
    """Make the tables, or bring them to this version's schema."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from stream import database

    click.echo(f"schema at revision {database.upgrade(chosen.database)}")


def parse_map(_context: click.Context, _parameter: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    """--map a=b,c=d, once or several times."""
    pairs: dict[str, str] = {}
    for pair in (pair for value in values for pair in value.split(",")):
        field, equals, column = pair.partition("=")
        if not equals or not field or not column:
            raise click.BadParameter(f"{pair!r}: FIELD=COLUMN was expected")
        pairs[field.strip()] = column.strip()
    return pairs


def parse_speed(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(f"{value!r}: a number above 0, or max, was expected")
    return speed


def map_option(fields: str) -> Callable[[F], F]:
    return click.option(
        "--map", "columns", multiple=True, callback=parse_map, metavar="FIELD=COLUMN,...",
        help=f"The file's own names for {fields}.",
    )  # fmt: skip


@main.command(
    epilog=examples(
        "monitor feed news.jsonl --kind news --speed max",
        "monitor feed headlines.jsonl --map published_at=ts --speed 3600",
        "tail -f posts.jsonl | monitor feed - --kind comment --shift-to-now",
    )
)
@click.argument("file", type=EXISTING)
@config_option
@click.option("--kind", type=click.Choice(["news", "comment"]), default="news", show_default=True)
@click.option("--speed", default="1", callback=parse_speed, show_default=True,
              help="How many times faster than the stamps; max: as fast as it goes.")  # fmt: skip
@click.option("--shift-to-now", is_flag=True, help="Stamp every text with the time it is sent.")
@click.option("--source", help="Source of rows that name none.")
@map_option("id, source, published_at, title, text, author, url, symbols, lang")
@json_option
@plain_errors
def feed(
    file: Path,
    config: Path | None,
    kind: str,
    speed: float | None,
    shift_to_now: bool,
    source: str | None,
    columns: Mapping[str, str],
    as_json: bool,
) -> None:
    """Replay stamped JSON lines from FILE (or - for standard input) into Kafka."""
    from stream import broker
    from stream import feed as feeding

    unknown = sorted(set(columns) - set(feeding.FIELDS))
    if unknown:
        allowed = ", ".join(feeding.FIELDS)
        raise click.BadParameter(f"--map: no field {unknown[0]!r}; allowed: {allowed}")
    chosen = settings.load(config)
    log.set_up(chosen.log)
    topic = {each.value: name for name, each in chosen.kafka.kinds.items()}[kind]
    broker.incarnations(chosen.kafka, [topic])
    options = feeding.FeedOptions(columns, speed, shift_to_now, source)
    producer = broker.producer(chosen.kafka, linger_ms=20, batch_size=1 << 16)
    with click.open_file(str(file), "rb") as lines, _progress(file, "feeding") as advance:
        report = feeding.replay(
            feeding.lines_of(lines), str(file), topic, producer, options, progress=advance
        )
    producer.close()
    for complaint in report.refused:
        click.echo(complaint, err=True)
    rate = report.sent / report.seconds if report.seconds else 0.0
    if as_json:
        summary: dict[str, float] = {"sent": report.sent, "refused": report.refused_rows}
        summary |= {"seconds": round(report.seconds, 3), "per_second": round(rate, 1)}
        click.echo(json.dumps(summary))
    else:
        done = f"{report.sent} sent to {topic}, {report.refused_rows} refused"
        click.echo(f"{done}, {report.seconds:.1f} s, {rate:.0f} documents/s")
    sys.exit(1 if report.refused_rows else 0)


@contextmanager
def _progress(file: Path, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error over the bytes of `file`; silent where that is no terminal."""
    console = Console(stderr=True)
    total = file.stat().st_size if file.is_file() else None
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


@main.command(
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
    from models.engine import Engine
    from monitor.classify import classify_lines

    engine = Engine.load(chosen.models)
    failed = 0
    with click.open_file(str(file), "rb") as stream, _progress(file, "classifying") as advance:
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
    if answer["status"] != "ok":
        return f"unsupported ({answer.get('error') or answer['lang'] or 'no words'})"
    sentiment, topic = answer["sentiment"], answer["topic"]
    words = ", ".join(span["text"] for span in answer["evidence"] if span["task"] == "sentiment")
    return (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )


@main.command(
    epilog=examples(
        "monitor train --base ./minilm --train labels.jsonl --out ./mine",
        "monitor train --base ./minilm --train a.jsonl --train b.csv --valid c.jsonl \\",
        "    --map text=headline,sentiment=mood --lora 8 --out ./mine",
        "MONITOR_MODELS__WEIGHTS=./mine monitor run",
    )
)
@click.option("--base", required=True, help="Hugging Face name or local folder of the encoder.")
@click.option("--train", "train_files", type=EXISTING, multiple=True, required=True,
              help="Labelled rows, .jsonl or .csv; may be given several times.")  # fmt: skip
@click.option("--valid", "valid_files", type=EXISTING, multiple=True,
              help="Rows to choose the best epoch by; without it some are held out.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--name", default="monitor", show_default=True, help="First part of the version.")
@click.option("--epochs", type=click.IntRange(1), default=4, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option("--lora", "lora_rank", type=click.IntRange(0), default=0, show_default=True,
              help="Rank of LoRA adapters; 0 trains the whole encoder.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(8, 512), default=128, show_default=True)
@click.option("--patience", type=click.IntRange(1), default=2, show_default=True,
              help="Stop after so many epochs without gain.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@map_option("text, title, topic, sentiment, entities")
@json_option
@plain_errors
def train(
    train_files: tuple[Path, ...],
    valid_files: tuple[Path, ...],
    columns: Mapping[str, str],
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a classifier on labelled rows."""
    log.set_up(Settings().log)
    from models.dataset import read_rows
    from models.training import TrainingOptions
    from models.training import train as fit

    rows = read_rows(train_files, columns)
    valid = read_rows(valid_files, columns)
    click.echo(f"{len(rows)} rows to train on", err=True)
    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("training", total=None)
        result = fit(
            TrainingOptions(**options),
            rows,
            valid,
            lambda step, steps, note: bar.update(task, completed=step, total=steps, description=note),
        )
    if as_json:
        held = [report.as_dict() for report in result.held_out]
        click.echo(json.dumps({"version": result.info.version, "seconds": result.seconds, "held_out": held}))
        return
    click.echo(f"{result.info.version} written to {options['out']} in {result.seconds:.0f} s")
    for report in result.held_out:
        _show_report(report)


@main.command(
    epilog=examples(
        "monitor evaluate validation.jsonl",
        "MONITOR_MODELS__WEIGHTS=./mine monitor evaluate --json validation.csv",
    )
)
@click.argument("files", type=EXISTING, nargs=-1, required=True)
@config_option
@map_option("text, title, topic, sentiment, entities")
@json_option
@plain_errors
def evaluate(files: tuple[Path, ...], config: Path | None, columns: Mapping[str, str], as_json: bool) -> None:
    """Score the classifier on labelled rows: precision, recall, F1 per class."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from models.dataset import read_rows
    from models.engine import Engine
    from models.evaluation import evaluate as score

    engine = Engine.load(chosen.models)
    reports = {str(file): score(engine, read_rows([file], columns)) for file in files}
    if as_json:
        click.echo(json.dumps({
            "model": engine.info.version,
            "files": {file: [report.as_dict() for report in found] for file, found in reports.items()},
        }))  # fmt: skip
        return
    for file, found in reports.items():
        click.echo(f"{file}  (model {engine.info.version})")
        for report in found:
            _show_report(report)


def _show_report(report: "TaskReport") -> None:
    scores = f"accuracy {report.accuracy:.4f}, macro-F1 {report.macro_f1:.4f}, {report.n} rows"
    unlabelled = f", {report.unsupported} of them unsupported" if report.unsupported else ""
    table = Table(title=f"{report.task}: {scores}{unlabelled}", title_justify="left")
    for heading in ("class", "precision", "recall", "F1", "rows"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for item in report.classes:
        numbers = (f"{item.precision:.3f}", f"{item.recall:.3f}", f"{item.f1:.3f}", str(item.support))
        table.add_row(item.label, *numbers)
    Console().print(table)


@main.command(epilog=examples("monitor doctor -c monitor.toml", "monitor doctor --json"))
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Settings file (TOML).")
@json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Check settings, model, rules, database, clock and broker; say what to do."""
    from monitor.doctor import examine

    logging.disable(logging.CRITICAL)
    findings = []
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            mark = click.style("ok  ", "green") if finding.ok else click.style("FAIL", "red")
            click.echo(f"{mark} {finding.check:9} {finding.detail}")
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings]))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@main.command("settings", epilog=examples("monitor settings", "monitor settings -c monitor.toml --json"))
@config_option
@json_option
@plain_errors
def show_settings(config: Path | None, as_json: bool) -> None:
    """Every setting: its value now, and what it means."""
    chosen = settings.load(config)
    rows = [(name, value, field.description) for name, value, field in settings.describe(chosen)]
    if as_json:
        click.echo(json.dumps({name: str(value) for name, value, _ in rows}))
        return
    table = Table(show_lines=False)
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, value, meaning in rows:
        table.add_row(name, escape(str(value)), meaning or "")
    Console().print(table)


if __name__ == "__main__":
    main()
