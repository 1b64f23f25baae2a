"""What must never come into the file that knows Faust, and what of it needs no broker."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

import stream
from stream.settings import KafkaSettings, StreamSettings
from stream.worker import Worker, by_bytes

FOLDER = Path(stream.__file__).parent


def test_only_the_worker_knows_faust() -> None:
    knowing = [
        p.name
        for p in FOLDER.rglob("*.py")
        if re.search(r"^(import|from) (faust|mode)\b", p.read_text(), re.M)
    ]
    assert knowing == ["worker.py"]


def test_nothing_takes_messages_in_a_way_that_acks_what_failed() -> None:
    code = (FOLDER / "worker.py").read_text().split('"""', 2)[2]
    assert "noack_take(" in code
    assert not re.search(r"(?<!noack_)\btake\(|take_events\(|stream\.(events|items)\(|Table\(", code)
    assert re.findall(r"concurrency=(\d+)", code) == ["1"]


BATCHES = [
    ("nothing", [], []),
    ("all that fits goes together", [3, 3, 4], [[3, 3, 4]]),
    ("what does not fit begins the next", [6, 5, 5, 1], [[6], [5, 5], [1]]),
    ("what is longer than a batch goes alone", [2, 30, 2], [[2], [30], [2]]),
    ("messages without a value weigh nothing", [0, 10, 0, 1], [[0, 10, 0], [1]]),
]


@pytest.mark.parametrize(("what", "sizes", "batches"), BATCHES, ids=[case[0] for case in BATCHES])
def test_batches_are_bounded_by_bytes(what: str, sizes: list[int], batches: list[list[int]]) -> None:
    events: list[Any] = [SimpleNamespace(message=SimpleNamespace(value=b"x" * n or None)) for n in sizes]
    assert [[len(e.message.value or b"") for e in part] for part in by_bytes(events, 10)] == batches


def test_a_partition_is_caught_up_once_all_is_done_that_was_there_at_an_earlier_look() -> None:
    worker = Worker(KafkaSettings(), StreamSettings(), print, print)
    looks = [
        (100.0, 0, 50, None),  # fifty wait
        (102.0, 40, 90, None),  # forty of them are done, as many came
        (104.0, 60, 95, 100.0),  # the first fifty are done
        (106.0, 95, 95, 104.0),  # and what was there two seconds ago
        (106.0, 95, 95, 106.0),
        (106.0, 95, 95, 106.0),  # the broker does not answer any more
    ]
    for at, done, high, caught_up in looks:
        worker._see(TP("news", 0), done, high, at)
        assert worker.caught_up.get(("news", 0)) == caught_up
