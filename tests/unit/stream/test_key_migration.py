"""The upgrade of a database of version 0.2.0 to documents with a key."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select, text

from stream.domain.documents import Kind, document_key
from stream.domain.records import Batch
from stream.domain.sums import TimeRange
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.recount import recount
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import ALL_TIMES, NOW, classified, no_messages

# Source and id: separators and escapes, other scripts, control characters, and parts that are too long for a key.
IDENTITIES = (
    ("wire", "1"),
    ("a/b", "c"),
    ("a", "b/c"),
    ("", "~2F"),
    ("Wire One", "https://wire.example/a?b=1&c=%2F#d"),
    ("财经", "caf\u00e9 cafe\u0301 🚀"),
    ("新" * 128, "\t\n\x1b\x7f\u2028\\'\"$|"),
    ("monitor-heartbeat", "x" * 512),
    ("wire", "🚀" * 512),
    ("~" * 128, "." * 360),
)
NAMES = (
    "source, id, kind, published_at, received_at, title, text, symbols, status, topic, sentiment, score, "
    "evidence, model, kafka_topic, kafka_partition, kafka_offset"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def old(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatabaseSettings]:
    """A database of version 0.2.0."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('old') / 'old.db'}"
    else:
        url = request.getfixturevalue("postgres").create_database()
    settings = DatabaseSettings(url=url)
    database.upgrade(settings, "0006")
    yield settings


def insert_old_documents(engine: Engine) -> None:
    with database.writing(engine) as connection:
        for offset, (source, id_) in enumerate(IDENTITIES):
            stamp = "'2026-03-01 12:00:00'"
            # The last is purged: its row has no text any more.
            title = "" if offset == len(IDENTITIES) - 1 else "Shares fall"
            values = (
                f":source, :id, 'news', {stamp}, {stamp}, '{title}', '', '[]', 'ok', 'Macro', 'negative', "
                f"-5000, '[]', 'm-1', 'news', 0, {offset}"
            )
            connection.execute(
                text(f"INSERT INTO documents ({NAMES}) VALUES ({values})"), {"source": source, "id": id_}
            )


def test_every_stored_document_gets_the_key_that_it_would_get_today(old: DatabaseSettings) -> None:
    engine = database.connect(old)
    insert_old_documents(engine)
    database.upgrade(old)
    documents = schema.documents
    with database.reading(engine) as connection:
        rows = list(connection.execute(select(documents).order_by(documents.c.kafka_offset)))
    assert [(row.source, row.id) for row in rows] == list(IDENTITIES)
    assert [row.key for row in rows] == [document_key(Kind.NEWS, *identity) for identity in IDENTITIES]
    engine.dispose()


def test_a_document_of_the_old_version_that_is_sent_again_is_still_a_repeat(old: DatabaseSettings) -> None:
    engine = database.connect(old)
    insert_old_documents(engine)
    database.upgrade(old)
    store = Store(engine, 60)
    recount(store, TimeRange(ALL_TIMES.start, ALL_TIMES.end))
    again = store.write(Batch([classified("1", 100), classified("2", 101)]), no_messages, NOW)
    assert [item.key for item in again.documents] == ["news:wire:2"]
    assert recount(store, ALL_TIMES) == 0
    engine.dispose()
