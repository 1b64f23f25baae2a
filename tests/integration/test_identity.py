"""Identity on real parts: who sent a document, what it is called everywhere, and what cannot pass for it."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, text

from tests.conftest import Scene, read_topic
from tests.parts import wait_until

Send = Callable[[str, list[Any]], None]


def query(scene: Scene, sql: str) -> list[tuple[Any, ...]]:
    engine = create_engine(scene.database_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]
    finally:
        engine.dispose()


def message(id_: str, source: str, body: str = "Shares fall after a loss") -> dict[str, Any]:
    return {"id": id_, "source": source, "published_at": datetime.now(UTC).isoformat(), "text": body}


def test_a_comment_cannot_silence_a_news_item_and_every_document_has_one_key_everywhere(
    scene: Scene, sent: Send
) -> None:
    scene.prepare()
    monitor = scene.start(module="tests.faults.worker")
    sent(scene.kafka.comments, [message("7", "wire")])
    wait_until(lambda: query(scene, "SELECT count(*) FROM documents") == [(1,)], 30, "the comment")
    long = "agency/" + "x" * 300
    sent(
        scene.kafka.news, [message("7", "wire"), message("c", "a/b"), message("b/c", "a"), message("1", long)]
    )
    sent(scene.kafka.news, [message("7", "wire"), message("1", long)])
    wait_until(
        lambda: monitor.metric("sentiment_documents_total", outcome="repeat") == 2,
        30,
        "the repeats are counted",
    )
    rows = query(scene, "SELECT key, kind, source, id FROM documents")
    assert len(rows) == 5 and ("news:wire:7", "news", "wire", "7") in rows
    assert {row[0] for row in rows} >= {"comment:wire:7", "news:a~2Fb:c", "news:a:b~2Fc"}
    (cut,) = [row for row in rows if row[2].startswith("agency/")]
    assert len(cut[2]) == 128 and "…#" in cut[2]
    assert monitor.metric("sentiment_shortened_fields_total", field="source") == 1
    assert query(scene, "SELECT kind, CAST(sum(n) AS int) FROM aggregates GROUP BY 1 ORDER BY 1") == [
        ("comment", 1),
        ("news", 4),
    ]
    predictions = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, 5)
    assert {key for key, _ in predictions} == {row[0] for row in rows}
    assert all(key == value["key"] for key, value in predictions)

    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    replayed = scene.command("replay", "--from", since).stdout.decode()
    assert "0 documents restored" in replayed and "0 rows of the aggregates corrected" in replayed
    query_result = query(scene, "SELECT count(*) FROM documents")
    assert query_result == [(5,)] and monitor.stop() == 0


def test_nobody_else_can_send_heartbeats_and_only_allowed_sources_are_read(scene: Scene, sent: Send) -> None:
    scene.environ |= {
        "MONITOR_STREAM__HEARTBEAT_SECONDS": "1",
        "MONITOR_STREAM__ALLOWED_NEWS_SOURCES": '["wire-*"]',
    }
    scene.prepare()
    monitors = [scene.start(module="tests.faults.worker") for _ in range(2)]
    started = datetime.now(UTC)
    ahead = (started + timedelta(minutes=4)).isoformat()
    forged = message("beat", "monitor-heartbeat", "-") | {"id": ahead, "published_at": ahead, "lang": "zxx"}
    sent(scene.kafka.news, [forged, message("1", "wire-1"), message("2", "forum")])
    sent(scene.kafka.comments, [message("3", "forum"), forged])

    def heartbeats() -> int:
        return int(query(scene, "SELECT count(*) FROM documents WHERE source = 'monitor-heartbeat'")[0][0])

    wait_until(lambda: heartbeats() >= 4, 60, "heartbeats of two monitors")
    beat = max(monitor.metric("sentiment_heartbeat_timestamp_seconds") or 0.0 for monitor in monitors)
    assert started.timestamp() - 10 < beat < started.timestamp() + 60, "the forged one is four minutes ahead"
    wait_until(lambda: len(query(scene, "SELECT 1 FROM dead_letters")) == 3, 30, "the dead letters")
    letters = query(scene, "SELECT reason, key FROM dead_letters")
    assert Counter(reason for reason, _ in letters) == {"forged_heartbeat": 2, "source_not_allowed": 1}
    assert ("source_not_allowed", "news:forum:2") in letters
    assert {
        row[0] for row in query(scene, "SELECT key FROM documents WHERE source <> 'monitor-heartbeat'")
    } == {
        "news:wire-1:1",
        "comment:forum:3",
    }
    secret = query(scene, "SELECT encode(value, 'hex') FROM secrets")[0][0]
    logged = "".join(monitor.log.read_text() for monitor in monitors)
    assert (
        len(secret) == 64
        and secret not in logged
        and secret not in json.dumps(read_topic(scene.kafka.bootstrap_servers, scene.kafka.news, 5))
    )
    assert [monitor.stop() for monitor in monitors] == [0, 0]
