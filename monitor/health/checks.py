"""The checks of `monitor doctor`: is everything there that a run needs, and if not, what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from alerts.delivery import reach
from alerts.errors import AlertError
from alerts.rules.rule_file import load_rule_set, load_rules
from alerts.windows.labelled_hours import TOLERATED_SHARE
from alerts.windows.window_reader import longest_comparison
from models import backend_selection, loading
from models.entities.gazetteer import Gazetteer
from models.errors import ModelError
from models.network.info import read_info
from models.plan import event_types
from models.settings import ModelSettings
from monitor.entity_ids import resolver_of_settings
from monitor.health.finding import Finding
from monitor.health.problems import outbox_problems
from monitor.mutes import read_mutes
from monitor.runtime import settings as settings_module
from monitor.runtime.classifier import latest_model
from monitor.runtime.open_files import open_file_limit
from monitor.runtime.settings import Settings, SettingsError
from monitor.runtime.tasks.installation import outbox_targets
from monitor.trading_calendars import REACH, calendar_problems, calendars_ending, names_of, read_calendars
from stream import offsets
from stream.domain.errors import BrokerError, SchemaError, StoreUnavailable, StreamError
from stream.domain.sums import TimeRange
from stream.kafka import admin
from stream.storage import backfill, database
from stream.storage.batches import Store
from stream.storage.leases import read_leases
from stream.storage.outbox import Outbox
from stream.storage.sql import database_now
from stream.stories.publishers import load_publishers
from stream.unsupported_sources import FEWEST_TEXTS

# A text whose sentiment no working classifier gets wrong.
CANARY_TEXT, CANARY_SENTIMENT = "Company shares plunge after huge loss and fraud inquiry", "negative"
MAX_SKEW_SECONDS = 5.0
# Texts are compared with the list of entities so far back.
RECENT = timedelta(days=30)
# Open files of a monitor with every connection that it keeps, and room.
FILES_NEEDED = 1024


def examine(config: Path | None) -> Iterator[Finding]:
    """Run the checks one after another; each yields one finding, whatever goes wrong in it."""
    try:
        settings = settings_module.load_as_set(config)
    except SettingsError as error:
        yield Finding("settings", False, str(error))
        return
    yield Finding("settings", True, str(config) if config else "defaults and environment")
    yield from examine_settings(settings)


def examine_settings(settings: Settings) -> Iterator[Finding]:
    """The same checks of settings that could be read."""
    checks: dict[str, Callable[[Settings], str]] = {
        "model": _model,
        "second opinion": _second_opinion,
        "rules": _rules,
        "calendars": _calendars,
        "mutes": _mutes,
        "database": _database,
        "clock": _clock,
        "labels": _labels,
        "entities": _entities,
        "publishers": _publishers,
        "broker": _broker,
        "offsets": _offsets,
        "languages": _languages,
        "outbox": _outbox,
        "receivers": _receivers,
        "files": _open_files,
    }
    for name, check in checks.items():
        try:
            yield Finding(name, True, check(settings))
        except (ModelError, AlertError, StreamError) as error:
            yield Finding(name, False, str(error))


def _open_files(settings: Settings) -> str:
    """Whether the connections of the HTTP port leave enough files for broker and database."""
    limit, needed = open_file_limit(), max(FILES_NEEDED, 4 * settings.http.max_connections)
    if limit < needed:
        raise StreamError(
            f"a process started from here may open only {limit} files, {needed} are needed with "
            f"http.max_connections = {settings.http.max_connections}: raise the hard limit "
            "(systemd: LimitNOFILE=, shell: ulimit -Hn)"
        )
    return f"{limit} may be open"


def _model(settings: Settings) -> str:
    engine = loading.load(_as_it_would_run(settings), backend_selection.cached_backend)
    (prediction,) = engine.classify([CANARY_TEXT], ["en"])
    if prediction.sentiment != CANARY_SENTIMENT:
        raise ModelError(
            f"{engine.version} calls {CANARY_TEXT!r} {prediction.sentiment}: its labels are mixed up "
            "or it is untrained; set models.weights to a working classifier"
        )
    reads = engine.reader(CANARY_TEXT, "en")
    return f"{engine.version} on {reads.device.type} in {reads.number_type}"


def _second_opinion(settings: Settings) -> str:
    """Which texts a larger model labels, or why none does."""
    models = settings_module.resolve_weights(settings).models
    return loading.describe_second_opinion(models, backend_selection.cached_backend, latest_model(settings))


def _as_it_would_run(settings: Settings) -> ModelSettings:
    """The settings of the models, with what a monitor of this database would make of them."""
    return loading.as_labelled(settings_module.resolve_weights(settings).models, latest_model(settings))


def _rules(settings: Settings) -> str:
    models = settings_module.resolve_weights(settings).models
    loaded = load_rule_set(
        settings.alerts.rules,
        read_info(models.weights).labels["topic"],
        settings.alerts.time_zone,
        resolver_of_settings(settings.models),
        settings.alerts.watchlist,
        event_types=event_types(models),
    )
    return f"{len(loaded.rules)} in {settings.alerts.rules}"


def _calendars(settings: Settings) -> str:
    """Whether the trading calendars that rules name can be read."""
    names = names_of(load_rules(settings.alerts.rules, (), settings.alerts.time_zone))
    if not names:
        return "no rule names a trading calendar"
    now = datetime.now(UTC)
    read = read_calendars(names, now - REACH)
    if problems := calendar_problems(read):
        raise AlertError(f"{'; '.join(problems)}; rules go on as without a calendar where nothing is known")
    return "; ".join([f"{', '.join(names)} can be read", *calendars_ending(read, now)])


def _mutes(settings: Settings) -> str:
    """Whether the file of mutes can be used, and what is muted now."""
    if settings.alerts.mutes is None:
        return "none are planned"
    found = read_mutes(settings.alerts.mutes, settings)
    now = datetime.now(UTC)
    muted = ", ".join(mute.name for mute in found.entries if mute.holds(now))
    return f"{len(found.entries)} in {settings.alerts.mutes}; {muted or 'none'} now"


def _database(settings: Settings) -> str:
    url = make_url(settings.database.url.get_secret_value())
    shown = url.render_as_string(hide_password=True)
    if database.missing_file(settings.database):
        raise SchemaError(f"{shown}: no such file yet: run `monitor db upgrade`")
    try:
        with _connected(settings) as engine:
            database.check_schema(engine)
            return f"{engine.dialect.name} answers, schema at {database.latest_revision()}"
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{shown}: {error}; check database.url and that it is running") from error


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    """The store, for checks that compare something with it; `_database` checks the store itself."""
    if database.missing_file(settings.database):
        raise SchemaError("not compared, since there is no database")
    try:
        with _connected(settings) as engine:
            database.check_schema(engine)
            yield Store(engine, settings.stream.window_seconds)
    except StoreUnavailable as error:
        raise StoreUnavailable("not compared, since the database does not answer") from error


def _labels(settings: Settings) -> str:
    """Compare the model that labelled what the rules compare with to the one that would run."""
    version = loading.version(_as_it_would_run(settings), backend_selection.cached_backend)
    span = longest_comparison(load_rules(settings.alerts.rules, (), settings.alerts.time_zone))
    now = datetime.now(UTC)
    with _store(settings) as store:
        counts = store.reads.count_by_model(now - span, now)
    total = sum(counts.values())
    others = sum(count for (_, model), count in counts.items() if model != version)
    if others > TOLERATED_SHARE * total:
        raise StreamError(
            f"{others} of the {total} documents that the rules compare with were labelled by another model "
            f"than {version}: rules page nobody until `monitor relabel --for-switch` has run"
        )
    return f"what the rules compare with is labelled by {version}"


def _entities(settings: Settings) -> str:
    """The list of entities, and how many recent texts were searched with another one: that is no fault."""
    gazetteer = Gazetteer.load(settings.models.entities)
    now = datetime.now(UTC)
    recent = TimeRange(now - RECENT, now)
    with _store(settings) as store:
        outdated = backfill.count_outdated(store, recent, gazetteer.version)
    found = f"{len(gazetteer.entities)} in list {gazetteer.version}"
    if not outdated:
        return f"{found}; no text of the last {RECENT.days} days was searched with another list"
    return (
        f"{found}; {outdated} texts of the last {RECENT.days} days were searched with another list: "
        f"`monitor backfill entities --since {recent.start:%Y-%m-%d}` searches them again"
    )


def _publishers(settings: Settings) -> str:
    """The list of publishers, which tells who said a text first."""
    publishers = load_publishers(settings.stream.publishers)
    return (
        f"{len({*publishers.hosts.values(), *publishers.names.values()})} with {len(publishers.hosts)} hosts"
    )


def _languages(settings: Settings) -> str:
    """Whether a feed sends texts that the model does not read, or says so of texts that it would read."""
    with _store(settings) as store:
        since = datetime.now(UTC) - timedelta(days=1)
        found = store.reads.unsupported_sources(since, settings.stream.unsupported_share, FEWEST_TEXTS)
    if found:
        feeds = ", ".join(
            f"{n} of {total} texts of {source!r} ({kind})" for kind, source, total, n in found[:5]
        )
        raise StreamError(
            f"unsupported in the last day: {feeds}; see title and lang in the table documents: a wrong lang "
            "is for the feed to mend, and a feed in another language says nothing here"
        )
    return "every source of the last day is read"


def _outbox(settings: Settings) -> str:
    """Whether anything waits too long, or for receivers and topics that the settings do not name."""
    with _store(settings) as store:
        with database.reading(store.engine) as connection:
            now = database_now(connection)
        rows = Outbox(store.engine).by_target(now)
        problems = list(outbox_problems(rows, outbox_targets(settings), read_leases(store.engine), now))
    if problems:
        raise StreamError("; ".join(map(str, problems)))
    return f"{sum(row.entries for row in rows)} entries wait, none of them too long"


def _receivers(settings: Settings) -> str:
    """Whether every receiver answers.  None is sent a page: `monitor alerts test` does that."""
    alerts = settings.alerts
    urls = {**alerts.webhooks, **alerts.alertmanagers}
    addresses: list[tuple[str, str | None]] = [(name, url.get_secret_value()) for name, url in urls.items()]
    addresses += [
        (name, reach.address_of_channel(url.get_secret_value())) for name, url in alerts.channels.items()
    ]
    reached = reach.try_to_reach(addresses, alerts.webhook_seconds)
    if problems := [f"{one.name}: {one.problem}" for one in reached if one.problem]:
        raise AlertError(f"cannot be reached: {'; '.join(problems)}")
    unknown = [one.name for one in reached if one.unknown]
    known = [one.name for one in reached if not one.unknown]
    answer = f"{', '.join(known)} can be reached" if known else "none was asked"
    return answer + (f"; not known where {', '.join(unknown)} sends to" if unknown else "")


def _clock(settings: Settings) -> str:
    """Compare the clocks of this machine, the database (SQLite uses this machine's) and the workers."""
    compared = _own_clock(settings)
    try:
        with _store(settings) as store, database.reading(store.engine) as connection:
            now, received = database_now(connection), store.reads.last_received()
    except SchemaError:
        return compared
    ahead = (received - now).total_seconds() if received else 0.0
    if ahead > MAX_SKEW_SECONDS:
        raise StreamError(
            f"the latest document was received {ahead:.0f} s after now: the clock of the worker "
            "that wrote it is ahead, or the database's was set back: set all clocks by NTP"
        )
    return compared


def _own_clock(settings: Settings) -> str:
    if settings.database.url.get_secret_value().startswith("sqlite"):
        return "this machine's own (SQLite has no other)"
    try:
        with _connected(settings) as engine, database.reading(engine) as connection:
            before = datetime.now(UTC)
            database_time = connection.execute(select(func.clock_timestamp())).scalar_one()
    except StoreUnavailable as error:
        raise StoreUnavailable("not compared, since the database does not answer") from error
    skew = (database_time - before).total_seconds()
    if abs(skew) > MAX_SKEW_SECONDS:
        raise StreamError(f"this clock and the database's differ by {skew:+.1f} s: set both by NTP")
    return f"within {abs(skew):.1f} s of the database's"


@contextmanager
def _connected(settings: Settings) -> Iterator[sqlalchemy.Engine]:
    engine = database.connect(settings.database)
    try:
        yield engine
    finally:
        engine.dispose()


def _broker(settings: Settings) -> str:
    kafka = settings.kafka
    try:
        topics = admin.incarnations(kafka, (*kafka.kinds, *kafka.output_topics))
    except BrokerError as error:
        raise BrokerError(f"{error}; check kafka.bootstrap_servers and that it is running") from error
    return f"{kafka.bootstrap_servers} answers, topics {', '.join(topics)}"


def _offsets(settings: Settings) -> str:
    kafka = settings.kafka
    with _store(settings) as store:
        offsets.check(kafka, store, admin.incarnations(kafka, kafka.kinds))
    return "SQL's offsets are in Kafka's log, and the group's commits are not ahead of them"
