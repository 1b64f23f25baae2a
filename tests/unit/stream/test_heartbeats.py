"""Heartbeats are known by a signature: nobody else's count, and none of them counts as a document."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from monitor.runtime.tasks.heartbeat import Heartbeat
from stream.bundles import Record
from stream.codec import Codec
from stream.decoder import DecodedDocument, Decoder
from stream.domain.documents import HEARTBEAT_SOURCE, Document, Kind, Prediction
from stream.domain.records import Batch, ClassifiedDocument, DeadLetter
from stream.heartbeats import Heartbeats
from stream.metrics import StreamMetrics
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.outbox import Outbox, decode_messages
from stream.storage.secrets import load_heartbeats
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import NOW, no_messages

OWN = Heartbeats(b"a secret of this test")
TOPICS = {"news": Kind.NEWS, "comments": Kind.COMMENT}


def decode(
    message: dict[str, Any], heartbeats: Heartbeats | None = OWN, topic: str = "news"
) -> Document | DeadLetter:
    codec = Codec(timedelta(minutes=5), 10_000, heartbeats=heartbeats)
    decoder = Decoder(codec, TOPICS, {"news": "c/n", "comments": "c/c"})
    (item,) = decoder.decode(Record(topic, 0, 7, json.dumps(message).encode()), NOW)
    return item.document if isinstance(item, DecodedDocument) else item


def test_a_heartbeat_is_read_by_the_installation_that_sent_it() -> None:
    sent = OWN.message(NOW)
    document = decode(sent)
    assert isinstance(document, Document)
    assert (document.source, document.published_at, document.content) == (HEARTBEAT_SOURCE, NOW, "-")
    assert b"a secret of this test" not in json.dumps(sent).encode() and "a secret" not in repr(OWN)


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("without a signature", {"id": "1"}),
    ("with the time as its id, as version 0.2.0 sent it", {"id": NOW.isoformat()}),
    ("with the signature of another secret", {"id": Heartbeats(b"guessed").message(NOW)["id"]}),
    ("with an old signature and the present time", {"id": OWN.message(NOW - timedelta(hours=1))["id"]}),
    ("with another time in the id", {"id": OWN.message(NOW)["id"].replace("12:00:30", "12:00:31")}),
    ("with a signature in capitals", {"id": OWN.message(NOW)["id"].upper()}),
    ("with a longer id", {"id": OWN.message(NOW)["id"] + "x" * 600}),
    ("with an id that is no ASCII", {"id": "签名"}),
    ("without a text", {"text": ""}),
]


@pytest.mark.parametrize(("changes"), [changes for _, changes in FORGED], ids=[what for what, _ in FORGED])
def test_a_forged_heartbeat_is_a_dead_letter_of_its_own_reason(changes: dict[str, Any]) -> None:
    forged = OWN.message(NOW) | {"id": "1"} | changes
    letter = decode(forged)
    assert isinstance(letter, DeadLetter) and letter.reason == "forged_heartbeat"
    assert "stream.heartbeat_secret" in letter.detail and letter.key is not None


def test_a_copy_on_the_topic_of_the_comments_and_any_heartbeat_without_a_secret_are_forged() -> None:
    for item in (decode(OWN.message(NOW), topic="comments"), decode(OWN.message(NOW), heartbeats=None)):
        assert isinstance(item, DeadLetter) and item.reason == "forged_heartbeat"


def test_a_text_behind_a_copied_signature_is_not_read() -> None:
    document = decode(
        OWN.message(NOW) | {"title": "Bank collapses", "text": "Sell", "lang": "en", "symbols": ["A"]}
    )
    assert isinstance(document, Document)
    assert (document.content, document.lang, document.symbols) == ("-", "zxx", ())


def test_a_time_in_another_zone_is_the_same_heartbeat() -> None:
    moved = OWN.message(NOW) | {
        "published_at": NOW.astimezone(timezone(timedelta(hours=2))).isoformat(),
        "id": OWN.message(NOW)["id"],
    }
    assert isinstance(decode(moved), Document)


def test_other_sources_are_not_taken_for_the_heartbeat() -> None:
    for source in ("Monitor-Heartbeat", "monitor-heartbeat ", "monitor-heartbeat/a"):
        document = decode({"id": "1", "source": source, "published_at": NOW.isoformat(), "text": "x"})
        assert isinstance(document, Document) and document.source == source


def test_monitors_of_one_database_share_a_secret_and_other_databases_have_another(
    store: Store, tmp_path: Path
) -> None:
    first, second = load_heartbeats(store.engine, None), load_heartbeats(store.engine, None)
    assert first == second and len(first.secret) == 32
    other_settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'other.db'}")
    database.upgrade(other_settings)
    other = database.connect(other_settings)
    assert load_heartbeats(other, None).secret != first.secret
    shared = SecretStr("sixteen letters!")
    assert load_heartbeats(other, shared).message(NOW) == load_heartbeats(store.engine, shared).message(NOW)
    other.dispose()


def test_only_a_new_database_has_no_time_before_which_heartbeats_are_not_signed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    unsigned = {
        "id": NOW.isoformat(),
        "source": HEARTBEAT_SOURCE,
        "published_at": NOW.isoformat(),
        "text": "-",
    }
    for url in (f"sqlite:///{tmp_path / 'old.db'}", request.getfixturevalue("postgres").create_database()):
        settings = DatabaseSettings(url=url)
        database.upgrade(settings, "0006")
        engine = database.connect(settings)
        names = "source, id, kind, published_at, received_at, title, text, symbols, status, evidence, model"
        with database.writing(engine) as connection:
            connection.execute(
                text(
                    f"INSERT INTO documents ({names}, kafka_topic, kafka_partition, kafka_offset) VALUES ('wire', '1', "
                    "'news', '2026-03-01', '2026-03-01', 'x', '', '[]', 'ok', '[]', 'm', 'news', 0, 1)"
                )
            )
        before = datetime.now(UTC)
        database.upgrade(settings)
        upgraded = load_heartbeats(engine, None)
        assert upgraded.signed_since is not None and before <= upgraded.signed_since <= datetime.now(UTC)
        assert isinstance(decode(unsigned, upgraded), Document), "one that was under way at the upgrade"
        later = {"published_at": (upgraded.signed_since + timedelta(seconds=1)).isoformat()}
        letter = decode(unsigned | later | {"id": later["published_at"]}, upgraded)
        assert isinstance(letter, DeadLetter)
        letter = decode(unsigned | {"id": "anything"}, upgraded)
        assert isinstance(letter, DeadLetter) and letter.reason == "forged_heartbeat"
        engine.dispose()
    fresh = DatabaseSettings(url=f"sqlite:///{tmp_path / 'new.db'}")
    database.upgrade(fresh)
    engine = database.connect(fresh)
    assert load_heartbeats(engine, None).signed_since is None
    engine.dispose()


def test_the_task_sends_signed_heartbeats_and_shows_the_latest_that_arrived(store: Store) -> None:
    heartbeats, metrics = load_heartbeats(store.engine, None), StreamMetrics()
    task = Heartbeat(store=store, topic="news", heartbeats=heartbeats, metrics=metrics, clock=lambda: NOW)
    task.run_once()
    (entry,) = Outbox(store.engine).due(["kafka:news"], NOW, 9)
    (message,) = decode_messages(entry.body)
    document = decode(json.loads(message.value), heartbeats)
    assert isinstance(document, Document) and message.key == document.key
    assert heartbeats.secret.hex() not in message.value.decode()

    fields = {"id": "x", "source": HEARTBEAT_SOURCE, "published_at": NOW.isoformat(), "text": "x"}
    forged, at = decode(fields, heartbeats), NOW - timedelta(minutes=4)
    assert isinstance(forged, DeadLetter)
    own = heartbeats.read(heartbeats.message(at)["id"], Kind.NEWS, at)
    arrived = ClassifiedDocument(forged.position, own, Prediction("m", None))
    store.write(Batch([forged, arrived]), no_messages, NOW)
    task.run_once()
    assert metrics.progress.heartbeat.collect()[0].samples[0].value == at.timestamp(), (
        "not that of the forged one"
    )
