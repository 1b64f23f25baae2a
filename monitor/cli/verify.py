"""`monitor verify`: pages, computed again from what was known when they were made."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from monitor.cli.maintenance import open_store
from monitor.cli.options import EXISTING, config_option, examples, json_option, plain_errors
from stream.domain.documents import printable

if TYPE_CHECKING:
    from alerts.detectors.base import Rule
    from alerts.verification import Verification
    from monitor.runtime.settings import Settings
    from stream.storage.batches import Store

# The exit status of each verdict: that of the worst of all pages counts.
STATUS = {"equal": 0, "different": 1, "unknown": 2}


@click.command(
    epilog=examples(
        "monitor verify 3f2a90c1:begin:1      one page",
        "monitor verify 3f2a90c1              all pages of an incident",
        "monitor verify --all --json",
        "monitor verify --backtest pages.json",
    )
)
@click.argument("page", required=False)
@config_option
@click.option("--all", "every", is_flag=True, help="Verify every stored page.")
@click.option(
    "--backtest",
    "backtest_file",
    type=EXISTING,
    help="Verify the pages of a backtest of this database: what `monitor backtest --json` printed.",
)
@click.option("--rules", "rule_file", type=EXISTING, help="Rule file; default: alerts.rules of the settings.")
@json_option
@plain_errors
def verify(
    page: str | None,
    config: Path | None,
    every: bool,
    backtest_file: Path | None,
    rule_file: Path | None,
    as_json: bool,
) -> None:
    """Compute pages again from what was known when they were made, and say whether they come out equal.

    PAGE is the key of a page, or the id of an incident.  Labels and stories count as they were then, so that
    relabelling changes no verdict; what changed since is named.  The exit code is 0 if all are equal, 1 if
    one is different, and 2 if none is but something that is needed is gone.
    """
    if sum((page is not None, every, backtest_file is not None)) != 1:
        raise click.UsageError("name a PAGE, or give --all or --backtest FILE")
    verdicts: Counter[str] = Counter()
    with open_store(config) as (settings, store):
        rules = _rules(settings, rule_file)
        for key, verification in _stored(settings, store, rules, page):
            verdicts[verification.verdict] += 1
            _show(key, verification, as_json)
    _conclude(verdicts, as_json)


def _conclude(verdicts: Mapping[str, int], as_json: bool) -> None:
    """Say how many pages have which verdict, and exit with the status of the worst."""
    if not as_json:
        click.echo(", ".join(f"{verdicts.get(name, 0)} {name}" for name in STATUS))
    sys.exit(next((STATUS[name] for name in ("different", "unknown") if verdicts.get(name)), 0))


def _rules(settings: "Settings", rule_file: Path | None) -> "tuple[Rule, ...]":
    from alerts.rule_file import load_rules
    from models.network.info import read_info
    from models.plan import event_types
    from monitor.entity_ids import resolver_of_settings

    topics = read_info(settings.models.weights).labels["topic"]
    return load_rules(
        rule_file or settings.alerts.rules,
        topics,
        settings.alerts.time_zone,
        resolver_of_settings(settings.models),
        event_types=event_types(settings.models),
    )


def _stored(
    settings: "Settings", store: "Store", rules: "tuple[Rule, ...]", name: str | None
) -> "Iterator[tuple[str, Verification]]":
    """The stored pages of this name, or all of them, with what became of each.

    Raises DataError if there are none of the name.
    """
    from models.errors import DataError
    from monitor.verification import PageVerifier
    from stream.storage.alerts import SqlEpisodeStore
    from stream.storage.known import page_keys
    from stream.storage.leases import Lease

    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "monitor verify", 20), settings.kafka.alerts)
    verifier = PageVerifier(store, episodes, rules)
    keys = page_keys(store.engine, name)
    if not keys and name is not None:
        raise DataError(f"there is no page and no incident {name!r}: `monitor verify --all` names the pages")
    for key in keys:
        page = episodes.page(key)
        if page is not None:
            yield key, verifier.verify(page)


def _show(key: str, verification: "Verification", as_json: bool) -> None:
    """Print what became of a page: a line of JSON, or lines for people."""
    if as_json:
        fields = {"page": key, "verdict": verification.verdict} | msgspec.to_builtins(verification)
        click.echo(msgspec.json.encode(fields).decode())
        return
    click.echo(f"{key}: {verification.verdict}")
    for what, findings in (
        ("differs", verification.differences),
        ("not known", verification.missing),
        ("since then", verification.since),
    ):
        for finding in findings:
            click.echo(f"  {what}, {finding.part}: {printable(finding.text)}")
