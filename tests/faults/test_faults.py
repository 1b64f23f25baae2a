"""A short selection of `python -m tools.faults`, and the cases that it does not cover, such as frozen workers."""

import copy
import json
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from stream.domain.documents import Kind
from tests.conftest import need
from tests.faults.classifiers import OTHER_GAZETTEER
from tests.faults.contents import Contents, read_database
from tests.faults.hazards import Hazard, HazardousMessages, draw_hazards
from tests.faults.oracle import InputMessage, Reference, generate_messages, send
from tests.faults.sandbox import PARTITIONS, Sandbox, sample_resources, wait_until_drained
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres, wait_until
from tools.faults import DOCUMENTS, Outcome, run_seed

# Together they have every hazard.
SEEDS = (13, 61, 80)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_kills_and_hazards_neither_lose_nor_duplicate_documents(
    seed: int, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    outcome = need(lambda: run_seed(seed, kafka, postgres, tmp_path))
    assert outcome.differences == {}, str(outcome)
    assert 0.9 * DOCUMENTS < outcome.documents < DOCUMENTS + 50 and outcome.kills
    assert (outcome.cuts > 0) == (Hazard.CUTS in outcome.hazards)


def test_the_seeds_that_are_tested_have_every_hazard() -> None:
    drawn = [draw_hazards(random.Random(f"hazards {seed}")) for seed in SEEDS]
    assert frozenset().union(*drawn) == set(Hazard)


def test_the_oracle_detects_lost_duplicated_and_changed_rows() -> None:
    now = datetime.now(UTC)
    topics = {kind: kind.value for kind in {message.kind for message in generate_messages(1, 50, 2, now)}}
    expected = Reference(topics).read(generate_messages(1, 50, 2, now), now)
    assert expected.differences(expected) == {}
    other = copy.deepcopy(expected)
    other.documents.pop(next(iter(other.documents)))
    mentions = other.mentions[next(iter(other.mentions))]
    mentions.pop(next(iter(mentions)))
    other.entity_sums[3600, now, "XNAS:AB", "news", 20] = (1, 0, 0, 1, 0, -9, 81)
    cell = next(iter(other.aggregates))
    other.aggregates[cell] = tuple(2 * number for number in other.aggregates[cell])
    other.dead["news", 0, 10_000] = "nul"
    assert expected.differences(other) == {
        "documents lost": 1, "mentions differ": 1, "aggregates differ": 1, "entity sums extra": 1, "dead extra": 1,
    }  # fmt: skip


def test_the_oracle_allows_either_gazetteer_for_what_is_not_stored_when_the_list_changes() -> None:
    now = datetime.now(UTC)
    topics = {kind: kind.value for kind in Kind}
    messages = generate_messages(3, 60, 2, now)
    stored = Reference(topics).read(messages[:20], now)
    sent = Reference(topics).read(messages[:40], now)
    everything = Reference(topics).read(messages, now)
    other = Reference(topics)
    linked_by_other = other.read(messages, now)
    other.rewrite(OTHER_GAZETTEER)

    def changed() -> Reference:
        reference = Reference(topics)
        reference.read(messages[:40], now)
        reference.change_gazetteer(stored, OTHER_GAZETTEER)
        reference.read(messages[40:], now)
        return reference

    after_the_change = everything.documents.keys() - sent.documents.keys()
    assert changed().compare(everything)["documents differ"] == len(after_the_change)
    assert changed().compare(linked_by_other)["documents differ"] == len(stored.documents)


def test_the_newest_version_of_a_corrected_story_stays_in_whatever_order_they_are_read() -> None:
    now, topics = datetime.now(UTC), {kind: kind.value for kind in Kind}
    messages = generate_messages(4, 100, 2, now)
    hazardous = HazardousMessages(random.Random(4), 2, now)
    stream = hazardous.add_to(messages, frozenset({Hazard.CORRECTED}))
    expected = Reference(topics).read(stream, now)
    assert expected.documents != Reference(topics).read(messages, now).documents
    random.Random(5).shuffle(stream)
    shuffled = Reference(topics).read(stream, now)
    assert {name for name in expected.differences(shuffled) if not name.startswith("dead")} == set()


def test_the_same_seed_generates_the_same_messages_and_another_seed_others() -> None:
    now = datetime.now(UTC)
    assert (
        generate_messages(5, 100, 3, now)
        == generate_messages(5, 100, 3, now)
        != generate_messages(6, 100, 3, now)
    )
    reasons = {message.reason for seed in range(20) for message in generate_messages(seed, 100, 3, now)}
    assert len(reasons - {None}) == 12


def test_the_fault_runner_uses_every_step_of_a_batch() -> None:
    assert {random.Random(seed).choice(FAILPOINTS) for seed in range(100)} == set(FAILPOINTS)
    lost = Outcome(1, ["after_ack x1"], 0, 10, {"documents lost": 2}, 1.0)
    assert "documents lost 2" in str(lost)


@pytest.fixture
def sandbox(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox.make(0, kafka, postgres.create_database(), tmp_path)
    yield sandbox
    sandbox.close()


def send_messages(sandbox: Sandbox, kafka: Kafka) -> tuple[list[InputMessage], Contents]:
    """Send a stream of messages. Returns them and what the database must hold after them."""
    now = datetime.now(UTC)
    messages = generate_messages(77, DOCUMENTS, PARTITIONS, now)
    send(messages, sandbox.topics, kafka.bootstrap)
    return messages, Reference(sandbox.topics).read(messages, now)


def test_a_worker_frozen_past_its_session_timeout_writes_nothing_when_it_resumes(
    sandbox: Sandbox, kafka: Kafka
) -> None:
    _, expected = send_messages(sandbox, kafka)
    zombie = sandbox.start("after_inference", "3", "STOP")
    wait_until(lambda: is_stopped(zombie.process.pid), 60, "the worker freezes while it processes a batch")
    other = sandbox.start()
    wait_until_drained(sandbox, expected, [other])
    assert expected.differences(read_database(sandbox.url)) == {}
    zombie.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: zombie.metric("sentiment_documents_total", outcome="redelivered"),
        60,
        "its batch is rejected and counted",
    )
    assert expected.differences(read_database(sandbox.url)) == {}


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_stopped_under_load_leaves_no_batch_to_process_again(sandbox: Sandbox, kafka: Kafka) -> None:
    messages, expected = send_messages(sandbox, kafka)
    first = sandbox.start()
    wait_until(
        lambda: len(read_database(sandbox.url).documents) > 50, 60, "the worker has processed some documents"
    )
    stopping = threading.Timer(0.0, first.process.send_signal, [signal.SIGTERM])
    stopping.start()
    assert first.process.wait(45) == 0
    done = sum(read_database(sandbox.url).offsets.values())
    assert 0 < done < len(messages), "the worker had nothing left to do when it was stopped"
    second = sandbox.start()
    wait_until_drained(sandbox, expected, [second])
    assert expected.differences(read_database(sandbox.url)) == {}
    assert second.metric("sentiment_documents_total", outcome="redelivered") == 0


def test_copies_and_timestamps_a_day_off_change_no_sum(
    kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    day, now, draw = 86_400, datetime.now(UTC), random.Random(8)
    sandbox = Sandbox.make(
        0, kafka, postgres.create_database(), tmp_path, MONITOR_STREAM__FUTURE_SECONDS=str(2 * day)
    )

    def message(number: int) -> InputMessage:
        kind, partition = draw.choice(list(Kind)), draw.randrange(PARTITIONS)
        published_at = now + timedelta(seconds=draw.uniform(-day, day))
        body = {"id": str(number), "text": f"shares {number}", "published_at": published_at.isoformat()}
        return InputMessage(kind, partition, json.dumps(body).encode())

    once = [message(number) for number in range(400)]
    copies = [replace(original, partition=draw.randrange(PARTITIONS)) for original in 3 * once]
    draw.shuffle(copies)
    send(copies, sandbox.topics, kafka.bootstrap)
    sums = Reference(sandbox.topics, future=timedelta(days=2)).read(once, now).aggregates
    expected = Reference(sandbox.topics, future=timedelta(days=2)).read(copies, now)
    try:
        wait_until_drained(sandbox, expected, [sandbox.start()])
        actual = read_database(sandbox.url)
    finally:
        sandbox.close()
    assert expected.differences(actual) == {}
    assert actual.aggregates == sums
    assert len(actual.documents) == len(once)


def test_large_messages_do_not_fill_memory_and_one_too_large_becomes_a_dead_letter(
    kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    limits = {"MONITOR_STREAM__IN_HAND_BYTES": "8000000", "MONITOR_STREAM__BATCH_DOCUMENTS": "512"}
    sandbox = Sandbox.make(0, kafka, postgres.create_database(), tmp_path, **limits)
    now = datetime.now(UTC)

    def message(number: int, size: int) -> InputMessage:
        body = {"id": str(number), "text": "fall " * (size // 5), "published_at": now.isoformat()}
        reason = "too_large" if size > 1_000_000 else None
        return InputMessage(Kind.NEWS, number % PARTITIONS, json.dumps(body).encode(), reason)

    # A worker loads what it needs with its first messages.
    small = [message(n, 1_000) for n in range(180, 190)]
    messages = [message(n, 10_000_000 if n in (20, 21) else 900_000) for n in range(180)]
    reference = Reference(sandbox.topics)
    expected = reference.read(small, now)
    try:
        worker = sandbox.start()
        wait_until(worker.is_ready, 60, "the worker is ready")
        send(small, sandbox.topics, kafka.bootstrap)
        wait_until_drained(sandbox, expected, [worker])
        before = sample_resources(worker, 0).memory
        expected = reference.read(messages, now)
        send(messages, sandbox.topics, kafka.bootstrap)
        wait_until_drained(sandbox, expected, [worker])
        assert sample_resources(worker, 0).peak - before < 110e6, "160 MB were sent"
        assert expected.differences(read_database(sandbox.url)) == {}
    finally:
        sandbox.close()


@pytest.mark.timeout(200)
def test_slow_database_connections_that_break_during_commit_lose_nothing(
    sandbox: Sandbox, kafka: Kafka
) -> None:
    _, expected = send_messages(sandbox, kafka)
    with sandbox.unreliable_database(0.2, delay=0.005) as proxy:
        worker = sandbox.start()
        wait_until_drained(sandbox, expected, [worker])
        assert min(proxy.cuts.values()) > 0 and sum(proxy.cuts.values()) > 4
        assert worker.metric("sentiment_store_retries_total")
    assert expected.differences(read_database(sandbox.url)) == {}


def test_a_worker_retries_after_losing_a_deadlock(sandbox: Sandbox, kafka: Kafka) -> None:
    engine = create_engine(sandbox.url)

    def cause_deadlocks() -> None:
        """Take the workers' locks in the opposite order; the long deadlock_timeout makes the worker lose."""
        for _ in range(4):
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL deadlock_timeout = '1h'"))
                connection.execute(text("LOCK TABLE aggregates IN SHARE ROW EXCLUSIVE MODE"))
                time.sleep(0.3)
                connection.execute(text("LOCK TABLE offsets IN EXCLUSIVE MODE"))
            time.sleep(0.2)

    worker = sandbox.start()
    wait_until(worker.is_ready, 60, "the worker is ready")
    deadlocks = threading.Thread(target=cause_deadlocks)
    deadlocks.start()
    _, expected = send_messages(sandbox, kafka)
    wait_until_drained(sandbox, expected, [worker])
    deadlocks.join(60)
    count = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with engine.connect() as connection:
        assert connection.execute(count).scalar_one() > 0
    engine.dispose()
    assert expected.differences(read_database(sandbox.url)) == {}


def test_a_worker_whose_agent_ends_exits_with_an_error(sandbox: Sandbox, kafka: Kafka) -> None:
    send_messages(sandbox, kafka)
    worker = sandbox.start("agent")
    assert worker.process.wait(120) == 1
    assert re.search(r"the agent \S+ ended although nobody stopped it", worker.log.read_text())


def test_a_worker_rejected_by_its_group_exits_with_the_brokers_reason(
    postgres: Postgres, tmp_path: Path
) -> None:
    strict = need(lambda: Kafka(tmp_path / "kafka", extra="group.min.session.timeout.ms=10000"))
    with strict as kafka:
        sandbox = Sandbox.make(0, kafka, postgres.create_database(), tmp_path)
        worker = sandbox.start()
        try:
            assert worker.process.wait(120) == 1
        finally:
            sandbox.close()
    assert "InvalidSessionTimeoutError" in worker.log.read_text()
