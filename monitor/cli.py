"""The command line.  Exit codes: 0 done; 1 something went wrong; 2 wrong usage or settings."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
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
from stream.nouns import Kind, printable

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


def parse_time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: a date or RFC 3339 time was expected") from error
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)


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


@main.command(epilog=examples("monitor sample -c monitor.toml", "monitor sample --history 1 --rate 2"))
@config_option
@click.option("--history", type=click.FloatRange(0), default=26.0, show_default=True,
              help="Hours of stamped texts, sent first where the topics are empty.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=0.2, show_default=True,
              help="Texts a second.")  # fmt: skip
@click.option("--surge-every", type=click.FloatRange(1), default=240.0, show_default=True,
              help="Minutes between two surges of bad news; the first comes after two.")  # fmt: skip
@plain_errors
def sample(config: Path | None, history: float, rate: float, surge_every: float) -> None:
    """Send invented news and comments to Kafka, with a surge now and then, until interrupted."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from monitor.sample_run import Plan, SampleRun
    from stream import broker

    broker.incarnations(chosen.kafka, chosen.kafka.kinds)
    if not broker.is_empty(chosen.kafka, chosen.kafka.kinds):
        history = 0.0
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    plan = Plan(timedelta(hours=history), rate, surge_after=120.0, surge_every=surge_every * 60)
    SampleRun(chosen.kafka, plan, stopping).run()


@main.command(epilog=examples("monitor healthy", "monitor healthy --ready"))
@config_option
@click.option("--ready", is_flag=True, help="Ready to work, not merely alive.")
@plain_errors
def healthy(config: Path | None, ready: bool) -> None:
    """Ask the monitor that runs here how it is; status 1 where it does not answer well."""
    import httpx

    http = settings.load(config).http
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(f"http://{host}:{http.port}/{'readyz' if ready else 'healthz'}", timeout=4)
    except httpx.HTTPError as error:
        click.echo(f"no answer on port {http.port}: {type(error).__name__}", err=True)
        sys.exit(1)
    click.echo(answer.text.strip())
    sys.exit(0 if answer.is_success else 1)


@main.command(epilog=examples("monitor listen --port 5001"))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=5001, show_default=True)
def listen(host: str, port: int) -> None:
    """Print the pages that a webhook would get, to try receivers and Alertmanager out."""
    from monitor.listen import serve

    serve(host, port, click.echo)


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


@main.command(epilog=examples("monitor purge --older-than 90", "monitor purge --older-than 90 --dry-run"))
@config_option
@click.option("--older-than", type=click.IntRange(1), required=True, help="Days since they were received.")
@click.option("--dry-run", is_flag=True, help="Only say how many documents it would be.")
@plain_errors
def purge(config: Path | None, older_than: int, dry_run: bool) -> None:
    """Erase old texts, authors and evidence; labels, scores, sums and identities stay."""
    from stream import database, retention
    from stream.store import Store

    chosen = settings.load(config)
    log.set_up(chosen.log)
    store = Store(database.connect(chosen.database), chosen.stream.window_seconds)
    now = datetime.now(UTC)
    try:
        database.check_schema(store.engine)
        total = retention.purgeable(store, now - timedelta(days=older_than))
        if dry_run:
            click.echo(f"{total} documents would lose their texts")
            return
        with _counting("purging", total) as advance:
            done = retention.purge(store, now - timedelta(days=older_than), now, advance)
    finally:
        store.engine.dispose()
    click.echo(
        f"{done.documents} documents lost their texts, {done.alerts} alerts their evidence, "
        f"{done.dead_letters} dead letters their details"
    )


@main.command(
    epilog=examples(
        "monitor relabel -c monitor.toml                       after another model was promoted",
        "monitor relabel --model registry/house-0123 --from 2026-03-01",
    )
)
@config_option
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Model folder or registry; without it that of the settings.")  # fmt: skip
@click.option("--from", "start", callback=parse_time, help="Documents published from here on; default: all.")
@click.option("--to", "end", callback=parse_time, help="... and before this.")
@plain_errors
def relabel(config: Path | None, model: Path | None, start: datetime | None, end: datetime | None) -> None:
    """Judge stored documents again, and change the aggregates by the difference.

    The live stream goes on meanwhile; a run that was cut short goes on where it was.
    """
    from models.engine import Engine
    from stream import rebuild
    from stream.nouns import EPOCH
    from stream.outbox import BatchOutbound

    with _standing(config) as (chosen, store, _):
        engine = Engine.load(chosen.models.model_copy(update={"weights": model}) if model else chosen.models)
        stretch = rebuild.Stretch(start or EPOCH, end or datetime.max.replace(tzinfo=UTC))
        total = rebuild.to_relabel(store, stretch, engine.info.version)
        outbound = BatchOutbound(chosen.kafka, chosen.stream.publish_predictions)
        with _counting("judging", total) as advance:
            done = rebuild.relabel(
                store, stretch, engine.info.version, engine.classify, outbound,
                lambda: datetime.now(UTC), advance,
            )  # fmt: skip
    click.echo(f"{done} documents judged by {engine.info.version}")


@main.command(
    epilog=examples(
        "monitor replay -c monitor.toml --from 2026-03-01T09:00:00Z",
        "monitor replay --from 2026-03-01 --recount-only",
    )
)
@config_option
@click.option("--from", "start", callback=parse_time, required=True, help="Time from which on to look.")
@click.option("--recount-only", is_flag=True, help="Only hold the aggregates against the documents.")
@plain_errors
def replay(config: Path | None, start: datetime, recount_only: bool) -> None:
    """Read Kafka again from a time on, write what the database lost, and count its aggregates again.

    What the database holds is left as it is.  The live stream goes on meanwhile, and so may be repeated.
    """
    from models.engine import Engine
    from stream import rebuild
    from stream.codec import Codec
    from stream.outbox import BatchOutbound
    from stream.replay import Replay, Replayed

    with _standing(config) as (chosen, store, incarnations):
        done, now = Replayed(), datetime.now(UTC)
        if not recount_only:
            engine = Engine.load(chosen.models)
            codec = Codec(timedelta(seconds=chosen.stream.future_seconds), chosen.stream.max_message_bytes)
            outbound = BatchOutbound(chosen.kafka, chosen.stream.publish_predictions)
            reader = Replay(
                chosen.kafka, store, codec, engine.classify, outbound, incarnations, lambda: datetime.now(UTC)
            )
            with _counting("reading", None) as advance:
                done = reader.run(start, lambda read, total: advance(0))
        stretch = rebuild.Stretch(min(start, done.first or start), now + timedelta(hours=1))
        with _counting("counting hours", None) as advance:
            wrong = rebuild.recount(store, stretch, advance)
    click.echo(
        f"{done.read} messages read, {done.restored} documents restored, {done.refused} cannot be read, "
        f"{wrong} rows of the aggregates mended"
    )


@contextmanager
def _counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; silent where that is no terminal."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount: bar.advance(task, amount)


@main.group()
def offsets() -> None:
    """How far Kafka was read, where the database was restored or is new."""


@offsets.command("show", epilog=examples("monitor offsets show -c monitor.toml"))
@config_option
@json_option
@plain_errors
def offsets_show(config: Path | None, as_json: bool) -> None:
    """Kafka's committed offsets beside those in SQL, which are the ones that count."""
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        found = kafka_offsets.standings(chosen.kafka, store, incarnations)
    if as_json:
        rows = [
            {
                "topic": s.partition.topic,
                "partition": s.partition.number,
                "committed": s.committed,
                "stored": s.stored,
            }
            for s in found
        ]
        click.echo(json.dumps(rows))
        return
    for standing in found:
        click.echo(
            f"{standing.partition}: Kafka {_or_nothing(standing.committed)}, "
            f"SQL {_or_nothing(standing.stored)}" + (f", {standing.unread} UNREAD" if standing.unread else "")
        )


@offsets.command("rewind", epilog=examples("monitor offsets rewind -c monitor.toml"))
@config_option
@plain_errors
def offsets_rewind(config: Path | None) -> None:
    """Read again what the database does not hold: set Kafka's group back to where SQL is.

    No monitor may run meanwhile.
    """
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        _told(kafka_offsets.rewind(chosen.kafka, store, incarnations), "will be read again")


@offsets.command("accept", epilog=examples("monitor offsets accept -c monitor.toml"))
@config_option
@plain_errors
def offsets_accept(config: Path | None) -> None:
    """Leave out what the database does not hold: go on where Kafka's group is."""
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        _told(
            kafka_offsets.accept(chosen.kafka, store, incarnations, datetime.now(UTC)),
            "are left out for good",
        )


@contextmanager
def _standing(config: Path | None) -> Iterator[tuple[Settings, Any, Mapping[str, str]]]:
    """The settings, the store and the topics' incarnations."""
    from stream import broker, database
    from stream.store import Store

    chosen = settings.load(config)
    log.set_up(chosen.log)
    store = Store(database.connect(chosen.database), chosen.stream.window_seconds)
    try:
        database.check_schema(store.engine)
        yield chosen, store, broker.incarnations(chosen.kafka, chosen.kafka.kinds)
    finally:
        store.engine.dispose()


def _or_nothing(offset: int | None) -> str:
    return "nothing" if offset is None else str(offset)


def _told(changed: Iterable[Any], what: str) -> None:
    changed = list(changed)
    for standing in changed:
        click.echo(f"{standing.partition}: {standing.unread} messages {what}")
    if not changed:
        click.echo("nothing to do: Kafka is not ahead of the database")


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

    if complaint := feeding.unknown_field(columns):
        raise click.BadParameter(complaint)
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
    if answer["status"] == "unsupported":
        return f"unsupported ({answer.get('error') or answer['lang'] or 'no words'})"
    sentiment, topic = answer["sentiment"], answer["topic"]
    words = ", ".join(span["text"] for span in answer["evidence"] if span["task"] == "sentiment")
    line = (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )
    return line if answer["certain"] else f"{line}  uncertain"


@main.command(
    epilog=examples(
        'monitor explain "Profit falls at Acme as costs rise"',
        'monitor explain --method integrated --html why.html "Loss narrows"',
        'monitor explain --target Nokia "Apple soars as Nokia plunges"',
    )
)
@click.argument("text")
@config_option
@click.option("--task", type=click.Choice(["sentiment", "topic"]), default="sentiment", show_default=True)
@click.option("--method", type=click.Choice(["attention", "gradient", "integrated"]), default="integrated",
              show_default=True, help="How the words are weighed.")  # fmt: skip
@click.option("--target", "targets", multiple=True, help="A name in the text: the sentiment towards it.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page too.")
@json_option
@plain_errors
def explain(
    text: str,
    config: Path | None,
    task: str,
    method: Any,
    targets: tuple[str, ...],
    page: Path | None,
    as_json: bool,
) -> None:
    """Say why a text gets its label: a weight for each word, and the sentiment towards names in it."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    from models.engine import Engine
    from monitor.explain import as_answer, as_page, explained, show

    found = explained(Engine.load(chosen.models), text, task, method, targets)
    if page is not None:
        page.write_text(as_page(found), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(as_answer(found), ensure_ascii=False))
    else:
        show(found, Console())


@main.command(
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
    from monitor import training

    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("reading", total=None)
        folder, result = training.run(
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


@main.group()
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
    from models import registry as kept

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
    from models import weights

    weights.read_info(registry / version)
    click.echo((registry / version / "README.md").read_text(encoding="utf-8"))


@models.command("promote", epilog=examples("monitor models promote house-0123456789ab"))
@click.argument("version")
@registry_option
@plain_errors
def models_promote(version: str, registry: Path) -> None:
    """Make a version the one that runs, after its self-check."""
    from models import registry as kept

    kept.promote(registry, version)
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
    from models.dataset import read_rows
    from models.export import export

    for path in export(folder, read_rows(files, columns) if files else ()):
        click.echo(f"{path} ({path.stat().st_size / 1e6:.0f} MB)")


@main.command(
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
    from models.engine import Engine
    from models.report import html
    from monitor import evaluating

    report = evaluating.evaluate(Engine.load(chosen.models), files, **options)
    if page is not None:
        page.write_text(html(report), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(evaluating.as_answer(report)))
    else:
        evaluating.show(report, Console())


@main.group()
def rules() -> None:
    """The alert rules."""


@rules.command("check", epilog=examples("monitor rules check rules.yaml"))
@click.argument("file", type=EXISTING)
@config_option
@plain_errors
def rules_check(file: Path, config: Path | None) -> None:
    """Read a rule file; complaints name file, line and rule."""
    from alerts.rules import BaselineRule, load_rules
    from models.weights import read_info

    found = load_rules(file, read_info(settings.load(config).models.weights).labels["topic"])
    budget = sum(rule.false_pages_per_month for rule in found if isinstance(rule, BaselineRule))
    click.echo(f"{file}: {len(found)} rules; by chance alone they fire {budget:g} times a month at most")
    for rule in found:
        about = rule.topics if isinstance(rule.topics, str) else ", ".join(rule.topics)
        click.echo(f"  {rule.name}: {rule.type}, {rule.severity}, topics {about}")


@rules.command("schema", epilog=examples("monitor rules schema > rules.schema.json"))
def rules_schema() -> None:
    """The JSON Schema of a rule file, for editors."""
    from alerts.rules import schema

    click.echo(json.dumps(schema(), indent=1))


@main.command(
    epilog=examples(
        "monitor backtest -c monitor.toml --from 2026-01-01",
        "monitor backtest --data headlines.jsonl --map published_at=ts --html pages.html",
        "monitor backtest --rules new.yaml --against old.yaml --data headlines.jsonl --labels events.csv",
    )
)
@config_option
@click.option("--rules", "rule_file", type=EXISTING, help="Rule file; without it those of the settings.")
@click.option("--against", type=EXISTING, help="Another rule file, to compare with.")
@click.option("--data", type=EXISTING, help="Stamped texts (JSON lines); without it the database.")
@click.option("--kind", type=click.Choice(["news", "comment"]), default="news", show_default=True,
              help="What the texts of --data are.")  # fmt: skip
@map_option("id, source, published_at, title, text, author, url, symbols, lang")
@click.option("--from", "start", callback=parse_time, help="Page from here on; older texts are baseline.")
@click.option("--to", "end", callback=parse_time, help="Leave out texts from here on.")
@click.option("--labels", type=EXISTING, help="Known events (.csv, .jsonl): name, start, end.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page too.")
@click.option("--png", "picture", type=click.Path(dir_okay=False, path_type=Path), help="And the timeline.")
@json_option
@plain_errors
def backtest(
    config: Path | None,
    rule_file: Path | None,
    against: Path | None,
    data: Path | None,
    kind: str,
    columns: Mapping[str, str],
    start: datetime | None,
    end: datetime | None,
    labels: Path | None,
    page: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """How many pages rules would have sent over history, when, for what, and what they missed."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    logging.getLogger("alerts").setLevel(logging.ERROR)
    from alerts.rules import load_rules
    from models.weights import read_info
    from monitor import backtest as testing

    topics = read_info(chosen.models.weights).labels["topic"]
    files = [rule_file or chosen.alerts.rules, *([against] if against else [])]
    loaded = [load_rules(file, topics) for file in files]
    events = testing.read_events(labels) if labels else []
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("reading", total=1.0)

        def tell(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        if data is None:
            texts = testing.stored(chosen, start, end, loaded)
        else:
            texts, complaints = testing.judge(chosen.models, data, columns, Kind(kind), end, tell)
            for complaint in complaints[:20]:
                click.echo(complaint, err=True)
            if complaints:
                click.echo(f"{len(complaints)} lines of {data} were left out", err=True)
        results = [
            testing.run(str(file), rules_, topics, texts, start, events, tell)
            for file, rules_ in zip(files, loaded, strict=True)
        ]
    if page is not None:
        page.write_text(testing.html(results, texts), encoding="utf-8")
    if picture is not None:
        testing.png(picture, results, texts)
    if as_json:
        click.echo(msgspec.json.encode(testing.as_answer(results, len(texts))).decode())
    else:
        testing.show(results, texts, Console())


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
