"""What goes first, and what holds nothing up: a backlog of comments, a flood of bad messages, tombstones."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import create_engine, func, select

from stream.storage import schema
from tests.conftest import Scene
from tests.parts import wait_until

COMMENTS = 6000
log = logging.getLogger(__name__)


def message(number: int, words: str) -> dict[str, str]:
    stamp = datetime.now(UTC).isoformat()
    return {"id": f"{words}-{number}", "source": "feed", "text": f"{words} {number}", "published_at": stamp}


def count(scene: Scene, *conditions: Any) -> int:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        query = select(func.count()).select_from(schema.documents).where(*conditions)
        found = connection.scalar(query)
    engine.dispose()
    return int(found or 0)


def test_a_news_item_does_not_wait_for_a_backlog_of_comments(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    sent(
        scene.kafka.comments,
        [message(n, f"The shares look weak to me, I sold mine on day {n}") for n in range(COMMENTS)],
    )
    scene.start(module="tests.faults.worker", MONITOR_STREAM__BATCH_DOCUMENTS="32")
    is_comment, is_news = schema.documents.c.kind == "comment", schema.documents.c.kind == "news"
    wait_until(lambda: count(scene, is_comment) > 0, 60, "the first comments")
    sent(scene.kafka.news, [message(1, "The company cuts its outlook")])
    written, started = count(scene, is_comment), time.monotonic()
    wait_until(lambda: count(scene, is_news) == 1, 60, "the news item")
    seconds, before_it = time.monotonic() - started, count(scene, is_comment) - written
    wait_until(lambda: count(scene, is_comment) == COMMENTS, 120, "every comment")
    log.info("the news item took %.1f s; %d comments went before it", seconds, before_it)
    # Three batches are in progress when it arrives, and it takes a moment to arrive.
    assert before_it < COMMENTS / 2


def test_a_flood_of_bad_messages_is_seen_and_delays_no_good_document(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    monitor = scene.start(module="tests.faults.worker")
    flood: list[Any] = [b"no JSON"] * 3000
    flood[::150] = [message(n, "Profit doubles") for n in range(20)]
    started = time.monotonic()
    sent(scene.kafka.news, flood)
    sent(scene.kafka.comments, [message(n, "I bought some") for n in range(20)])
    wait_until(lambda: count(scene) == 40, 30, "every good document")
    assert time.monotonic() - started < 30
    labels = {"kafka_topic": scene.kafka.news}
    wait_until(lambda: monitor.metric("sentiment_circuit_breaker_open", **labels) == 1, 30, "it opens")
    status, text = monitor.get("/readyz")
    assert status == 503 and f"the circuit breaker of {scene.kafka.news} is open" in text
    assert monitor.metric("sentiment_circuit_breaker_open", kafka_topic=scene.kafka.comments) == 0
    sent(scene.kafka.news, [message(100, "Profit doubles again")])
    wait_until(lambda: monitor.get("/readyz")[0] == 200, 120, "it closes with the next good message")
    assert monitor.metric("sentiment_circuit_breaker_open", **labels) == 0


def test_thousands_of_tombstones_neither_open_the_breaker_nor_become_dead_letters(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    monitor = scene.start(module="tests.faults.worker")
    messages: list[Any] = [None] * 2000
    messages[::100] = [message(n, "Profit doubles") for n in range(20)]
    sent(scene.kafka.news, messages)
    wait_until(lambda: count(scene) == 20, 30, "the good messages among them")
    tombstones = {"kind": "news", "outcome": "tombstone"}
    wait_until(
        lambda: monitor.metric("sentiment_documents_total", **tombstones) == 1980, 30, "all are counted"
    )
    assert monitor.metric("sentiment_dead_letters_total") == 0
    assert monitor.get("/readyz")[0] == 200
    wait_until(lambda: monitor.metric("sentiment_consumer_lag_messages") == 0, 30, "no lag is left")
