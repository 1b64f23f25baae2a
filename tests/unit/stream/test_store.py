"""The store on both databases: each test runs on SQLite and on PostgreSQL."""

import threading
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from msgspec import structs
from pydantic import SecretStr
from sqlalchemy import func, select, text, update

from alerts.backtest import MemoryStore, Text
from stream.domain.alerts import Alert, EvidenceItem, PageRequest, Transition
from stream.domain.documents import SCORE_SCALE, Document, Kind, Prediction
from stream.domain.errors import LeaseLost, SchemaError, StoreRefused, StoreUnavailable
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    DeadLetter,
    MessagePosition,
    OutboundMessage,
    Partition,
)
from stream.domain.sums import Scope, Selection
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import KafkaMessage, Outbox, decode_messages, enqueue
from stream.storage.settings import DatabaseSettings
from stream.storage.windows import widest_windows
from tests.conftest import next_offsets

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
NEWS_0, NEWS_1 = Partition("cluster/a", "news", 0), Partition("cluster/a", "news", 1)


HOOKS = ["webhook:a", "webhook:b"]


def nothing(_new: Sequence[ClassifiedDocument], _dead: Sequence[DeadLetter]) -> list[OutboundMessage]:
    return []


def judged(
    id_: str, offset: int, partition: Partition = NEWS_0, score: float = -0.5, at: datetime = NOW,
    sentiment: str = "negative", text_: str = "Shares fall",
) -> ClassifiedDocument:  # fmt: skip
    document = Document(id_, Kind.NEWS, "wire", at, title=text_)
    probabilities = {"topic": {"Earnings": 1.0}, "sentiment": {sentiment: 0.7}}
    prediction = Prediction("m-1", "en", "Earnings", sentiment, score, probabilities)
    return ClassifiedDocument(MessagePosition(Kind.NEWS, partition, offset, b"{}"), document, prediction)


def dead(offset: int, partition: Partition = NEWS_0) -> DeadLetter:
    return DeadLetter(MessagePosition(Kind.NEWS, partition, offset, b"\xff"), "not_utf8", "bad \0 bytes")


def count(store: Store, table: object) -> int:
    with database.reading(store.engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def write(store: Store, *outcomes: ClassifiedDocument | DeadLetter) -> object:
    return store.write(Batch(outcomes), nothing, NOW)


def test_a_batch_is_written_once_however_often_it_is_delivered(store: Store) -> None:
    batch = [judged("a", 0), judged("b", 1, score=0.25, sentiment="positive"), dead(2)]
    first = store.write(Batch(batch), nothing, NOW)
    again = store.write(Batch(batch), nothing, NOW)
    assert (len(first.documents), len(first.dead_letters), first.duplicates) == (2, 1, {})
    assert (len(again.documents), len(again.dead_letters), again.duplicates) == (
        0,
        0,
        {("news", "redelivered"): 3},
    )
    (total,) = store.reads.sums(NOW - timedelta(minutes=1), NOW)
    assert (total.n, total.negative, total.positive, total.score_sum) == (2, 1, 1, -2500)
    assert total.score_squares == 5000**2 + 2500**2
    assert count(store, schema.documents) == 2
    assert count(store, schema.dead_letters) == 1
    assert next_offsets(store, "cluster/a") == {("news", 0): 3}


def test_a_document_that_comes_again_under_another_offset_or_partition_counts_once(store: Store) -> None:
    write(store, judged("a", 0), judged("a", 1))
    again = store.write(Batch([judged("a", 7, NEWS_1)]), nothing, NOW)
    assert again.duplicates == {("news", "repeat"): 1}
    assert store.reads.sums(NOW - timedelta(hours=1), NOW)[0].n == 1
    assert next_offsets(store, "cluster/a") == {("news", 0): 2, ("news", 1): 8}


def test_holes_in_the_offsets_are_counted_and_offsets_never_go_back(store: Store) -> None:
    first = store.write(Batch([judged("a", 90)]), nothing, NOW)
    second = store.write(Batch([judged("c", 100)]), nothing, NOW)
    third = store.write(Batch([judged("b", 40)]), nothing, NOW)
    assert (first.missing_offsets, second.missing_offsets, third.missing_offsets) == (0, 9, 0)
    assert next_offsets(store, "cluster/a") == {("news", 0): 101}
    assert count(store, schema.documents) == 2


def test_a_new_incarnation_of_a_topic_starts_again_at_zero(store: Store) -> None:
    write(store, judged("a", 50))
    write(store, judged("b", 0, Partition("cluster/b", "news", 0)))
    assert count(store, schema.documents) == 2
    assert next_offsets(store, "cluster/b") == {("news", 0): 1}


def test_partitions_add_up_for_the_reader(store: Store) -> None:
    write(store, judged("a", 0, NEWS_0), judged("b", 0, NEWS_1))
    assert count(store, schema.aggregates) == 2
    (total,) = store.reads.sums(NOW - timedelta(hours=1), NOW)
    assert (total.n, total.score_sum) == (2, -10_000)


def test_two_workers_writing_the_same_documents_count_each_once(store: Store) -> None:
    batches = [
        [judged(str(i), i, partition) for i in order]
        for partition, order in ((NEWS_0, range(200)), (NEWS_1, reversed(range(200))))
    ]
    errors: list[BaseException] = []

    def work(batch: list[ClassifiedDocument]) -> None:
        try:
            for at in range(0, 200, 20):
                write(store, *batch[at : at + 20])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(part.n for part in store.reads.sums(NOW - timedelta(hours=1), NOW)) == 200
    assert count(store, schema.documents) == 200


@pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)
def test_values_the_database_cannot_hold_are_refused_whole(store: Store) -> None:
    with pytest.raises(StoreRefused):
        write(store, judged("a", 0), judged("b", 1, text_="a \0 b"))
    assert count(store, schema.documents) == 0
    assert next_offsets(store, "cluster/a") == {}


def test_a_database_that_is_away_is_unavailable_not_refused() -> None:
    engine = database.connect(DatabaseSettings(url="postgresql+psycopg://u:secret@127.0.0.1:1/x"))
    with pytest.raises(StoreUnavailable) as caught:
        write(Store(engine, 60), judged("a", 0))
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_the_evidence_is_the_lowest_scores_of_the_period(store: Store) -> None:
    write(
        store,
        judged("mild", 0, score=-0.1),
        judged("worst", 1, score=-0.9),
        judged("old", 2, score=-1.0, at=NOW - timedelta(hours=3)),
    )
    near = Scope("Earnings", ("news",), NOW - timedelta(hours=1), NOW + timedelta(seconds=1))
    found = store.reads.most_negative(near, 5)
    assert [exhibit.id for exhibit in found] == ["worst", "mild"]
    assert store.reads.most_negative(replace(near, topic="IPO"), 5) == []
    assert store.reads.most_negative(replace(near, kinds=("comment",)), 5) == []


def test_what_the_rules_read_is_the_same_in_sql_and_in_memory(store: Store) -> None:
    minute = NOW.replace(second=0)
    moods = ["negative", "neutral", "positive", "negative", "negative"]
    texts = [
        Text(
            f"d{i}", f"wire{i % 3}", "news", minute - i * timedelta(minutes=7), "Shares fall", "Earnings",
            mood, -5000 + i, f"author{i % 2}", ("AAPL", 'A"B%') if i % 2 else (), "zh" if i == 4 else "en",
        )
        for i, mood in enumerate(moods * 4)
    ]  # fmt: skip
    for offset, text_ in enumerate(texts):
        document = Document(
            text_.id, Kind.NEWS, text_.source, text_.published_at, title=text_.content, author=text_.author,
            symbols=text_.symbols,
        )  # fmt: skip
        said = Prediction(
            "m-1", text_.lang, "Earnings", text_.sentiment, text_.score / SCORE_SCALE,
            {"topic": {"Earnings": 1.0}, "sentiment": {str(text_.sentiment): 0.7}},
        )  # fmt: skip
        write(store, ClassifiedDocument(MessagePosition(Kind.NEWS, NEWS_0, offset, b"{}"), document, said))
    memory = MemoryStore(texts)
    start, end = minute - timedelta(hours=2), minute + timedelta(minutes=1)
    selections = [
        Selection(),
        Selection(sources=("wire1", "wire2")),
        Selection(symbols=("AAPL",)),
        Selection(symbols=('A"B%', "MSFT")),
        Selection(languages=("zh",)),
        Selection(sources=("wire1",), languages=("zh",)),
    ]
    for selection in selections:
        assert store.reads.sums(start, end, selection) == memory.sums(start, end, selection)
        cells = store.reads.sums_by_window(start, end, timedelta(minutes=15), selection)
        assert cells == memory.sums_by_window(start, end, timedelta(minutes=15), selection)
        assert cells or selection.languages
        where = Scope("Earnings", ("news",), start, end, selection)
        assert store.reads.negative_writers(where) == memory.negative_writers(where)
        assert store.reads.most_negative(where, 3) == memory.most_negative(where, 3)
        assert store.reads.last_seen_by_source(where) == memory.last_seen_by_source(where)
    sources, authors = store.reads.negative_writers(Scope(None, ("news",), start, end))
    assert (len(sources), authors) == (3, 2)
    assert [row.id for row in store.reads.scored_documents(start, end)] == [
        t.id for t in memory.texts if t.published_at >= start
    ]


def test_what_leaves_is_queued_with_the_batch_and_only_for_what_is_new(store: Store) -> None:
    outbound = BatchOutbound(KafkaSettings())
    for _ in range(2):
        store.write(Batch([judged("a", 0), dead(1)]), outbound, NOW)
    outbox = Outbox(store.engine)
    entries = outbox.due(["kafka:predictions", "kafka:dead-letters"], NOW, 10)
    assert [entry.target for entry in entries] == ["kafka:predictions", "kafka:dead-letters"]
    (prediction,) = decode_messages(entries[0].body)
    assert prediction.key == "wire/a"
    (letter,) = decode_messages(entries[1].body)
    assert letter.key == "news[0]@1"
    assert b"payload_base64" in letter.value
    left_by_an_older_one = b'[{"key": "k", "value": {"x": 1}}]'
    for body in (left_by_an_older_one, zlib.compress(left_by_an_older_one)):
        assert decode_messages(body) == [KafkaMessage("k", b'{"x": 1}')]
    outbox.mark_done(entries, "sent", NOW)
    assert count(store, schema.outbox) == 0


def test_a_failed_delivery_waits_and_keeps_its_targets_order(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1"), OutboundMessage("webhook:a", b"2")], NOW)
        enqueue(connection, [OutboundMessage("webhook:b", b"3")], NOW)
    outbox = Outbox(store.engine)
    first = outbox.due(HOOKS, NOW, 10)[0]
    outbox.mark_failed(first, "HTTP 500", NOW)
    assert [entry.body for entry in outbox.due(HOOKS, NOW, 10)] == [b"3"]
    later = NOW + timedelta(minutes=5)
    assert [entry.body for entry in outbox.due(HOOKS, later, 10)] == [b"1", b"2", b"3"]
    assert outbox.due(["kafka:alerts"], later, 10) == []


def test_a_page_that_waits_for_its_time_holds_up_its_own_lane_alone(store: Store) -> None:
    later = NOW + timedelta(minutes=5)
    with database.writing(store.engine) as connection:
        held = OutboundMessage("webhook:a", b"1", "ticket rule", None, later)
        enqueue(connection, [held, OutboundMessage("webhook:a", b"2", "ticket rule")], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"3", "page rule")], NOW)
    outbox = Outbox(store.engine)
    assert [entry.body for entry in outbox.due(HOOKS, NOW, 10)] == [b"3"]
    assert [entry.body for entry in outbox.due(HOOKS, later, 10)] == [b"1", b"2", b"3"]
    assert outbox.depth(HOOKS) == (3, None)
    outbox.mark_failed(outbox.due(HOOKS, NOW, 10)[0], "HTTP 500", later)
    assert outbox.depth(HOOKS) == (3, later)
    assert outbox.depth(["webhook:b"]) == (0, None)


def test_the_attempts_of_months_do_not_overflow(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1")], NOW)
        connection.execute(update(schema.outbox).values(attempts=30_000))
    (entry,) = Outbox(store.engine).due(HOOKS, NOW, 1)
    Outbox(store.engine).mark_failed(entry, "HTTP 503", NOW)
    assert Outbox(store.engine).due(HOOKS, NOW + timedelta(minutes=5), 1)[0].attempts == 30_000


def alert(state: str = "firing", **changes: object) -> Alert:
    fields = {
        "id": "abc", "rule": "r", "topic": "Earnings", "severity": "page", "state": state, "since": NOW,
        "value": 4.5, "threshold": 3.0, "n": 40, "uncertainty": "u", "summary": "s", "fired_at": NOW,
        "evidence": (EvidenceItem("wire", "a", NOW, "Shares fall", -0.5),),
    }  # fmt: skip
    return Alert(**(fields | changes))  # type: ignore[arg-type]


def test_alerts_come_back_as_they_were_saved_until_they_are_resolved(store: Store) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    message = {"id": "abc", "key": "abc:firing", "state": "firing"}
    page = PageRequest("webhook:desk", "abc:firing", "r", message, NOW)
    turn = Transition(alert(), "pending", NOW, message)
    alerts.save([alert()], [], [turn], [page], NOW)
    assert alerts.open_alerts() == [alert()] == [alerts.find("abc")]
    entries = Outbox(store.engine).due(["webhook:desk", "kafka:alerts"], NOW, 9)
    assert [entry.target for entry in entries] == ["kafka:alerts", "webhook:desk"]
    alerts.save([alert("resolved", resolved_at=NOW)], [], [], [], NOW)
    assert alerts.open_alerts() == []
    assert [a.state for a in alerts.recent_alerts(5)] == ["resolved"]
    assert alerts.find("abd") is None


def test_every_transition_is_a_row_and_every_page_is_queued_once_and_followed_to_its_end(
    store: Store,
) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    message = {"id": "abc", "key": "abc:firing", "state": "firing"}
    page = PageRequest("webhook:desk", "abc:firing", "r", message, NOW)
    for _ in range(2):  # the second time as a monitor that forgot would
        alerts.save([alert()], [], [Transition(alert(), "pending", NOW, message)], [page], NOW)
    (entry,) = Outbox(store.engine).due(["webhook:desk"], NOW, 9)
    assert (entry.lane, entry.key) == ("r", "abc:firing")
    assert [(row.target, row.outcome) for row in alerts.deliveries("abc")] == [("webhook:desk", None)]
    Outbox(store.engine).mark_done([entry], "sent", NOW + timedelta(seconds=3))
    (delivery,) = alerts.deliveries("abc")
    assert (delivery.outcome, delivery.settled_at) == ("sent", NOW + timedelta(seconds=3))
    first, _ = alerts.transitions("abc")
    assert (first.before, first.state, first.at, first.value, first.n) == ("pending", "firing", NOW, 4.5, 40)


def test_what_came_late_and_who_was_heard_is_found(store: Store) -> None:
    # The last moment of its window.
    early = (NOW - timedelta(hours=2)).replace(second=59, microsecond=700_000)
    for offset, (id_, stamp) in enumerate({"a": early, "b": NOW}.items()):
        write(store, judged(id_, offset, at=stamp))
    assert store.reads.late_windows(NOW, NOW - timedelta(hours=1)) == [early.replace(second=0, microsecond=0)]
    chosen = Selection(("wire",))
    (cell,) = store.reads.sums_by_window(
        early - timedelta(hours=1), NOW - timedelta(hours=1), timedelta(minutes=1), chosen
    )
    assert cell.start == early.replace(second=0, microsecond=0)
    assert store.reads.late_windows(NOW + timedelta(seconds=1), NOW) == []
    scope = Scope(None, ("news", "comment"), NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    assert store.reads.last_seen_by_source(scope) == {"wire": NOW}
    assert store.reads.last_seen_by_source(replace(scope, selection=Selection(("other",)))) == {}


def test_only_one_monitor_holds_the_lease_and_a_late_one_writes_nothing(store: Store) -> None:
    mine, theirs = Lease(store, "alerts", "me", 20), Lease(store, "alerts", "they", 20)
    assert mine.acquire(NOW)
    assert not theirs.acquire(NOW + timedelta(seconds=19))
    assert theirs.acquire(NOW + timedelta(seconds=21))
    with pytest.raises(LeaseLost):
        SqlEpisodeStore(store, mine, "alerts").save([alert()], [], [], [], NOW + timedelta(seconds=22))
    assert SqlEpisodeStore(store, theirs, "alerts").open_alerts() == []
    theirs.release()
    assert mine.acquire(NOW + timedelta(seconds=23))


def test_hours_and_days_hold_what_their_windows_add_up_to(store: Store) -> None:
    stamps = [NOW + timedelta(minutes=minutes) for minutes in (0, 1, 59, 61, 700, 1500, 2900, 2901, 4400)]
    documents = [judged(f"d{n}", n, score=-n / 10, at=at) for n, at in enumerate(stamps)]
    write(store, *documents[:6])
    write(store, *documents[6:], *documents[:2])
    edges = [NOW.replace(second=0), NOW.replace(minute=0, second=0), NOW.replace(hour=0, minute=0, second=0)]
    for start in (*edges, edges[0] + timedelta(minutes=1)):
        for hours in (1, 23.5, 24, 36, 80):
            end = start + timedelta(hours=hours)
            inside = [d.score or 0 for d, at in zip(documents, stamps, strict=True) if start <= at < end]
            assert sum(a.score_sum for a in store.reads.sums(start, end)) == sum(inside)
            for width in (timedelta(minutes=1), timedelta(hours=1), timedelta(hours=6), timedelta(days=1)):
                cells = store.reads.sums_by_window(start, end, width)
                assert sum(cell.n for cell in cells) == len(inside)
                assert all((cell.start - NOW.replace(hour=0, minute=0, second=0)) % width == timedelta(0)
                           for cell in cells)  # fmt: skip


STRETCHES = [
    ("a few minutes are base windows", (12, 5), (12, 50), None, [(0, 45)]),
    ("whole hours between", (11, 50), (14, 10), None, [(0, 10), (3600, 120), (0, 10)]),
    ("a whole day", (0, 0), (24, 0), None, [(86_400, 1440)]),
    ("a day, hours and minutes", (-1, 30), (25, 1), None,
     [(0, 30), (86_400, 1440), (3600, 60), (0, 1)]),
    ("nothing longer than what is asked for", (0, 0), (24, 0), 3600, [(3600, 1440)]),
    ("nor what does not fit into it", (0, 0), (24, 0), 5400, [(0, 1440)]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "start", "end", "width", "parts"), STRETCHES, ids=[s[0] for s in STRETCHES])
def test_a_time_is_read_in_the_longest_windows_that_fit(
    what: str,
    start: tuple[int, int],
    end: tuple[int, int],
    width: int | None,
    parts: list[tuple[int, int]],
) -> None:
    day = NOW.replace(hour=0, minute=0, second=0)
    first, last = (day + timedelta(hours=hours, minutes=minutes) for hours, minutes in (start, end))
    found = widest_windows(first, last, width)
    assert [(seconds, (b - a) / timedelta(minutes=1)) for seconds, a, b in found] == parts
    assert found[0][1] == first and found[-1][2] == last
    assert all(one[2] == other[1] for one, other in pairwise(found))


def test_the_migrations_make_exactly_the_tables_of_the_schema(store: Store) -> None:
    with database.reading(store.engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_a_database_of_the_first_schema_keeps_its_data(tmp_path: Path) -> None:
    settings = DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path / 'old.db'}"))
    database.upgrade(settings, "0001")
    engine = database.connect(settings)
    row = "'2026-03-01 00:00:00', 'Macro', 'news', 0, 3, 1, 1, 1, 500, 900"
    with database.writing(engine) as connection:
        names = "window_start, topic, kind, kafka_partition, n, positive, neutral, negative"
        connection.execute(text(f"INSERT INTO aggregates ({names}, score_sum, score_squares) VALUES ({row})"))
    with pytest.raises(SchemaError, match="monitor db upgrade"):
        database.check_schema(engine)
    database.upgrade(settings)
    database.check_schema(engine)
    with database.reading(engine) as connection:
        found = connection.execute(text("SELECT n, negative, uncertain FROM aggregates")).one()
    assert tuple(found) == (3, 1, 0)
    (day,) = Store(engine, 60).reads.sums(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert (day.n, day.score_sum) == (3, 500), "the hours and days are made of what was there"
    engine.dispose()


def test_dead_letters_are_kept_on_the_way_to_several_documents_a_message_and_back(store: Store) -> None:
    names = "incarnation, kafka_topic, kafka_partition, kafka_offset, reason, detail, seen_at"
    values = "'c/t', 'news', 0, 7, 'empty', 'no value', '2026-03-01 00:00:00'"
    config = database.alembic_config()
    with database.writing(store.engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        connection.execute(text(f"INSERT INTO dead_letters ({names}) VALUES ({values})"))
        command.upgrade(config, "head")
        connection.execute(text(f"INSERT INTO dead_letters ({names}, item) VALUES ({values}, 1)"))
        query = select(schema.dead_letters).order_by(schema.dead_letters.c.item)
        found = [(row.kafka_offset, row.item, row.reason) for row in connection.execute(query)]
        command.downgrade(config, "0005")
        left = connection.scalar(text("SELECT count(*) FROM dead_letters"))
    assert found == [(7, 0, "empty"), (7, 1, "empty")] and left == 1


def test_an_uncertain_document_counts_in_a_column_of_its_own(store: Store) -> None:
    sure, unsure = judged("a", 0), judged("b", 1)
    unsure = structs.replace(unsure, prediction=structs.replace(unsure.prediction, certain=False))
    write(store, sure, unsure)
    (total,) = store.reads.sums(NOW - timedelta(days=1), NOW + timedelta(days=1))
    assert (total.n, total.uncertain) == (2, 1)
    assert total.positive + total.neutral + total.negative == 1
    with database.reading(store.engine) as connection:
        table = schema.documents
        rows = connection.execute(select(table.c.status, table.c.sentiment).order_by(table.c.id)).all()
    assert rows[1] == ("uncertain", None)
    assert rows[0].status == "ok" and rows[0].sentiment is not None


def test_a_schema_that_is_not_this_versions_is_refused_with_what_to_do(store: Store) -> None:
    database.check_schema(store.engine)
    with database.writing(store.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999, which this version does not know"):
        database.check_schema(store.engine)
    with database.writing(store.engine) as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(SchemaError, match="monitor db upgrade"):
        database.check_schema(store.engine)


def test_times_come_back_aware_and_in_utc(store: Store) -> None:
    write(store, judged("a", 0))
    with database.writing(store.engine) as connection:
        east = NOW.astimezone().replace(microsecond=0)
        connection.execute(update(schema.documents).values(published_at=east))
        found = connection.execute(select(schema.documents.c.published_at)).scalar_one()
    assert found == east
    assert found.utcoffset() == timedelta(0)


def test_pages_and_alerts_of_the_version_before_go_on_after_the_upgrade(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path / 'old.db'}", request.getfixturevalue("postgres").create_database()):
        settings = DatabaseSettings(url=SecretStr(url))
        database.upgrade(settings, "0002")
        engine = database.connect(settings)
        with database.writing(engine) as connection:
            for number in (1, 2):
                connection.execute(
                    text(
                        "INSERT INTO outbox (id, target, body, created_at, attempts, retry_at) "
                        "VALUES (:id, 'webhook:a', :body, '2026-03-01 12:00:00', 0, '2026-03-01 12:00:00')"
                    ),
                    {"id": number, "body": b"{}"},
                )
            connection.execute(
                text(
                    "INSERT INTO alerts (id, rule, topic, severity, state, since, value, threshold, n, uncertainty, "
                    "summary, evidence, fired_at) VALUES ('abc', 'r', 'IPO', 'page', 'firing', '2026-03-01 12:00:00', "
                    "4.5, 3, 40, 'u', 's', '[]', '2026-03-01 12:00:00')"
                )
            )
        database.upgrade(settings)
        database.check_schema(engine)
        old = Store(engine, 60)
        entries = Outbox(old.engine).due(HOOKS, NOW, 9)
        assert [(entry.id, entry.lane, entry.key) for entry in entries] == [(1, "1", None), (2, "2", None)]
        Outbox(old.engine).mark_done(entries, "sent", NOW)
        (found,) = SqlEpisodeStore(old, Lease(old, "alerts", "me", 20), "alerts").open_alerts()
        assert (found.id, found.sources, found.message, found.usual) == ("abc", {}, "", None)
        engine.dispose()
