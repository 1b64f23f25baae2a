"""Only one file uses Faust, and it uses none of the ways that would acknowledge a failed batch."""

import asyncio
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher as aiokafka_fetcher
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP
from kafka.consumer import fetcher as kafka_python_fetcher

import stream
from stream.kafka import record_batches
from stream.kafka.faust_driver import BundleConsumer, InFlightLimit

FOLDER = Path(stream.__file__).parent
DRIVER = FOLDER / "kafka" / "faust_driver.py"


def test_only_the_driver_imports_faust() -> None:
    files = [
        path.name
        for path in FOLDER.rglob("*.py")
        if re.search(r"^(import|from) (faust|mode)\b", path.read_text(), re.M)
    ]
    assert files == [DRIVER.name]


def test_the_driver_never_takes_messages_in_a_way_that_acknowledges_a_failed_batch() -> None:
    code = DRIVER.read_text().split('"""', 2)[2]
    assert "noack_take(" in code
    assert not re.search(r"(?<!noack_)\btake\(|take_events\(|stream\.(events|items)\(|Table\(", code)
    assert re.findall(r"concurrency=(\d+)", code) == ["1"]


def test_the_check_of_faust_that_measures_from_the_start_of_the_process_is_off() -> None:
    """It logs an error per partition at every rebalance later than five minutes after the start."""
    detector = inspect.getsource(inspect.unwrap(vars(FaustConsumer)["_commit_livelock_detector"].fun))
    assert "self.verify_all_partitions_active()" in detector, "the method through which Faust checks"
    asyncio.run(BundleConsumer.verify_all_partitions_active(cast(BundleConsumer, None)))


def test_both_clients_read_responses_through_our_module_alone() -> None:
    """Fails if a release of aiokafka or kafka-python reads responses in another way."""
    record_batches.install(record_batches.DEFAULT_LIMIT)
    handler = inspect.getsource(aiokafka_fetcher)
    assert handler.count("MemoryRecords(") == handler.count("PartitionRecords(\n") == 1
    assert aiokafka_fetcher.MemoryRecords is record_batches.FetchedBatches
    assert aiokafka_fetcher.PartitionRecords is record_batches.AiokafkaPartition
    handler = inspect.getsource(kafka_python_fetcher)
    assert handler.count("MemoryRecords(") == handler.count("self.PartitionRecords(") == 1
    assert kafka_python_fetcher.MemoryRecords is record_batches.FetchedBatches
    assert kafka_python_fetcher.Fetcher.PartitionRecords is record_batches.KafkaPythonPartition
    for module in (aiokafka_fetcher, kafka_python_fetcher):
        assert not re.search(r"(gzip|snappy|lz4|zstd)_decode", inspect.getsource(module))


def test_the_limits_of_a_fetch_are_where_the_client_looks_for_them() -> None:
    """The driver sets attributes that Faust has no setting for."""
    start = inspect.getsource(AIOKafkaConsumer.start)
    assert "fetch_max_bytes=self._fetch_max_bytes" in start
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in start


@dataclass
class Consumer:
    """Records which partitions are paused."""

    partitions: set[TP]
    paused: set[TP] = field(default_factory=set)

    def assignment(self) -> set[TP]:
        return self.partitions

    def on_buffer_full(self, partition: TP) -> None:
        self.paused.add(partition)

    def on_buffer_drop(self, partition: TP) -> None:
        self.paused.discard(partition)


@dataclass
class App:
    consumer: Consumer


@dataclass
class Message:
    tp: TP
    offset: int
    bytes: int


@pytest.mark.parametrize(("what", "count", "size"), [("bytes", 5, 300), ("bundles", 600, 1)])
def test_a_topic_with_too_much_in_memory_is_paused_whole_and_the_other_is_not(
    what: str, count: int, size: int
) -> None:
    news, comments = {TP("news", 0), TP("news", 1)}, {TP("comments", 0)}
    consumer = Consumer(news | comments)
    limit = InFlightLimit(cast(Any, App(consumer)), "news", max_bytes=1000)
    messages = [Message(TP("news", 0), offset, size) for offset in range(count)]
    for message in messages:
        limit.add(cast(Any, message))
    assert consumer.paused == news
    for number, message in enumerate(messages, 1):
        limit.remove(cast(Any, message))
        if number == 1:
            assert consumer.paused == news, "it has room again when half of it is written"
    assert consumer.paused == set()
