"""A short selection of `python -m tests.faults.runner`, and what it takes a frozen worker to show."""

import json
import random
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
from tests.faults.oracle import Held, Reference, Sent, send, stored, stream
from tests.faults.runner import DOCUMENTS, Outcome, one
from tests.faults.stage import PARTITIONS, Stage, drain, look
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres, wait_until


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [210])  # three kills, and a line that is cut
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    seed: int, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    outcome = one(seed, kafka, postgres, tmp_path)
    assert outcome.differences == {}, str(outcome)
    assert 0.9 * DOCUMENTS < outcome.documents < DOCUMENTS and outcome.kills


def test_the_oracle_sees_what_is_lost_doubled_or_changed() -> None:
    now = datetime.now(UTC)
    topics = {kind: kind.value for kind in {message.kind for message in stream(1, 50, 2, now)}}
    held = Reference(topics).read(stream(1, 50, 2, now), now)
    assert held.differences(held) == {}
    other = Held(dict(held.documents), dict(held.aggregates), dict(held.dead), dict(held.offsets))
    other.documents.pop(next(iter(other.documents)))
    cell = next(iter(other.aggregates))
    other.aggregates[cell] = tuple(2 * number for number in other.aggregates[cell])
    other.dead["news", 0, 10_000] = "nul"
    assert held.differences(other) == {"documents lost": 1, "aggregates differ": 1, "dead extra": 1}


def test_a_seed_gives_the_same_stream_again_and_another_another() -> None:
    now = datetime.now(UTC)
    assert stream(5, 100, 3, now) == stream(5, 100, 3, now) != stream(6, 100, 3, now)
    reasons = {message.reason for seed in range(20) for message in stream(seed, 100, 3, now)}
    assert len(reasons - {None}) == 11


def test_the_runner_draws_from_every_step_of_a_batch() -> None:
    assert {random.Random(seed).choice(FAILPOINTS) for seed in range(100)} == set(FAILPOINTS)
    lost = Outcome(1, ["after_ack x1"], 0, 10, {"documents lost": 2}, 1.0)
    assert "documents lost 2" in str(lost)


@pytest.fixture
def stage(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> Iterator[Stage]:
    made = Stage.make(0, kafka, postgres.create_database(), tmp_path)
    yield made
    made.close()


def prepared(stage: Stage, kafka: Kafka) -> tuple[list[Sent], Held]:
    """A stream that was sent, and what it must lead to."""
    now = datetime.now(UTC)
    messages = stream(77, DOCUMENTS, PARTITIONS, now)
    send(messages, stage.topics, kafka.bootstrap)
    return messages, Reference(stage.topics).read(messages, now)


def test_a_worker_that_froze_past_its_session_writes_nothing_when_it_wakes(
    stage: Stage, kafka: Kafka
) -> None:
    _, expected = prepared(stage, kafka)
    zombie = stage.start("after_inference", "3", "STOP")
    wait_until(lambda: is_stopped(zombie.process.pid), 60, "the worker froze with a batch in hand")
    other = stage.start()
    drain(stage, expected, [other])
    assert expected.differences(stored(stage.url)) == {}
    zombie.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: zombie.metric("sentiment_documents_total", outcome="redelivered"),
        60,
        "its batch is refused and counted",
    )
    assert expected.differences(stored(stage.url)) == {}


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_that_is_told_to_stop_under_load_leaves_nothing_to_be_redone(
    stage: Stage, kafka: Kafka
) -> None:
    messages, expected = prepared(stage, kafka)
    first = stage.start()
    wait_until(lambda: len(stored(stage.url).documents) > 50, 60, "it is at work")
    stopping = threading.Timer(0.0, first.process.send_signal, [signal.SIGTERM])
    stopping.start()
    assert first.process.wait(45) == 0
    done = sum(stored(stage.url).offsets.values())
    assert 0 < done < len(messages), "it was stopped too late to mean anything"
    second = stage.start()
    drain(stage, expected, [second])
    assert expected.differences(stored(stage.url)) == {}
    assert second.metric("sentiment_documents_total", outcome="redelivered") == 0


def test_copies_and_clocks_a_day_off_change_no_sum(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> None:
    day, now, draw = 86_400, datetime.now(UTC), random.Random(8)
    stage = Stage.make(
        0, kafka, postgres.create_database(), tmp_path, MONITOR_STREAM__FUTURE_SECONDS=str(2 * day)
    )
    once = [
        Sent(draw.choice(list(Kind)), draw.randrange(PARTITIONS), json.dumps({
            "id": str(n), "text": f"shares {n}",
            "published_at": (now + timedelta(seconds=draw.uniform(-day, day))).isoformat(),
        }).encode()) for n in range(400)
    ]  # fmt: skip
    thrice = [replace(sent, partition=draw.randrange(PARTITIONS)) for sent in 3 * once]
    draw.shuffle(thrice)
    send(thrice, stage.topics, kafka.bootstrap)
    sums = Reference(stage.topics, future=timedelta(days=2)).read(once, now).aggregates
    expected = Reference(stage.topics, future=timedelta(days=2)).read(thrice, now)
    try:
        drain(stage, expected, [stage.start()])
        found = stored(stage.url)
    finally:
        stage.close()
    assert expected.differences(found) == {}
    assert found.aggregates == sums
    assert len(found.documents) == len(once)


def test_large_messages_fill_no_memory_and_one_that_is_too_large_harms_only_itself(
    kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    small = {"MONITOR_STREAM__IN_HAND_BYTES": "8000000", "MONITOR_STREAM__BATCH_DOCUMENTS": "512"}
    stage = Stage.make(0, kafka, postgres.create_database(), tmp_path, **small)
    now = datetime.now(UTC)

    def message(number: int, size: int) -> Sent:
        body = {"id": str(number), "text": "fall " * (size // 5), "published_at": now.isoformat()}
        reason = "too_large" if size > 1_000_000 else None
        return Sent(Kind.NEWS, number % PARTITIONS, json.dumps(body).encode(), reason)

    messages = [message(n, 10_000_000 if n in (20, 21) else 900_000) for n in range(110)]
    expected = Reference(stage.topics).read(messages, now)
    try:
        worker = stage.start()
        wait_until(worker.is_ready, 60, "the worker is ready")
        before = look(worker, 0).memory
        send(messages, stage.topics, kafka.bootstrap)
        drain(stage, expected, [worker])
        assert look(worker, 0).peak - before < 90e6, "100 MB were sent"
        assert expected.differences(stored(stage.url)) == {}
    finally:
        stage.close()


@pytest.mark.timeout(200)
def test_a_line_to_the_database_that_is_slow_and_cut_in_mid_commit_costs_nothing(
    stage: Stage, kafka: Kafka
) -> None:
    _, expected = prepared(stage, kafka)
    with stage.cut(0.2, delay=0.005) as line:
        worker = stage.start()
        drain(stage, expected, [worker])
        assert min(line.cuts.values()) > 0 and sum(line.cuts.values()) > 4
        assert worker.metric("sentiment_store_retries_total")
    assert expected.differences(stored(stage.url)) == {}


def test_a_worker_that_loses_a_deadlock_tries_again(stage: Stage, kafka: Kafka) -> None:
    engine = create_engine(stage.url)

    def cross() -> None:
        """Take the workers' locks the other way round, and leave it to them to give in."""
        for _ in range(4):
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL deadlock_timeout = '1h'"))
                connection.execute(text("LOCK TABLE aggregates IN SHARE ROW EXCLUSIVE MODE"))
                time.sleep(0.3)
                connection.execute(text("LOCK TABLE offsets IN EXCLUSIVE MODE"))
            time.sleep(0.2)

    worker = stage.start()
    wait_until(worker.is_ready, 60, "the worker is ready")
    crossing = threading.Thread(target=cross)
    crossing.start()
    _, expected = prepared(stage, kafka)
    drain(stage, expected, [worker])
    crossing.join(60)
    count = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with engine.connect() as connection:
        assert connection.execute(count).scalar_one() > 0
    engine.dispose()
    assert expected.differences(stored(stage.url)) == {}


def test_a_worker_whose_agent_ends_ends_with_an_error(stage: Stage, kafka: Kafka) -> None:
    prepared(stage, kafka)
    worker = stage.start("agent")
    assert worker.process.wait(120) == 1
    assert "the agent documents ended" in worker.log.read_text()


def test_a_worker_that_its_group_refuses_ends_with_the_brokers_reason(
    postgres: Postgres, tmp_path: Path
) -> None:
    strict = need(lambda: Kafka(tmp_path / "kafka", extra="group.min.session.timeout.ms=10000"))
    with strict as kafka:
        stage = Stage.make(0, kafka, postgres.create_database(), tmp_path)
        worker = stage.start()
        try:
            assert worker.process.wait(120) == 1
        finally:
            stage.close()
    assert "InvalidSessionTimeoutError" in worker.log.read_text()
