"""Only one file uses Faust, and it uses none of the ways that would acknowledge a failed batch."""

import asyncio
import inspect
import re
from pathlib import Path
from typing import cast

from aiokafka.consumer import fetcher as aiokafka_fetcher
from faust.transport.consumer import Consumer as FaustConsumer
from kafka.consumer import fetcher as kafka_python_fetcher

import stream
from stream.kafka import record_batches
from stream.kafka.faust_driver import BundleConsumer

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
