"""`monitor demo` and `monitor sample`: the monitor with invented news."""

import signal
import threading
import webbrowser
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from monitor.cli.options import config_option, examples, load_settings, plain_errors
from monitor.runtime import log
from monitor.runtime import settings as settings_module

if TYPE_CHECKING:
    from monitor.demo.demo import Demo
    from monitor.demo.live import LiveTable


@click.command(epilog=examples("monitor demo --open", "monitor demo --plain --state /tmp/demo"))
@config_option
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Folder for the database and the log.",
)
@click.option("--open", "opens", is_flag=True, help="Open the desk's page in a browser.")
@click.option("--terminal", is_flag=True, help="Show a live table in the terminal too.")
@click.option("--plain", is_flag=True, help="Print log lines in the terminal.")
@plain_errors
def demo(config: Path | None, state: Path, opens: bool, terminal: bool, plain: bool) -> None:
    """Run everything in one process: broker, database, monitor, and a sample feed with a surge.

    It prints the address of the desk's page.
    """
    if terminal and plain:
        raise click.UsageError("--terminal and --plain exclude each other: both write to the terminal")
    settings = settings_module.load(config)
    state.mkdir(parents=True, exist_ok=True)
    log.set_up(settings.log, None if plain else state / "monitor.log")
    click.echo(f"Starting (database and log in {state}) ...", err=True)
    from monitor.demo.demo import Demo

    running = Demo(settings, state)
    click.echo(f"The desk's page: {running.daemon.url}/  (Ctrl-C stops)", err=True)
    if opens:
        webbrowser.open(f"{running.daemon.url}/")
    with _live_table(running) if terminal else nullcontext():
        running.run()


def _live_table(running: "Demo") -> "LiveTable":
    from monitor.demo.live import LiveTable

    return LiveTable(running.daemon, Console(), lambda: running.phase)


@click.command(epilog=examples("monitor sample -c monitor.toml", "monitor sample --history 1 --rate 2"))
@config_option
@click.option(
    "--history",
    type=click.FloatRange(0),
    default=26.0,
    show_default=True,
    help="Hours of past texts to send first, if the topics are empty.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=0.2,
    show_default=True,
    help="Texts per second.",
)
@click.option(
    "--surge-every",
    type=click.FloatRange(1),
    default=240.0,
    show_default=True,
    help="Minutes between two surges of bad news; the first one comes after two minutes.",
)
@plain_errors
def sample(config: Path | None, history: float, rate: float, surge_every: float) -> None:
    """Send invented news and comments to Kafka, with a surge from time to time, until interrupted."""
    kafka = load_settings(config).kafka
    from monitor.demo.feeder import Plan, SampleRun
    from stream.kafka import admin

    admin.incarnations(kafka, kafka.kinds)
    if not admin.is_empty(kafka, kafka.kinds):
        history = 0.0
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    plan = Plan(timedelta(hours=history), rate, surge_after=120.0, surge_every=surge_every * 60)
    SampleRun(kafka, plan, stopping).run()
