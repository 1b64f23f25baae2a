"""Corrected stories and unknown times on real parts: live, and when Kafka is read again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from monitor.bench.stand_in import StandIn
from stream.codec import Codec
from stream.decoder import Decoder
from stream.replay import Replay
from stream.settings import StreamSettings
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.conftest import Scene, execute, read_topic
from tests.parts import wait_until

DOCUMENTS = "SELECT id, title, published_at, published_precision, updated_at, sentiment, score FROM documents ORDER BY id"
SUMS = "SELECT window_start, topic, n, negative, score_sum FROM aggregates ORDER BY 1, 2, 3, 4, 5"


def test_a_corrected_story_and_texts_without_a_time_are_the_same_when_kafka_is_read_again(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    monitor = scene.start(module="tests.faults.worker")
    before = datetime.now(UTC) - timedelta(minutes=1)
    story = {
        "id": "c1",
        "source": "wire",
        "published_at": before.isoformat(),
        "title": "Tarrant reports a loss",
    }
    framed = (
        b"\x00\x00\x00\x00\x07\xef\xbb\xbf" + json.dumps({"id": "seen", "text": "No time given"}).encode()
    )
    today = {"id": "day", "text": "A date alone", "published_at": f"{before:%Y-%m-%d}"}
    sent(scene.kafka.news, [story, framed, today])
    wait_until(lambda: len(execute(scene, DOCUMENTS)) == 3, 60, "the first versions")
    updated = datetime.now(UTC)
    corrected = story | {"title": "CORRECTED: Tarrant reports a profit", "updated_at": updated.isoformat()}
    unclear = story | {"title": "Tarrant reports something else"}
    sent(scene.kafka.news, [corrected])
    wait_until(lambda: "CORRECTED" in execute(scene, DOCUMENTS)[0].title, 60, "the correction")
    other = {"id": "other", "source": "wire", "published_at": before.isoformat(), "title": "First text"}
    sent(scene.kafka.news, [other])
    wait_until(lambda: len(execute(scene, DOCUMENTS)) == 4, 60, "another story")
    sent(scene.kafka.news, [other | {"title": "Second text"}, unclear])
    for outcome, n in (("corrected", 1), ("changed", 1), ("repeat", 1)):
        wait_until(
            lambda outcome=outcome, n=n: monitor.metric("sentiment_documents_total", outcome=outcome) == n,
            30,
            outcome,
        )
    documents, sums = execute(scene, DOCUMENTS), execute(scene, SUMS)
    by_id = {row.id: row for row in documents}
    assert {row.id: row.published_precision for row in documents} == {
        "c1": "exact", "day": "day", "other": "exact", "seen": "seen"
    }  # fmt: skip
    assert before < _time(by_id["seen"].published_at) < datetime.now(UTC)
    predictions = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, 5)
    assert [v["updated_at"] for _, v in predictions if v["id"] == "c1" and v["updated_at"]], (
        "it is sent again"
    )

    for statement in ("DELETE FROM documents", "DELETE FROM aggregates", "DELETE FROM rollups"):
        execute(scene, statement)
    assert replay(scene, before) == (4, 1)
    assert execute(scene, DOCUMENTS) == documents and execute(scene, SUMS) == sums
    assert replay(scene, before) == (0, 0)
    assert execute(scene, DOCUMENTS) == documents and execute(scene, SUMS) == sums
    assert monitor.stop() == 0


def replay(scene: Scene, since: datetime) -> tuple[int, int]:
    """Read the topics again, with the classifier of the worker; how many documents were restored and corrected."""
    store = Store(database.connect(DatabaseSettings(url=SecretStr(scene.database_url))), 60)
    codec, kinds = Codec.from_settings(StreamSettings()), scene.kafka.kinds
    reader = Replay(
        kafka=scene.kafka,
        store=store,
        decoder=Decoder(codec, kinds, dict.fromkeys(kinds, "again")),
        classify=StandIn().classify,
        outbound=lambda documents, letters: [],
        clock=lambda: datetime.now(UTC),
    )
    report = reader.run(since)
    store.engine.dispose()
    return report.restored, report.corrected


def _time(value: Any) -> datetime:
    """A time as the driver returns it: SQLite's is a text in UTC."""
    stamp = datetime.fromisoformat(value) if isinstance(value, str) else value
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp
