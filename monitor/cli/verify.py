"""`monitor verify`: pages, computed again from what was known when they were made."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from monitor.cli.maintenance import open_store
from monitor.cli.options import (
    EXISTING,
    config_option,
    data_options,
    examples,
    json_option,
    load_settings,
    plain_errors,
)
from stream.domain.documents import Kind, printable

if TYPE_CHECKING:
    from alerts.detectors.base import Rule
    from alerts.incidents.verification import Verification
    from monitor.runtime.settings import Settings
    from stream.feed import RowOptions

DAY = timedelta(days=1)
# The exit status of each verdict: that of the worst of all pages counts.
STATUS = {"equal": 0, "different": 1, "unknown": 2}


@click.command(
    epilog=examples(
        "monitor verify 3f2a90c1:begin:1                   one page",
        "monitor verify 3f2a90c1                           all pages of an incident",
        "monitor verify --all --json",
        "monitor verify --backtest pages.json              the pages of `monitor backtest --json`",
        "monitor verify --backtest pages.json --data headlines.jsonl",
    )
)
@click.argument("page", required=False)
@config_option
@click.option("--all", "every", is_flag=True, help="Verify every stored page.")
@click.option(
    "--backtest",
    "backtest_file",
    type=EXISTING,
    help="Verify the pages of a backtest: what `monitor backtest --json` printed.",
)
@click.option("--rules", "rule_file", type=EXISTING, help="Rule file; default: alerts.rules of the settings.")
@click.option("--data", type=EXISTING, help="The texts of the backtest, if they were not in the database.")
@data_options
@json_option
@plain_errors
def verify(
    page: str | None,
    config: Path | None,
    every: bool,
    backtest_file: Path | None,
    rule_file: Path | None,
    data: Path | None,
    kind: str,
    columns: Mapping[str, str],
    encoding: str | None,
    zone: tzinfo | None,
    excel_days: bool,
    as_json: bool,
) -> None:
    """Compute pages again from what was known when they were made, and say whether they come out equal.

    PAGE is the key of a page, or the id of an incident.  Labels and stories count as they were then, so that
    relabelling changes no verdict; what changed since is named.  The exit code is 0 if all are equal, 1 if
    one is different, and 2 if none is but something that is needed is gone.
    """
    if sum((page is not None, every, backtest_file is not None)) != 1:
        raise click.UsageError("name a PAGE, or give --all or --backtest FILE")
    if data is not None and backtest_file is None:
        raise click.UsageError("--data has the texts of a --backtest: name its file too")
    from stream.domain.files.file_times import TimeFormat
    from stream.feed import RowOptions

    options = RowOptions(columns, kind=Kind(kind), times=TimeFormat(zone, excel_days))
    if backtest_file is None:
        found = _stored(config, rule_file, page)
    else:
        found = _tested(config, rule_file, backtest_file, data, options, encoding)
    verdicts: Counter[str] = Counter()
    for key, verification in found:
        verdicts[verification.verdict] += 1
        _show(key, verification, as_json)
    if not as_json:
        click.echo(", ".join(f"{verdicts[name]} {name}" for name in STATUS))
    sys.exit(next((STATUS[name] for name in ("different", "unknown") if verdicts[name]), 0))


def _rules(settings: "Settings", rule_file: Path | None) -> "tuple[tuple[str, ...], tuple[Rule, ...]]":
    """The topics of the model, and the rules of now."""
    from alerts.rules.rule_file import load_rules
    from models.network.info import read_info
    from models.plan import event_types
    from monitor.entity_ids import resolver_of_settings

    topics = tuple(read_info(settings.models.weights).labels["topic"])
    rules = load_rules(
        rule_file or settings.alerts.rules,
        topics,
        settings.alerts.time_zone,
        resolver_of_settings(settings.models),
        event_types=event_types(settings.models),
    )
    return topics, rules


def _stored(
    config: Path | None, rule_file: Path | None, name: str | None
) -> "Iterator[tuple[str, Verification]]":
    """The stored pages of this name, or all of them, with what became of each.

    Raises DataError if there are none of the name.
    """
    from alerts.windows.window_reader import longest_comparison
    from models.errors import DataError
    from monitor.cli.backtest.command import calendars_of
    from monitor.verification import PageVerifier
    from stream.storage.alerts import SqlEpisodeStore
    from stream.storage.known import page_keys
    from stream.storage.leases import Lease

    with open_store(config) as (settings, store):
        _, rules = _rules(settings, rule_file)
        episodes = SqlEpisodeStore(store, Lease(store, "alerts", "monitor verify", 20), settings.kafka.alerts)
        keys = page_keys(store.engine, name)
        if not keys and name is not None:
            raise DataError(f"there is no page and no incident {name!r}: `monitor verify --all` names them")
        verifier: PageVerifier | None = None
        for key in keys:
            page = episodes.page(key)
            if page is None:
                continue
            if verifier is None:  # the first page is the oldest
                since = page.at - longest_comparison(rules) - DAY
                verifier = PageVerifier(store, episodes, rules, calendars_of(rules, since))
            yield key, verifier.verify(page)


def _tested(
    config: Path | None,
    rule_file: Path | None,
    backtest_file: Path,
    data: Path | None,
    options: "RowOptions",
    encoding: str | None,
) -> "Iterator[tuple[str, Verification]]":
    """The pages of a backtest, with what became of each when all was tested again.

    Raises DataError if the file has no pages, and if it was of a file that is not given.
    """
    from alerts.incidents.verification import compare
    from models.errors import DataError
    from monitor.cli.backtest.command import calendars_of
    from monitor.cli.backtest.texts import classify_file
    from monitor.verification import read_backtest, tested_again, texts_of_backtest

    done = read_backtest(backtest_file)
    settings = load_settings(config)
    topics, rules = _rules(settings, rule_file)
    if data is not None:
        texts, _ = classify_file(
            settings, data, options, encoding=encoding, end=done.tested.end, progress=lambda step, share: None
        )
        since = None
    elif done.tested.moment is None:
        raise DataError(f"{backtest_file} is of a backtest of a file: name it with --data")
    else:
        with open_store(config) as (_, store):
            texts, since = texts_of_backtest(store, done.tested, rules)
    if not texts:
        raise DataError("none of the documents of the backtest is there any more")
    calendars = calendars_of(rules, texts[0].published_at)
    again = tested_again(settings.alerts, topics, rules, texts, done.tested.start, since, calendars)
    by_name = {rule.name: rule for rule in rules}
    for page in (*done.pages, *done.others):
        yield page.key, compare(page.inputs, again.get(page.key), by_name)


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
