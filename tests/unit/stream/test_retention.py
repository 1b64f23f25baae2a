"""Erasing old texts, on both databases: identities, labels and sums stay."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from stream.domain.alerts import Alert, AlertState, EvidenceItem, Severity
from stream.domain.documents import EPOCH, HEARTBEAT_SOURCE, Document, Kind, Prediction, Span
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    DeadLetter,
    MessagePosition,
    WriteResult,
)
from stream.storage import database, retention, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from tests.unit.stream.samples import NEWS_0, NOW, no_messages

DAY = timedelta(days=1)


def write_received(
    store: Store, offset: int, id_: str, received: datetime, source: str = "wire"
) -> WriteResult:
    """Write a news item with evidence that was received at that time."""
    document = Document(
        id_, Kind.NEWS, source, received, "Shares fall", "much text", "Ann", "https://a.example"
    )
    evidence = (Span("sentiment", "fall", 7, 11, 1.0),)
    probabilities = {"topic": {"Earnings": 1.0}, "sentiment": {"negative": 0.7}}
    prediction = Prediction("m-1", "en", "Earnings", "negative", -0.5, probabilities, evidence)
    position = MessagePosition(Kind.NEWS, NEWS_0, offset, b"{}")
    return store.write(Batch([ClassifiedDocument(position, document, prediction)]), no_messages, received)


def texts(store: Store) -> dict[str, str]:
    with database.reading(store.engine) as connection:
        return {row.id: row.title + row.text for row in connection.execute(select(schema.documents))}


def test_an_old_document_loses_its_text_and_is_still_counted_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    for i in range(10):
        write_received(store, i, f"old{i}", NOW - 30 * DAY)
    write_received(store, 10, "new", NOW)
    before = store.reads.sums(EPOCH, NOW)
    assert retention.count_purgeable(store, NOW - 7 * DAY, NOW) == 10
    steps: list[int] = []
    done = retention.purge(store, NOW - 7 * DAY, NOW, steps.append)
    assert (done.documents, steps) == (10, [3, 3, 3, 1])
    assert texts(store) == {"new": "Shares fallmuch text"} | {f"old{i}": "" for i in range(10)}
    assert store.reads.sums(EPOCH, NOW) == before
    with database.reading(store.engine) as connection:
        row = connection.execute(select(schema.documents).filter_by(id="old3")).one()
    assert (row.author, row.url, row.evidence, row.topic, row.score) == (None, None, [], "Earnings", -5000)
    again = write_received(store, 11, "old3", NOW)
    assert again.documents == [] and again.skipped == {("news", "repeat"): 1}
    assert retention.purge(store, NOW - 7 * DAY, NOW).documents == 0
    assert retention.purged_until(store, NOW) == NOW - 7 * DAY


def test_an_interrupted_purge_continues_where_it_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    for i in range(6):
        write_received(store, i, str(i), NOW - 30 * DAY + i * timedelta(seconds=1))

    def interrupt(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retention.purge(store, NOW, NOW, interrupt)
    assert sorted(texts(store).values()).count("") == 2
    assert retention.count_purgeable(store, NOW, NOW) == 5, (
        "the rows at the time of the mark are erased again"
    )
    assert retention.purge(store, NOW, NOW).documents == 5
    assert set(texts(store).values()) == {""}


def resolved_alert(id_: str, ended: datetime, evidence: tuple[EvidenceItem, ...]) -> Alert:
    return Alert(
        id=id_,
        rule="r",
        topic="IPO",
        severity=Severity.PAGE,
        state=AlertState.RESOLVED,
        since=ended,
        value=1,
        threshold=1,
        n=1,
        uncertainty="u",
        summary="s",
        message="m",
        evidence=evidence,
        fired_at=ended,
        resolved_at=ended,
    )


def test_alerts_and_dead_letters_lose_their_texts_and_old_heartbeats_are_deleted(store: Store) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    evidence = (EvidenceItem("wire", "1", NOW, "Shares fall", -0.9),)
    for id_, ended in (("old", NOW - 30 * DAY), ("new", NOW)):
        alerts.save([resolved_alert(id_, ended, evidence)], [], [], [], ended)
    letter = DeadLetter(MessagePosition(Kind.NEWS, NEWS_0, 0, b"x"), "not_json", "part of a text")
    store.write(Batch([letter]), no_messages, NOW - 30 * DAY)
    write_received(store, 1, "beat", NOW - 2 * DAY, HEARTBEAT_SOURCE)
    write_received(store, 2, "beat now", NOW, HEARTBEAT_SOURCE)
    done = retention.purge(store, NOW - 7 * DAY, NOW)
    assert (done.alerts, done.dead_letters, done.heartbeats) == (1, 1, 1)
    old, new = alerts.find("old"), alerts.find("new")
    assert (
        old and new and (old.evidence, old.message, old.summary) == ((), "", "s") and new.evidence == evidence
    )
    with database.reading(store.engine) as connection:
        assert connection.scalar(select(schema.dead_letters.c.detail)) == ""
    assert list(texts(store)) == ["beat now"]


def test_the_time_up_to_which_all_is_erased_never_goes_back(store: Store) -> None:
    retention.purge(store, NOW, NOW)
    retention.purge(store, NOW - DAY, NOW)
    assert retention.purged_until(store, NOW) == NOW
    assert retention.count_purgeable(store, NOW, NOW) == 0


def test_a_mark_of_a_clock_that_was_ahead_does_not_end_the_purge(store: Store) -> None:
    write_received(store, 0, "old", NOW - 30 * DAY)
    retention.purge(store, NOW + 3650 * DAY, NOW + 3650 * DAY)
    write_received(store, 1, "later", NOW)
    now = NOW + 30 * DAY
    assert retention.purge(store, now - 7 * DAY, now).documents == 2
    assert texts(store) == {"old": "", "later": ""}
    assert retention.purged_until(store, now) == now - 7 * DAY
