"""Dead letters on real Kafka and PostgreSQL: listed, shown, and sent again once their cause is mended."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.structs import TopicPartition

from monitor.cli.main import main
from tests.conftest import ROOT, Scene, execute
from tests.parts import wait_until

# An hour ago, in milliseconds: Kafka deletes what is older than a week.
SENT = round((time.time() - 3600) * 1000)
DAY = 86_400_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def news(id_: str, source: str = "wire", **fields: Any) -> bytes:
    message = {"id": id_, "source": source, "published_at": "2026-03-01T09:30:00Z", "title": "Orders rise"}
    return json.dumps(message | fields).encode()


@pytest.fixture
def one_partition(scene: Scene) -> Scene:
    scene.kafka = scene.kafka.model_copy(update={"partitions": 1})
    scene.environ |= {
        "MONITOR_KAFKA__PARTITIONS": "1",
        "MONITOR_STREAM__ALLOWED_NEWS_SOURCES": '["wire"]',
        "MONITOR_STREAM__MESSAGE_DOCUMENTS": "10",
    }
    scene.prepare()
    return scene


def produce(
    scene: Scene, *values: bytes, headers: Sequence[tuple[str, bytes]] = (), first: int = SENT
) -> None:
    """Send values, the first of them at a time in milliseconds, the others a millisecond apart."""
    with closing(KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)) as producer:
        for number, value in enumerate(values):
            producer.send(
                scene.kafka.news, value, b"key-%d" % number, [*headers], timestamp_ms=first + number
            )
        producer.flush()


def read_until(scene: Scene, letters: int, documents: int) -> None:
    """Let a monitor read until SQL has so many of both, and its outbox is sent; then stop it."""
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: counts(scene) == (letters, documents, 0), 60, f"{letters} and {documents}")
    assert monitor.stop() == 0


def counts(scene: Scene) -> tuple[int, int, int]:
    tables = ("dead_letters", "documents", "outbox")
    return tuple(execute(scene, f"SELECT count(*) FROM {table}")[0][0] for table in tables)  # type: ignore[return-value]


def messages_of(scene: Scene, topic: str | None = None) -> list[Any]:
    """Every message that the topic holds now, however long it takes to read them."""
    name = topic or scene.kafka.news
    consumer = KafkaConsumer(bootstrap_servers=scene.kafka.bootstrap_servers)
    with closing(consumer):
        partitions = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for messages in consumer.poll(1000).values():
                found += messages
        return found


def letters_command(scene: Scene, *words: str) -> Result:
    """Run `monitor dead-letters` in this process: a new one takes seconds to start."""
    own = {name: value for name, value in scene.environ.items() if name.startswith("MONITOR_")}
    environ = {name: None for name in os.environ if name.startswith("MONITOR_")} | own
    return CliRunner().invoke(main, ["dead-letters", *words], env=environ, catch_exceptions=False)


def answer(scene: Scene, *words: str, status: int = 0) -> Any:
    result = letters_command(scene, *words, "--json")
    assert result.exit_code == status, result.stderr
    return json.loads(result.stdout)


def allow_everybody(scene: Scene) -> None:
    del scene.environ["MONITOR_STREAM__ALLOWED_NEWS_SOURCES"]


def test_refused_messages_are_listed_shown_and_sent_again_once_the_settings_are_mended(
    one_partition: Scene,
) -> None:
    scene, topic = one_partition, one_partition.kafka.news
    array = b"[" + b", ".join([news("a"), news("b", "forum"), news("c", "forum")]) + b"]"
    headers = [("traceparent", TRACE.encode()), ("x", b"\xff")]
    produce(scene, news("d", "forum"), b"no JSON", array, news("e"), headers=headers)
    read_until(scene, letters=4, documents=2)

    assert execute(scene, "SELECT id, traceparent FROM documents ORDER BY id") == [("a", TRACE), ("e", TRACE)]
    predictions = messages_of(scene, scene.kafka.predictions)
    assert [list(message.headers) for message in predictions] == [[("traceparent", TRACE.encode())]] * 2
    assert {json.loads(message.value)["traceparent"] for message in predictions} == {TRACE}
    letters = messages_of(scene, scene.kafka.dead_letters)
    assert [list(message.headers) for message in letters] == [[("traceparent", TRACE.encode())]] * 4

    summary = answer(scene, "list", "--summary")
    assert [(row["reason"], row["letters"], row["sent"]) for row in summary] == [
        ("source_not_allowed", 3, 0),
        ("not_json", 1, 0),
    ]
    listed = answer(scene, "list", "--reason", "source_not_allowed", "--kind", "news")
    positions = [f"{topic}/0/2/2", f"{topic}/0/2/1", f"{topic}/0/0"]
    assert [letter["position"] for letter in listed] == positions
    assert answer(scene, "list", "--kind", "comment") == []
    shown = answer(scene, "show", f"{topic}/0/0")
    assert json.loads(shown["payload"])["id"] == "d" and shown["message_key"] == "key-0"
    assert shown["traceparent"] == TRACE and shown["headers"] == {"traceparent": TRACE, "x": "\\xff"}
    assert "allowed_news_sources" in shown["what_to_do"]
    text = letters_command(scene, "show", f"{topic}/0/1").stdout
    assert "not_json" in text and "no JSON" in text
    missing = letters_command(scene, "show", f"{topic}/0/9")
    assert missing.exit_code == 1 and "dead-letters list" in missing.stderr

    again = answer(scene, "send", "--reason", "source_not_allowed", status=1)
    assert (again["found"], again["sent"], again["not_sent"]) == (3, 0, {"source_not_allowed": 3})
    assert len(messages_of(scene)) == 4, "what would be refused again is not sent"

    allow_everybody(scene)
    dry = answer(scene, "send", "--all", "--dry-run", status=1)
    assert (dry["found"], dry["sent"], dry["not_sent"]) == (4, 3, {"not_json": 1})
    assert len(messages_of(scene)) == 4
    done = answer(scene, "send", "--reason", "source_not_allowed")
    assert (done["found"], done["sent"], done["not_sent"]) == (3, 3, {})
    sent = messages_of(scene)[4:]
    assert [json.loads(message.value)["id"] for message in sent] == ["d", "b", "c"]
    assert [message.key for message in sent] == [b"key-0", b"key-2", b"key-2"]
    assert [message.timestamp for message in sent] == [SENT + n for n in (0, 2, 2)]
    assert {tuple(message.headers) for message in sent} == {tuple(headers)}
    assert sent[0].value == news("d", "forum")

    nothing = answer(scene, "send", "--reason", "source_not_allowed")
    assert (nothing["found"], nothing["sent"]) == (0, 0) and len(messages_of(scene)) == 7
    twice = letters_command(scene, "send", f"{topic}/0/0")
    assert twice.exit_code == 1 and "was sent again at" in twice.stderr
    forced = answer(scene, "send", f"{topic}/0/1", "--force")
    assert forced["sent"] == 1 and messages_of(scene)[7].value == b"no JSON"
    assert [row["sent"] for row in answer(scene, "list", "--summary")] == [3, 1]
    assert answer(scene, "list", "--unsent") == []

    read_until(scene, letters=5, documents=5)
    assert [letter["position"] for letter in answer(scene, "list", "--unsent")] == [f"{topic}/0/7"]


def test_a_message_that_kafka_no_longer_has_is_sent_from_the_topic_of_dead_letters(
    one_partition: Scene,
) -> None:
    scene, topic = one_partition, one_partition.kafka.news
    binary = b"\xff\xfe"
    produce(scene, news("d", "forum"), binary, news("f", "forum", text="x" * 300_000))
    produce(scene, news("old", "forum"), first=SENT - 5 * DAY)
    read_until(scene, letters=4, documents=0)
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 3})
    admin.close()
    allow_everybody(scene)

    assert answer(scene, "show", f"{topic}/0/0")["payload_from"] == "dead_letters"
    done = answer(scene, "send", "--all", "--force", status=1)
    assert (done["sent"], done["from_dead_letters"], done["not_sent"]) == (3, 2, {"gone": 1})
    assert "archive" in done["examples"][0]["why"], "only the beginning of a large message is kept"
    _, *sent = messages_of(scene)
    assert [message.value for message in sent] == [news("d", "forum"), binary, news("old", "forum")]
    assert min(message.timestamp for message in sent) > SENT, "Kafka would soon delete what looks old"


def test_a_topic_that_was_made_again_gives_no_message_of_another_incarnation(one_partition: Scene) -> None:
    scene, topic = one_partition, one_partition.kafka.news
    produce(scene, news("old", "forum"))
    read_until(scene, letters=1, documents=0)
    execute(scene, "UPDATE dead_letters SET incarnation = 'before'")
    allow_everybody(scene)
    done = answer(scene, "send", "--all", status=1)
    assert (done["sent"], done["not_sent"]) == (0, {"gone": 1})
    assert len(messages_of(scene)) == 1, topic


def test_a_run_that_is_killed_half_way_sends_no_letter_more_than_twice_and_all_of_them(
    one_partition: Scene,
) -> None:
    scene = one_partition
    produce(scene, *[news(f"n{number}", "forum") for number in range(60)])
    read_until(scene, letters=60, documents=0)
    allow_everybody(scene)
    words = [sys.executable, "-m", "monitor", "dead-letters", "send", "--all", "--rate", "4"]
    sending = subprocess.Popen(words, env=scene.environ, cwd=ROOT)
    sent_at = "SELECT count(*) FROM dead_letters WHERE sent_at IS NOT NULL"
    wait_until(lambda: execute(scene, sent_at)[0][0] == 20, 60, "a chunk is noted")
    time.sleep(1.5)
    sending.kill()
    sending.wait(10)
    execute(scene, "UPDATE leases SET expires_at = now() - interval '1 second'")

    rest = answer(scene, "send", "--all", "--rate", "1000")
    assert rest["sent"] == 40 and rest["not_sent"] == {}
    ids = [json.loads(message.value)["id"] for message in messages_of(scene)[60:]]
    assert set(ids) == {f"n{number}" for number in range(60)}
    assert 60 <= len(ids) <= 80
    read_until(scene, letters=60, documents=60)


def test_two_runs_at_once_send_each_letter_once(one_partition: Scene) -> None:
    scene = one_partition
    produce(scene, *[news(f"n{number}", "forum") for number in range(30)])
    read_until(scene, letters=30, documents=0)
    allow_everybody(scene)
    words = [sys.executable, "-m", "monitor", "dead-letters", "send", "--all", "--rate", "10"]
    runs = [subprocess.Popen(words, env=scene.environ, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = sorted(run.communicate(timeout=120)[0] for run in runs)
    assert outputs == [b"0 of 0 sent\n", b"30 of 30 sent\n"]
    assert len(messages_of(scene)) == 60


def test_monitors_that_refuse_again_what_is_sent_do_not_make_a_run_endless(one_partition: Scene) -> None:
    scene = one_partition
    produce(scene, *[news(f"n{number}", "forum") for number in range(6)])
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: counts(scene)[0] == 6, 60, "the letters")
    allow_everybody(scene)  # for the command; the monitor was not restarted
    few = answer(scene, "send", "--all", "--limit", "1")
    assert few["sent"] == 1
    wait_until(lambda: counts(scene)[0] == 7, 60, "it is refused again")
    done = answer(scene, "send", "--all", "--rate", "0.5")
    assert (done["found"], done["sent"]) == (6, 6)
    wait_until(lambda: counts(scene)[0] == 13, 60, "all are refused again")
    assert monitor.stop() == 0
