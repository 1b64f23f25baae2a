"""`monitor doctor`: the command; `monitor.health.checks` holds what it checks."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from monitor.cli.options import examples, json_option


@contextmanager
def without_logs() -> Iterator[None]:
    """Log nothing meanwhile: the findings say all there is to say."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@click.command(epilog=examples("monitor doctor -c monitor.toml", "monitor doctor --json"))
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Settings file (TOML).")
@json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Check what a run needs, and say what to do about what is missing.

    Checks the settings, model, second opinion, rules, trading calendars, mutes, publishers, database, clock,
    labels, entities, broker, offsets, languages of sources, outbox, receivers, and how many files may be
    open.
    """
    from monitor.health.checks import examine

    findings = []
    with without_logs():
        for finding in examine(config):
            findings.append(finding)
            if not as_json:
                mark = click.style("ok  ", "green") if finding.ok else click.style("FAIL", "red")
                click.echo(f"{mark} {finding.check:9} {finding.detail}")
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings]))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
