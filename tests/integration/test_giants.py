"""Large things on the way in and out of a real monitor: they are cut or refused, and stop nothing."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import create_engine, text

from tests.conftest import SURGE_RULES, Desk, Scene, read_topic
from tests.parts import Receiver, wait_until

# The symbols of a giant: its prediction has about 20 kB.
SYMBOLS = [f"{number:04}" + "\u7206" * 56 for number in range(100)]


def news(id_: str, **fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"id": id_, "published_at": now, "source": "wire", "title": "Shares plunge after fraud"} | fields


def limit_topic(scene: Scene, topic: str, max_bytes: int) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    config = {"max.message.bytes": str(max_bytes)}
    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    client.close()


def rows(scene: Scene, query: str) -> list[Any]:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        found = list(connection.execute(text(query)))
    engine.dispose()
    return found


def test_predictions_that_kafka_takes_never_hold_up_those_after_them(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    limit_topic(scene, scene.kafka.predictions, 10_000)
    topic = scene.kafka.predictions
    # A batch of its own for each giant: more entries than the sender takes at a time.
    scene.environ |= {"MONITOR_STREAM__BATCH_DOCUMENTS": "1"}
    giants = [news(f"giant {number}", symbols=SYMBOLS) for number in range(35)]
    sent(scene.kafka.news, [*giants, *[news(f"small {number}") for number in range(10)]])
    monitor = scene.start()
    keys = {key for key, _ in read_topic(scene.kafka.bootstrap_servers, topic, 10, 40)}
    assert keys == {f"news:wire:small~20{number}" for number in range(10)}
    wait_until(
        lambda: monitor.metric("sentiment_outbox_refused_messages_total", target=topic) == 35,
        30,
        "all counted",
    )
    assert rows(scene, "SELECT count(*) FROM documents")[0][0] == 45
    wait_until(lambda: not rows(scene, "SELECT id FROM outbox"), 20, "the outbox is empty")
    assert "refuses 1 message(s) for good" in monitor.log.read_text()
    assert monitor.stop() == 0

    # With a budget below the topic's limit they are sent, without their symbols.
    monitor = scene.start(MONITOR_KAFKA__PREDICTION_BYTES="10000")
    limit_topic(scene, topic, 12_000)
    sent(scene.kafka.news, [news("giant again", symbols=SYMBOLS)])
    *_, (key, value) = read_topic(scene.kafka.bootstrap_servers, topic, 11, 30)
    assert key == "news:wire:giant~20again" and value["shortened"] is True and value["symbols"] == []
    shortened = "sentiment_outbox_shortened_messages_total"
    wait_until(lambda: monitor.metric(shortened, target=topic) == 1, 30, "it is counted once Kafka has it")
    assert monitor.stop() == 0


def test_an_output_topic_that_is_missing_holds_up_no_other(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    from kafka.admin import KafkaAdminClient

    scene.prepare()
    monitor = scene.start()
    client = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    client.delete_topics([scene.kafka.predictions])
    sent(scene.kafka.news, [news("1"), b"no json"])
    (letter,) = read_topic(scene.kafka.bootstrap_servers, scene.kafka.dead_letters, 1, 20)
    assert letter[1]["reason"] == "not_json"
    predictions = {"target": scene.kafka.predictions}
    wait_until(lambda: monitor.metric("sentiment_outbox_failures_total", **predictions), 40, "it is seen")
    assert "run `monitor topics create`" in monitor.log.read_text()
    assert monitor.metric("sentiment_outbox_refused_messages_total", **predictions) == 0
    assert scene.command("topics", "create").returncode == 0
    ((key, _),) = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, 1, 60)
    client.close()
    assert key == "news:wire:1"
    assert monitor.stop() == 0


def test_optional_fields_without_end_neither_cost_the_document_nor_the_page(
    desk: Callable[[str, Mapping[str, str]], Desk],
) -> None:
    with Receiver() as receiver:
        webhooks = {"MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url})}
        room = desk(SURGE_RULES, webhooks | {"MONITOR_ALERTS__WEBHOOK_BYTES": "1000"})
        word = "plunge" * 5000
        giants = [
            news(
                f"g{number}",
                source=f"source {number}",
                title=f"Shares plunge after fraud at bank {number}, profit warning, {word}",
                url="https://example.org/" + "x" * 50_000,
                author="a" * 300,
                lang="l" * 40,
                symbols=[f"S{symbol}" for symbol in range(148)],
            )
            for number in range(60)
        ]
        room.send(room.scene.kafka.news, giants)
        wait_until(lambda: receiver.taken, 40, "the page")
        page = receiver.taken[0]
        assert page["state"] == "firing" and page["shortened"] is True and page["evidence"] == []
        assert page["link"].startswith(room.monitor.url)
        for field in ("url", "author", "lang", "symbols"):
            labels = {"field": field}
            wait_until(
                lambda labels=labels: room.monitor.metric("sentiment_shortened_fields_total", **labels) == 60,
                20,
                "every cut field is counted",
            )
        assert room.monitor.metric("sentiment_dead_letters_total") == 0
        stored = rows(room.scene, "SELECT author, url, lang, symbols FROM documents WHERE id = 'g1'")[0]
        assert stored[0] == "a" * 255 + "\u2026" and stored[1] is None and len(stored[3]) == 100
        status, html = room.monitor.get(page["link"].removeprefix(room.monitor.url))
        assert status == 200 and len(html) < 100_000
        assert room.monitor.stop() == 0
