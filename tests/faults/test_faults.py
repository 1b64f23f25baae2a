"""A short selection of `python -m tests.faults.runner`, and what it takes a frozen worker to show."""

import random
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.faults.oracle import Held, Sent, reference, send, stored, stream
from tests.faults.runner import DOCUMENTS, PARTITIONS, Outcome, Surroundings, drain, one
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres, wait_until


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [3, 14])
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    seed: int, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    outcome = one(seed, kafka, postgres, tmp_path)
    assert outcome.differences == {}, str(outcome)
    assert outcome.documents == DOCUMENTS and outcome.kills


def test_the_oracle_sees_what_is_lost_doubled_or_changed() -> None:
    now = datetime.now(UTC)
    topics = {kind: kind.value for kind in {message.kind for message in stream(1, 50, 2, now)}}
    held = reference(stream(1, 50, 2, now), topics, now)
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
    assert len(reasons - {None}) == 10


def test_the_runner_draws_from_every_step_of_a_batch() -> None:
    assert {random.Random(seed).choice(FAILPOINTS) for seed in range(100)} == set(FAILPOINTS)
    lost = Outcome(1, ["after_ack x1"], 10, {"documents lost": 2}, 1.0)
    assert "documents lost 2" in str(lost)


@pytest.fixture
def around(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> Iterator[Surroundings]:
    made = Surroundings.make(0, kafka, postgres, tmp_path)
    yield made
    made.close()


def prepared(around: Surroundings, kafka: Kafka) -> tuple[list[Sent], Held]:
    """A stream that was sent, and what it must lead to."""
    now, topics = datetime.now(UTC), {kind: topic for topic, kind in around.kafka.kinds.items()}
    messages = stream(77, DOCUMENTS, PARTITIONS, now)
    send(messages, topics, kafka.bootstrap)
    return messages, reference(messages, topics, now)


def running(around: Surroundings, index: int) -> Running:
    """The worker started as number `index`, to be asked for its metrics."""
    log = around.folder / f"{around.seed}-{index}.log"
    return Running(around.processes[index], f"http://127.0.0.1:{around.ports[index]}", log)


def test_a_worker_that_froze_past_its_session_writes_nothing_when_it_wakes(
    around: Surroundings, kafka: Kafka
) -> None:
    _, expected = prepared(around, kafka)
    zombie = around.start("after_inference", 3, "STOP")
    wait_until(lambda: is_stopped(zombie.pid), 60, "the worker froze with a batch in hand")
    other = around.start()
    drain(around, expected, [other])
    assert expected.differences(stored(around.url)) == {}
    zombie.send_signal(signal.SIGCONT)
    wait_until(
        lambda: running(around, 0).metric("sentiment_documents_total", outcome="redelivered"),
        60,
        "its batch is refused and counted",
    )
    assert expected.differences(stored(around.url)) == {}


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_that_is_told_to_stop_under_load_leaves_nothing_to_be_redone(
    around: Surroundings, kafka: Kafka
) -> None:
    messages, expected = prepared(around, kafka)
    first = around.start()
    wait_until(lambda: len(stored(around.url).documents) > 50, 60, "it is at work")
    stopping = threading.Timer(0.0, first.send_signal, [signal.SIGTERM])
    stopping.start()
    assert first.wait(45) == 0
    done = sum(stored(around.url).offsets.values())
    assert 0 < done < len(messages), "it was stopped too late to mean anything"
    second = around.start()
    drain(around, expected, [second])
    assert expected.differences(stored(around.url)) == {}
    assert running(around, 1).metric("sentiment_documents_total", outcome="redelivered") == 0
