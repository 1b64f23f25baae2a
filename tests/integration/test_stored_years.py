"""A database of version 0.2.0 with a million documents, half of them purged, is upgraded and goes on working."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import func, select, text

from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_file import load_rules
from stream.codec import Codec
from stream.domain.documents import Document, Kind, Prediction
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition, SkipReason
from stream.domain.sums import TimeRange
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.history import Question, sums_known_at
from stream.storage.outbox import Outbox, decode_messages
from stream.storage.recount import recount
from stream.storage.retention import count_purgeable
from stream.storage.settings import DatabaseSettings
from tests.conftest import Scene, read_topic, run_upgrades
from tests.desk_parts import page_at
from tests.integration.backfills import search
from tests.parts import Receiver, wait_until
from tools import stored_years
from tools.stored_years import END, EPISODES, INCARNATIONS, PURGED_UNTIL, START

pytestmark = pytest.mark.timeout(900)  # the databases are made while the first test waits

# A few minutes are the longest that a monitor may stand still for an upgrade.
LONGEST_UPGRADE = 120.0
SUMS = ", ".join(f"sum({name})" for name in stored_years.SUM_NAMES)
# What an upgrade must not change, in SQL that every version understands.
FINGERPRINTS = {
    "documents": "SELECT status, topic, kind, sentiment, model, text = '', count(*), sum(score), "
    "sum(CAST(score AS BIGINT) * score), min(published_at), max(received_at) FROM documents GROUP BY 1, 2, 3, 4, 5, 6",
    "windows": f"SELECT topic, kind, kafka_partition, count(*), {SUMS} FROM aggregates GROUP BY 1, 2, 3",
    "days": f"SELECT window_start, topic, kind, {SUMS} FROM rollups WHERE width = 86400 GROUP BY 1, 2, 3",
    "hours": f"SELECT topic, kind, count(*), {SUMS} FROM rollups WHERE width = 3600 GROUP BY 1, 2",
    "offsets": "SELECT incarnation, kafka_topic, kafka_partition, next_offset FROM offsets",
    "dead letters": "SELECT reason, item, detail = '', count(*) FROM dead_letters GROUP BY 1, 2, 3",
    "alerts": "SELECT state, message = '', count(*), sum(n) FROM alerts GROUP BY 1, 2",
    "transitions": "SELECT state, count(*), min(at), max(at) FROM alert_transitions GROUP BY 1",
    "deliveries": "SELECT target, outcome, count(*) FROM deliveries GROUP BY 1, 2",
    "outbox": "SELECT target, lane, key, count(*), sum(attempts) FROM outbox GROUP BY 1, 2, 3",
    "marks": "SELECT name, at FROM marks WHERE name = 'purged'",
}
Fingerprints = dict[str, list[str]]
RULES = Path(__file__).parent / "rules_of_0_2_0.yaml"


def fingerprints(url: str) -> Fingerprints:
    engine = database.connect(DatabaseSettings(url=SecretStr(url)))
    try:
        with database.reading(engine) as connection:
            return {
                name: sorted(str(tuple(row)) for row in connection.execute(text(query)))
                for name, query in FINGERPRINTS.items()
            }
    finally:
        engine.dispose()


@dataclass
class Upgraded:
    """A database of a million documents, its fingerprints before and after, and the seconds it took."""

    url: str
    before: Fingerprints
    after_kill: Fingerprints
    after: Fingerprints
    seconds: float
    store: Store


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'old.db'}"
    return str(request.getfixturevalue("postgres").create_database())


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def upgraded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The upgrade is killed once just before its commit, as the worst moment, and then done."""
    url = f"sqlite:///{tmp_path_factory.mktemp('years') / 'old.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    stored_years.make(url)
    before = fingerprints(url)
    assert run_upgrades("last", url) == 1
    after_kill = fingerprints(url)
    settings = DatabaseSettings(url=SecretStr(url))
    started = time.monotonic()
    database.upgrade(settings)
    seconds = time.monotonic() - started
    store = Store(database.connect(settings), 60)
    yield Upgraded(url, before, after_kill, fingerprints(url), seconds, store)
    store.engine.dispose()


def test_an_upgrade_of_a_million_documents_keeps_every_sum_and_takes_minutes_at_most(
    upgraded: Upgraded, record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds", upgraded.seconds)
    for name in FINGERPRINTS:
        assert upgraded.after_kill[name] == upgraded.before[name], f"{name} after a kill before the commit"
        assert upgraded.after[name] == upgraded.before[name], name
    assert len(upgraded.before["days"]) > 1000 and len(upgraded.before["documents"]) > 100
    assert upgraded.seconds < LONGEST_UPGRADE


def test_the_upgraded_schema_is_that_of_a_new_database(upgraded: Upgraded) -> None:
    database.check_schema(upgraded.store.engine)
    with database.reading(upgraded.store.engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_a_recount_of_the_upgraded_documents_finds_no_wrong_sum(upgraded: Upgraded) -> None:
    for day in (START + timedelta(days=10), PURGED_UNTIL - timedelta(hours=12), END - timedelta(days=1)):
        assert recount(upgraded.store, TimeRange(day, day + timedelta(hours=6))) == 0


def documents_sent_before(store: Store) -> list[Document]:
    """Stored documents, purged ones and unusual identities among them, as their sender would send them again."""
    numbers = [*range(1, 30), 1007, 1008, 1009, 500_007, 700_007, 700_008, 700_009, 999_999]
    table = schema.documents
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(table).where(table.c.kafka_offset.in_(numbers)))
        return [
            Codec(timedelta(days=1), 1_000_000).decode(
                json.dumps(
                    {
                        "id": row.id,
                        "source": row.source,
                        "published_at": row.published_at.isoformat(),
                        "text": "again",
                    }
                ).encode(),
                Kind(row.kind),
                END,
            )
            for row in rows
        ]


def test_documents_that_are_sent_again_after_the_upgrade_still_count_once(upgraded: Upgraded) -> None:
    documents = documents_sent_before(upgraded.store)
    assert len(documents) == 37
    prediction = Prediction(
        "m", "en", "Macro", "negative", -0.5, {"topic": {"Macro": 1}, "sentiment": {"negative": 1}}
    )
    outcomes = [
        ClassifiedDocument(
            MessagePosition(document.kind, Partition("cluster-2/topic-9", "news", 0), offset, b"{}"),
            document,
            prediction,
        )
        for offset, document in enumerate(documents)
    ]
    result = upgraded.store.write(Batch(outcomes), lambda new, dead: [], END)
    assert list(result.documents) == []
    with database.reading(upgraded.store.engine) as connection:
        table = schema.documents
        keys = [item.key for item in outcomes]
        erased = connection.scalar(
            select(func.count()).where(table.c.key.in_(keys), table.c.text == "", table.c.title == "")
        )
    skipped: Counter[SkipReason] = Counter()
    for (_, reason), count in result.skipped.items():
        skipped[reason] += count
    assert erased and skipped == {SkipReason.REPEAT: erased, SkipReason.CHANGED: len(documents) - erased}


def test_messages_below_the_stored_offsets_are_still_dropped(upgraded: Upgraded) -> None:
    partition = Partition(INCARNATIONS["news"], "news", 1)
    document = Document("never seen", Kind.NEWS, "wire 1", END, text="x")
    item = ClassifiedDocument(
        MessagePosition(Kind.NEWS, partition, 1000, b"{}"), document, Prediction("m", None)
    )
    result = upgraded.store.write(Batch([item]), lambda new, dead: [], END)
    assert result.skipped == {(Kind.NEWS, SkipReason.REDELIVERED): 1}
    assert (
        upgraded.store.next_offsets([INCARNATIONS["news"]])[partition].offset > stored_years.DOCUMENTS - 100
    )


def test_what_is_purged_stays_purged_and_is_not_purged_again(upgraded: Upgraded) -> None:
    assert count_purgeable(upgraded.store, PURGED_UNTIL, END) == 0
    in_a_day = count_purgeable(upgraded.store, PURGED_UNTIL + timedelta(days=1), END)
    assert 0 < in_a_day < stored_years.DOCUMENTS / 300


def test_the_entities_of_days_are_searched_for_after_the_upgrade_and_known_from_then_on(
    upgraded: Upgraded,
) -> None:
    """The whole of it is the same, and takes minutes."""
    days = TimeRange(END - timedelta(days=40), END - timedelta(days=35))
    upgrade_ended = datetime.now(UTC)
    assert search(upgraded.store, days) > stored_years.DOCUMENTS / 200
    assert search(upgraded.store, days) == 0
    assert recount(upgraded.store, days) == 0
    table = schema.entity_aggregates
    with database.reading(upgraded.store.engine) as connection:
        query = select(table.c.entity, func.sum(table.c.n)).where(table.c.width == schema.DAY)
        entity, n = max(connection.execute(query.group_by(table.c.entity)), key=lambda row: int(row[1]))
    question = Question(days, entity=entity)
    then = sums_known_at(upgraded.store, question, upgrade_ended).total
    now = sums_known_at(upgraded.store, question, datetime.now(UTC)).total
    before = sums_known_at(upgraded.store, question, START).total
    assert before is None and then is not None and now is not None
    assert (then.n, now.n) == (0, int(n)) and now.n > 100


def test_the_links_of_old_pages_show_their_alerts(upgraded: Upgraded) -> None:
    def page(path: str) -> str:
        return page_at(path, upgraded.store, lambda: END)

    assert page("/alerts")
    for number in (0, EPISODES - 1, EPISODES, EPISODES + 1, EPISODES + 2):
        found = page(f"/alerts/{number:016x}")
        assert f"episode {number}" in found
        assert ("Shares of the company" in found) == (number > 0), "the evidence, unless it is purged"
    assert "webhook:desk" in page("/alerts/" + stored_years.PAGE["link"].rpartition("/")[2])


def test_what_waited_in_the_outbox_is_sent_as_it_was(upgraded: Upgraded) -> None:
    targets = ["kafka:predictions", "kafka:dead-letters", "kafka:alerts", "kafka:news", "webhook:desk"]
    entries = Outbox(upgraded.store.engine).due(targets, END + timedelta(days=1), 100)
    messages = [
        (each.key, json.loads(each.value))
        for entry in entries
        if entry.target.startswith("kafka:")
        for each in decode_messages(entry.body)
    ]
    sent = [*stored_years.PREDICTIONS] * 2 + stored_years.DEAD_LETTER_MESSAGES
    assert messages == [*sent, *stored_years.ALERT_EVENTS, *stored_years.HEARTBEAT_MESSAGES]
    (page,) = [entry for entry in entries if entry.target == "webhook:desk"]
    assert (page.key, json.loads(page.body)) == (stored_years.PAGE["key"], stored_years.PAGE)


def test_a_kill_at_any_statement_of_an_upgrade_leaves_what_the_next_one_finishes(empty_url: str) -> None:
    stored_years.make(empty_url, 3000)
    before = fingerprints(empty_url)
    assert run_upgrades("each", empty_url) > 0
    assert fingerprints(empty_url) == before
    engine = database.connect(DatabaseSettings(url=SecretStr(empty_url)))
    database.check_schema(engine)
    engine.dispose()


def test_a_kill_within_the_first_upgrade_leaves_what_the_next_one_finishes(empty_url: str) -> None:
    assert run_upgrades("some", empty_url) > 10
    engine = database.connect(DatabaseSettings(url=SecretStr(empty_url)))
    database.check_schema(engine)
    engine.dispose()


def test_a_rule_file_of_every_type_that_0_2_0_read_is_still_read(tmp_path: Path) -> None:
    rules = load_rules(RULES, stored_years.TOPICS)
    assert {rule.type_name() for rule in rules} == set(RULE_TYPES)
    assert len(rules) == 8


def test_a_monitor_on_an_upgraded_database_goes_on(
    scene: Scene, sent: Callable[[str, list[Any]], None], receiver: Receiver
) -> None:
    """Old rules, old links, what waited in the outbox, old documents sent again and new ones."""
    stored_years.make(scene.database_url, 3000)
    topics = {"dead-letters": scene.kafka.dead_letters} | {
        name: getattr(scene.kafka, name) for name in ("predictions", "alerts", "news")
    }
    engine = database.connect(DatabaseSettings(url=SecretStr(scene.database_url)))
    with database.writing(engine) as connection:
        for old, new in topics.items():
            renamed = {"old": f"kafka:{old}", "new": f"kafka:{new}"}
            connection.execute(text("UPDATE outbox SET target = :new WHERE target = :old"), renamed)
    rules = scene.folder / "rules.yaml"  # with a topic of the classifier that stands in, which loads at once
    rules.write_text(RULES.read_text().replace('[Macro, "Fed | Central Banks"]', "[Alpha]"))
    scene.environ |= {
        "MONITOR_ALERTS__RULES": str(rules),
        "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
    }
    scene.prepare()
    fields = {
        "published_at": datetime.now(UTC).isoformat(),
        "text": "Shares of the company fall after a loss",
    }
    again = [{"id": f"id-{number}", "source": f"wire {number % 40}", **fields} for number in range(12, 22)]
    new = [{"id": f"new-{number}", "source": "wire 1", **fields} for number in range(10)]
    sent(scene.kafka.news, again + new)
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: (monitor.metric("sentiment_documents_total") or 0) >= 20, 60, "all are processed")
    with database.reading(engine) as connection:
        count = connection.scalar(text("SELECT count(*) FROM documents WHERE source <> 'monitor-heartbeat'"))
    engine.dispose()
    assert count == 3000 + len(new)
    status, page = monitor.get(f"/alerts/{stored_years.PAGE['id']}")
    assert status == 200 and "Shares of the company" in page
    waited = [*stored_years.PREDICTIONS] * 2
    messages = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, len(waited) + len(new))
    assert all(messages.count(message) == 2 for message in waited) and len(messages) == len(waited) + len(new)
    wait_until(lambda: receiver.taken, 30, "the page that waited")
    assert receiver.taken[0]["key"] == stored_years.PAGE["key"]
    assert monitor.stop() == 0
