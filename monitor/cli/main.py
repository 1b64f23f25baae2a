"""The command line.  Exit codes: 0 done; 1 something went wrong; 2 wrong usage or settings."""

import json
import logging
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.cli.alerts import backtest, rules
from monitor.cli.bench import bench
from monitor.cli.explain import explain
from monitor.cli.models import classify, evaluate, models, train
from monitor.cli.options import config_option, examples, json_option, plain_errors
from monitor.cli.store import feed, offsets, purge, relabel, replay
from monitor.runtime import log, settings


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
    from monitor.runtime.daemon import Daemon

    try:
        Daemon.build(chosen).run()
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
    from monitor.demo.demo import Demo
    from monitor.demo.live import LiveTable

    demo_ = Demo(chosen, state)
    if live:
        with LiveTable(demo_.daemon, console, lambda: demo_.phase):
            demo_.run()
    else:
        click.echo(f"Metrics: {demo_.daemon.url}/metrics", err=True)
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
    from monitor.demo.feeder import Plan, SampleRun
    from stream.kafka import admin

    admin.incarnations(chosen.kafka, chosen.kafka.kinds)
    if not admin.is_empty(chosen.kafka, chosen.kafka.kinds):
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

    http = settings.load_as_set(config).http
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
    from monitor.cli.listen import serve

    serve(host, port, click.echo)


@main.group()
def topics() -> None:
    """The Kafka topics."""


@topics.command("create", epilog=examples("monitor topics create -c monitor.toml"))
@config_option
@plain_errors
def topics_create(config: Path | None) -> None:
    """Create the topics that are missing."""
    chosen = settings.load_as_set(config)
    log.set_up(chosen.log)
    from stream.kafka import admin

    created = admin.create_topics(chosen.kafka)
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
    chosen = settings.load_as_set(config)
    log.set_up(chosen.log)
    from stream.storage import database

    click.echo(f"schema at revision {database.upgrade(chosen.database)}")


@main.command(epilog=examples("monitor doctor -c monitor.toml", "monitor doctor --json"))
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Settings file (TOML).")
@json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Check settings, model, rules, database, clock and broker; say what to do."""
    from monitor.cli.doctor import examine

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
    chosen = settings.load_as_set(config)
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


STORE = (feed, purge, relabel, replay, offsets)
MODELS = (classify, explain, train, models, evaluate)
for command in (*STORE, *MODELS, rules, backtest, bench):
    main.add_command(command)

if __name__ == "__main__":
    main()
