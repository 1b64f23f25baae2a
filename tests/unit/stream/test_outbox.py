"""The outbox on both databases: order, retries, and pages that must wait."""

import zlib
from datetime import timedelta

import pytest
from cramjam import zstd
from sqlalchemy import insert, select, update

from stream.domain.records import OutboundMessage
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.outbox import (
    ZSTD_MAGIC,
    KafkaMessage,
    Outbox,
    OutboxDepth,
    TargetDepth,
    decode_messages,
    enqueue,
)
from tests.unit.stream.samples import (
    NOW,
)

TARGETS = ["webhook:a", "webhook:b"]


def test_messages_of_an_older_version_in_the_outbox_are_decoded() -> None:
    body = b'[{"key": "k", "value": {"x": 1}}]'
    for stored_body in (body, zlib.compress(body)):
        assert decode_messages(stored_body) == [KafkaMessage("k", b'{"x": 1}')]


@pytest.mark.parametrize(
    "body", [b"", b"[", b"\xff", ZSTD_MAGIC + b"x", bytes(zstd.compress(b"x")), b'[{"k": 1}]']
)
def test_a_body_that_cannot_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="the body of the outbox row cannot be read"):
        decode_messages(body)


def test_a_failed_message_waits_and_the_order_of_its_target_is_kept(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1"), OutboundMessage("webhook:a", b"2")], NOW)
        enqueue(connection, [OutboundMessage("webhook:b", b"3")], NOW)
    outbox = Outbox(store.engine)
    first = outbox.due(TARGETS, NOW, 10)[0]
    outbox.mark_failed([first], "HTTP 500", NOW)
    assert [entry.body for entry in outbox.due(TARGETS, NOW, 10)] == [b"3"]
    later = NOW + timedelta(minutes=5)
    assert [entry.body for entry in outbox.due(TARGETS, later, 10)] == [b"1", b"2", b"3"]
    assert outbox.due(["kafka:alerts"], later, 10) == []


def test_a_page_that_must_wait_delays_only_the_pages_of_its_own_rule(store: Store) -> None:
    later = NOW + timedelta(minutes=5)
    with database.writing(store.engine) as connection:
        delayed = OutboundMessage("webhook:a", b"1", "ticket rule", None, later)
        enqueue(connection, [delayed, OutboundMessage("webhook:a", b"2", "ticket rule")], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"3", "page rule")], NOW)
    outbox = Outbox(store.engine)
    assert [entry.body for entry in outbox.due(TARGETS, NOW, 10)] == [b"3"]
    assert [entry.body for entry in outbox.due(TARGETS, later, 10)] == [b"1", b"2", b"3"]
    assert outbox.depth(TARGETS, NOW) == OutboxDepth(3, None, NOW)
    outbox.mark_failed(outbox.due(TARGETS, NOW, 10)[:1], "HTTP 500", later)
    assert outbox.depth(TARGETS, later) == OutboxDepth(3, later, later)
    assert outbox.depth(["webhook:b"], later) == OutboxDepth(0, None, None)


def test_an_entry_that_nobody_attempts_to_send_is_seen_to_wait(store: Store) -> None:
    held = NOW + timedelta(hours=8)
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1", "quiet", None, held)], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"2")], NOW + timedelta(minutes=1))
    outbox = Outbox(store.engine)
    later = NOW + timedelta(minutes=10)
    assert outbox.depth(TARGETS, later) == OutboxDepth(2, None, NOW + timedelta(minutes=1))
    outbox.mark_done(outbox.due(TARGETS, later, 9), "sent", later)
    assert outbox.depth(TARGETS, later) == OutboxDepth(1, None, None)
    assert outbox.depth(TARGETS, held + timedelta(seconds=1)) == OutboxDepth(1, None, held)


BACK = timedelta(hours=2)


def test_an_entry_is_not_held_back_by_a_clock_that_was_set_back(store: Store) -> None:
    with database.writing(store.engine) as connection:
        wait = NOW + timedelta(seconds=30)
        enqueue(connection, [OutboundMessage("webhook:a", b"1", "fresh")], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"2", "grouped", None, wait)], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"3", "failed")], NOW - BACK)
    outbox = Outbox(store.engine)
    (failed,) = [entry for entry in outbox.due(TARGETS, NOW, 9) if entry.lane == "failed"]
    outbox.mark_failed([failed], "HTTP 500", NOW)
    now = NOW - BACK + timedelta(seconds=1)
    assert [entry.body for entry in outbox.due(TARGETS, now, 9)] == [b"1", b"2", b"3"]
    outbox.mark_failed([failed], "HTTP 500", now)
    assert outbox.depth(TARGETS, now).failing_since == now


def test_an_entry_of_a_host_whose_clock_is_a_little_ahead_is_due_at_once(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1")], NOW + timedelta(seconds=40))
    assert len(Outbox(store.engine).due(TARGETS, NOW, 9)) == 1


def test_the_number_of_attempts_does_not_overflow_its_column(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1")], NOW)
        connection.execute(update(schema.outbox).values(attempts=30_000))
    (entry,) = Outbox(store.engine).due(TARGETS, NOW, 1)
    Outbox(store.engine).mark_failed([entry], "HTTP 503", NOW)
    assert Outbox(store.engine).due(TARGETS, NOW + timedelta(minutes=5), 1)[0].attempts == 30_000


def test_what_waits_is_told_by_target_with_the_error_of_the_oldest(store: Store) -> None:
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:a", b"1"), OutboundMessage("webhook:a", b"2")], NOW)
        enqueue(connection, [OutboundMessage("webhook:gone", b"3")], NOW - timedelta(hours=1))
    outbox = Outbox(store.engine)
    outbox.mark_failed(outbox.due(["webhook:a"], NOW, 1), "HTTP 500", NOW)
    failing, waiting = outbox.by_target(NOW)
    assert failing == TargetDepth("webhook:a", 2, NOW, NOW, NOW, "HTTP 500")
    hour_ago = NOW - timedelta(hours=1)
    assert waiting == TargetDepth("webhook:gone", 1, hour_ago, None, hour_ago, None)
    assert outbox.depth(["webhook:a"], NOW).entries == 2


def test_a_target_can_be_dropped_and_its_pages_are_noted(store: Store) -> None:
    row = {"target": "webhook:gone", "alert_id": "a", "queued_at": NOW}
    sent = {"key": "k1", "settled_at": NOW, "outcome": "sent"}
    with database.writing(store.engine) as connection:
        connection.execute(insert(schema.deliveries), [row | sent])
        connection.execute(insert(schema.deliveries), [row | {"key": "k2"}])
        enqueue(connection, [OutboundMessage("webhook:gone", b"3", key="k2")], NOW)
        enqueue(connection, [OutboundMessage("webhook:a", b"1")], NOW)
    outbox = Outbox(store.engine)
    assert outbox.drop("webhook:gone", NOW) == 1
    assert [row.target for row in outbox.by_target(NOW)] == ["webhook:a"]
    with database.reading(store.engine) as connection:
        outcomes = connection.execute(select(schema.deliveries.c.outcome).order_by(schema.deliveries.c.key))
        assert list(outcomes.scalars()) == ["sent", "dropped"]
