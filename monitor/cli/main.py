"""The command line.  Exit codes: 0 done; 1 something went wrong; 2 wrong usage or settings."""

import click

from monitor.cli.alerts import alerts
from monitor.cli.backfill import backfill
from monitor.cli.backtest.command import backtest
from monitor.cli.bench import bench
from monitor.cli.classify import classify
from monitor.cli.daemon import healthy, run
from monitor.cli.db import db
from monitor.cli.dead_letters import dead_letters
from monitor.cli.demo import demo, sample
from monitor.cli.doctor import doctor
from monitor.cli.entities import entities
from monitor.cli.evaluate import evaluate
from monitor.cli.explain import explain
from monitor.cli.feed import feed
from monitor.cli.leases import leases
from monitor.cli.listen import listen
from monitor.cli.maintenance import purge, relabel, replay
from monitor.cli.models import models
from monitor.cli.offsets import offsets
from monitor.cli.options import CommandGroup, examples
from monitor.cli.outbox import outbox
from monitor.cli.rules import rules
from monitor.cli.settings import show_settings
from monitor.cli.status import status
from monitor.cli.sums import sums
from monitor.cli.topics import topics
from monitor.cli.train import train


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "monitor demo                          everything in one process, with a sample feed",
        "monitor doctor -c monitor.toml        check that everything a run needs is there",
        "monitor run -c monitor.toml           the daemon",
        "echo 'Shares plunge' | monitor classify -",
    ),
)
@click.version_option(package_name="sentiment-monitor", prog_name="monitor")
def main() -> None:
    """Streaming financial sentiment: Kafka in, SQL and alerts out."""


DAEMON = (run, healthy, status, doctor, show_settings, demo, sample, listen)
STORAGE = (topics, db, feed, sums, purge, relabel, backfill, replay, offsets, outbox, leases, dead_letters)
MODELS = (classify, entities, explain, train, models, evaluate)
ALERTS = (rules, alerts, backtest)
for command in (*DAEMON, *STORAGE, *MODELS, *ALERTS, bench):
    main.add_command(command)

if __name__ == "__main__":
    main()
