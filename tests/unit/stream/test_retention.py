"""Old texts are erased and nothing that counts is changed, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from stream.domain.alerts import Alert, EvidenceItem
from stream.domain.documents import EPOCH, HEARTBEAT_SOURCE, Document, Kind, Prediction, Span
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    DeadLetter,
    MessagePosition,
    Partition,
    WriteResult,
)
from stream.storage import database, retention, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)
NEWS = Partition("cluster/a", "news", 0)


def write(store: Store, offset: int, id_: str, received: datetime, source: str = "wire") -> WriteResult:
    document = Document(
        id_, Kind.NEWS, source, received, "Shares fall", "much text", "Ann", "https://a.example"
    )
    spans = (Span("sentiment", "fall", 7, 11, 1.0),)
    moods = {"topic": {"Earnings": 1.0}, "sentiment": {"negative": 0.7}}
    said = Prediction("m-1", "en", "Earnings", "negative", -0.5, moods, spans)
    judged = ClassifiedDocument(MessagePosition(Kind.NEWS, NEWS, offset, b"{}"), document, said)
    return store.write(Batch([judged]), lambda new, dead: [], received)


def texts(store: Store) -> dict[str, str]:
    with database.reading(store.engine) as connection:
        return {row.id: row.title + row.text for row in connection.execute(select(schema.documents))}


def test_what_is_old_loses_its_text_and_still_counts_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    for i in range(10):
        write(store, i, f"old{i}", NOW - 30 * DAY)
    write(store, 10, "new", NOW)
    before = store.reads.sums(EPOCH, NOW)
    assert retention.count_purgeable(store, NOW - 7 * DAY) == 10
    steps: list[int] = []
    done = retention.purge(store, NOW - 7 * DAY, NOW, steps.append)
    assert (done.documents, steps) == (10, [3, 3, 3, 1])
    assert texts(store) == {"new": "Shares fallmuch text"} | {f"old{i}": "" for i in range(10)}
    assert store.reads.sums(EPOCH, NOW) == before
    with database.reading(store.engine) as connection:
        row = connection.execute(select(schema.documents).filter_by(id="old3")).one()
    assert (row.author, row.url, row.evidence, row.topic, row.score) == (None, None, [], "Earnings", -5000)
    again = write(store, 11, "old3", NOW)
    assert again.documents == [] and again.duplicates == {("news", "repeat"): 1}
    assert retention.purge(store, NOW - 7 * DAY, NOW).documents == 0
    assert retention.purged_until(store) == NOW - 7 * DAY


def test_a_purge_that_was_cut_short_goes_on_where_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    for i in range(6):
        write(store, i, str(i), NOW - 30 * DAY + i * timedelta(seconds=1))

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retention.purge(store, NOW, NOW, stop)
    assert sorted(texts(store).values()).count("") == 2
    assert retention.count_purgeable(store, NOW) == 5, "the last row of the mark is looked at again"
    assert retention.purge(store, NOW, NOW).documents == 5
    assert set(texts(store).values()) == {""}


def test_alerts_and_dead_letters_lose_what_was_said_and_heartbeats_go(store: Store) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    shown = (EvidenceItem("wire", "1", NOW, "Shares fall", -0.9),)
    for id_, ended in (("old", NOW - 30 * DAY), ("new", NOW)):
        alerts.save(
            [Alert(id_, "r", "IPO", "page", "resolved", ended, 1, 1, 1, "u", "s", message="m", evidence=shown,
                   fired_at=ended, resolved_at=ended)], [], [], [], ended,
        )  # fmt: skip
    letter = DeadLetter(MessagePosition(Kind.NEWS, NEWS, 0, b"x"), "not_json", "what was said")
    store.write(Batch([letter]), lambda new, dead: [], NOW - 30 * DAY)
    write(store, 1, "beat", NOW - 2 * DAY, HEARTBEAT_SOURCE)
    write(store, 2, "beat now", NOW, HEARTBEAT_SOURCE)
    done = retention.purge(store, NOW - 7 * DAY, NOW)
    assert (done.alerts, done.dead_letters, done.heartbeats) == (1, 1, 1)
    old, new = alerts.find("old"), alerts.find("new")
    assert old and new and (old.evidence, old.message, old.summary) == ((), "", "s") and new.evidence == shown
    with database.reading(store.engine) as connection:
        assert connection.scalar(select(schema.dead_letters.c.detail)) == ""
    assert list(texts(store)) == ["beat now"]


def test_a_mark_never_goes_back(store: Store) -> None:
    retention.purge(store, NOW, NOW)
    retention.purge(store, NOW - DAY, NOW)
    assert retention.purged_until(store) == NOW
    with database.writing(store.engine) as connection:
        connection.execute(update(schema.marks).values(at=NOW + DAY))
    assert retention.count_purgeable(store, NOW) == 0
