"""Batching, ordering and draining, over a source of bundles that needs neither Kafka nor Faust."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from stream import worker as worker_module
from stream.bundle_queue import BundleQueue
from stream.bundles import Bundle, Record, TopicPartition
from stream.domain.errors import BrokerError
from stream.lag import InHand, PartitionProgress
from stream.retry import StopRequested
from stream.settings import StreamSettings
from stream.worker import BundleReceiver, Worker

NEWS = ("news", 0)
GENERATION = 1


def bundle(offset: int, documents: int = 1, size: int = 0, generation: int = GENERATION) -> Bundle:
    records = [Record(*NEWS, offset + n, b"") for n in range(documents)]
    return Bundle(records, documents, size, generation)


class ScriptedSource:
    """Delivers some bundles at once, then waits; records the calls of the worker."""

    generation = GENERATION

    def __init__(self, bundles: Sequence[Bundle], receiver: BundleReceiver) -> None:
        self._bundles, self._receiver = bundles, receiver
        self._crashed = asyncio.Event()
        self.error: BaseException | None = None
        self.refusal: BrokerError | None = None
        self.progress_now: dict[TopicPartition, PartitionProgress] = {}
        self.delivered = False
        self.acknowledged: list[int] = []
        self.calls: list[str] = []

    def crash(self, error: BaseException) -> None:
        self.error = error
        self._crashed.set()

    async def run(self) -> None:
        self._receiver.partitions_assigned([NEWS])
        await self._receiver.receive(self._bundles)
        self.delivered = True
        await self._crashed.wait()

    def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def progress(self, seconds: float) -> dict[TopicPartition, PartitionProgress]:
        return self.progress_now

    def in_hand(self) -> dict[str, InHand]:
        return {"news": InHand(100, frozenset({0}))}

    async def acknowledge(self, bundle: Bundle) -> None:
        self.acknowledged.append(bundle.end)

    async def commit(self) -> None:
        self.calls.append("commit")

    async def stop(self) -> None:
        self.calls.append("stop")


class Rig:
    """A worker with a scripted source, and lists of the offsets that it classified and wrote."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        classify: Callable[[list[int]], None] = lambda offsets: None,
        write: Callable[[list[int]], None] = lambda offsets: None,
        **settings: Any,
    ) -> None:
        """`classify` and `write` get the offsets of a batch."""
        self._bundles, self._classify_hook, self._write_hook = bundles, classify, write
        self.classified: list[list[int]] = []
        self.written: list[list[int]] = []
        self.stop = asyncio.Event()
        self.stopping = False
        self.held = set[str]()
        stream_settings = StreamSettings(**{"batch_documents": 1, "batch_seconds": 0.01} | settings)
        self.worker = Worker[list[int]](
            self._connect,
            stream_settings,
            BundleQueue(stream_settings, "news", lambda topic: topic not in self.held),
            self._classify,
            self._write,
            self._on_stopping,
        )

    def _connect(self, receiver: BundleReceiver) -> ScriptedSource:
        self.source = ScriptedSource(self._bundles, receiver)
        return self.source

    def _classify(self, records: Sequence[Record]) -> list[int]:
        offsets = [record.offset for record in records]
        self.classified.append(offsets)
        self._classify_hook(offsets)
        return offsets

    def _write(self, offsets: list[int]) -> None:
        self._write_hook(offsets)
        self.written.append(offsets)

    def _on_stopping(self) -> None:
        self.stopping = True

    async def run_until(self, condition: Callable[[], bool]) -> None:
        """Run the worker until the condition holds, then stop it.  Raises what the worker raises."""
        running = asyncio.create_task(self.worker.run(self.stop))
        while not condition() and not running.done():
            await asyncio.sleep(0.005)
        self.stop.set()
        await running


def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine for at most 20 seconds."""
    asyncio.run(asyncio.wait_for(coroutine, 20))


def test_a_batch_holds_whole_bundles_in_order_and_none_from_before_a_rebalance() -> None:
    bundles = [bundle(0, 4), bundle(4, 9, generation=0), bundle(13, 6), bundle(19), bundle(20, 2, size=5000)]

    async def run() -> None:
        rig = Rig(bundles, batch_documents=10, batch_bytes=1000)
        await rig.run_until(lambda: len(rig.written) == 3)
        assert rig.written == [
            [0, 1, 2, 3, 13, 14, 15, 16, 17, 18],
            [19],
            [20, 21],  # a bundle that is larger than a batch is a batch of its own
        ]
        assert rig.source.acknowledged == [4, 19, 20, 22]

    finish(run())


def test_two_batches_are_classified_at_once_and_written_in_order() -> None:
    both_classify = threading.Barrier(2, timeout=10)

    def classify(offsets: list[int]) -> None:
        both_classify.wait()  # breaks unless another batch is classified at the same time
        time.sleep(0.05 if offsets[0] % 2 == 0 else 0)

    async def run() -> None:
        rig = Rig([bundle(offset) for offset in range(8)], classify)
        await rig.run_until(lambda: len(rig.written) == 8)
        assert rig.written == [[offset] for offset in range(8)]
        assert rig.source.acknowledged == list(range(1, 9))

    finish(run())


def test_a_batch_is_acknowledged_only_after_it_is_written() -> None:
    acknowledged_before: list[list[int]] = []

    async def run() -> None:
        rig = Rig(
            [bundle(offset) for offset in range(5)],
            write=lambda _: acknowledged_before.append([*rig.source.acknowledged]),
        )
        await rig.run_until(lambda: len(rig.written) == 5)
        assert acknowledged_before == [list(range(1, offset + 1)) for offset in range(5)]

    finish(run())


def test_after_a_failed_batch_nothing_is_written_and_the_worker_ends() -> None:
    def classify(offsets: list[int]) -> None:
        if offsets == [3]:
            raise ValueError("a bug")

    async def run() -> None:
        rig = Rig([bundle(offset) for offset in range(100)], classify)
        with pytest.raises(ValueError, match="a bug"):
            await rig.run_until(lambda: False)
        assert rig.written == [[0], [1], [2]][: len(rig.written)], "only batches before it may be written"
        assert len(rig.classified) < 10, "the rest is not processed"
        assert rig.source.acknowledged == list(range(1, len(rig.written) + 1))
        assert rig.source.calls == ["stop"] and rig.stopping

    finish(run())


def test_a_full_queue_holds_the_source_back_until_less_than_a_batch_waits() -> None:
    may_write = threading.Event()

    async def run() -> None:
        rig = Rig([bundle(offset) for offset in range(8)], write=lambda _: may_write.wait(10))
        running = asyncio.create_task(rig.run_until(lambda: len(rig.written) == 8))
        while len(rig.classified) < 3:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert not rig.source.delivered, "three batches are in progress and five wait"
        assert rig.classified == [[0], [1], [2]]
        may_write.set()
        await running
        assert rig.source.delivered

    finish(run())


def test_a_small_batch_waits_for_more_while_another_one_is_classified() -> None:
    may_end = threading.Event()

    def classify(offsets: list[int]) -> None:
        if 0 in offsets:
            may_end.wait(10)

    async def run() -> None:
        rig = Rig([bundle(0, 10)], classify, batch_documents=10)
        running = asyncio.create_task(rig.run_until(lambda: len(rig.written) == 2))
        for offset in (10, 11, 12):
            await asyncio.sleep(0.05)  # far more than `batch_seconds`
            await rig.worker.receive([bundle(offset)])
        assert len(rig.classified) == 1
        may_end.set()
        await running
        assert rig.written[1] == [10, 11, 12]

    finish(run())


def test_a_stop_finishes_the_batches_in_progress_commits_and_starts_no_other() -> None:
    may_write = threading.Event()

    async def run() -> None:
        rig = Rig([bundle(offset) for offset in range(50)], write=lambda _: may_write.wait(10))
        running = asyncio.create_task(rig.worker.run(rig.stop))
        while len(rig.classified) < 2:
            await asyncio.sleep(0.005)
        rig.stop.set()
        await asyncio.sleep(0.05)
        assert rig.source.calls == [], "it does not leave before the batches are written"
        may_write.set()
        await running
        assert 2 <= len(rig.written) <= 4 and rig.written == rig.classified
        assert rig.source.acknowledged == list(range(1, len(rig.written) + 1))
        assert rig.source.calls == ["commit", "stop"] and rig.stopping

    finish(run())


def test_a_batch_that_is_not_full_yet_when_the_worker_stops_is_left_to_kafka() -> None:
    may_end = threading.Event()

    async def run() -> None:
        rig = Rig([bundle(0)], classify=lambda _: may_end.wait(10), batch_documents=10)
        running = asyncio.create_task(rig.worker.run(rig.stop))
        while len(rig.classified) < 1:
            await asyncio.sleep(0.005)
        await rig.worker.receive([bundle(1)])
        await asyncio.sleep(0.05)  # it waits for more while the first batch is classified
        rig.stop.set()
        await asyncio.sleep(0.05)
        may_end.set()
        await running
        assert rig.classified == rig.written == [[0]] and rig.source.acknowledged == [1]

    finish(run())


def test_a_batch_that_takes_too_long_to_drain_is_not_committed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "DRAIN_SECONDS", 0.05)
    stopping = threading.Event()

    async def run() -> None:
        rig = Rig([bundle(0)], write=lambda _: stopping.wait(0.5))
        await rig.run_until(lambda: len(rig.classified) == 1)
        assert rig.source.calls == ["stop"]

    finish(run())
    assert "did not finish within 0.05 s" in caplog.text


def test_a_batch_that_stops_waiting_for_the_database_is_not_acknowledged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    def write(offsets: list[int]) -> None:
        raise StopRequested("stopped while waiting")

    async def run() -> None:
        rig = Rig([bundle(0), bundle(1)], write=write)
        await rig.run_until(lambda: "Kafka sends the batch again" in caplog.text)
        assert rig.written == [] and rig.source.acknowledged == []

    finish(run())


def test_a_source_that_crashes_ends_the_worker_with_its_reason() -> None:
    async def run() -> None:
        rig = Rig([])
        running = asyncio.create_task(rig.worker.run(rig.stop))
        while rig.worker.joined_at is None:
            await asyncio.sleep(0.005)
        rig.source.crash(BrokerError("the stream ended"))
        with pytest.raises(BrokerError, match="the stream ended"):
            await running
        assert rig.source.calls == ["stop"]

    finish(run())


def test_a_source_that_can_no_longer_deliver_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "OBSERVE_SECONDS", 0.01)

    async def run() -> None:
        rig = Rig([])
        running = asyncio.create_task(rig.worker.run(rig.stop))
        while rig.worker.joined_at is None:
            await asyncio.sleep(0.005)
        rig.source.refusal = BrokerError("the agent ended")
        with pytest.raises(BrokerError, match="the agent ended"):
            await running

    finish(run())


def comments(offset: int) -> Bundle:
    return Bundle([Record("comments", 0, offset, b"")], 1, 0, GENERATION)


def test_news_does_not_wait_for_a_backlog_of_comments() -> None:
    may_write = threading.Event()

    async def run() -> None:
        rig = Rig([comments(offset) for offset in range(100, 160)], write=lambda _: may_write.wait(10))
        running = asyncio.create_task(rig.run_until(lambda: len(rig.written) == 62))
        while len(rig.classified) < 3:
            await asyncio.sleep(0.005)
        await rig.worker.receive([])  # the source of comments is held back; that of news is not
        news = asyncio.create_task(rig.worker.receive([bundle(1), bundle(2)]))
        await asyncio.sleep(0.02)
        may_write.set()
        await running
        await news
        assert {rig.written.index([1]), rig.written.index([2])} == {3, 4}
        assert [offset for (offset,) in rig.written if offset >= 100] == list(range(100, 160))

    finish(run())


def test_a_topic_that_may_not_start_does_not_hold_the_other() -> None:
    async def run() -> None:
        rig = Rig([comments(100), bundle(1), comments(101), bundle(2)])
        rig.held.add("comments")
        running = asyncio.create_task(rig.run_until(lambda: len(rig.written) == 4))
        while len(rig.written) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert rig.written == [[1], [2]]
        rig.held.clear()
        await running
        assert rig.written[2:] == [[100], [101]]

    finish(run())


def test_the_worker_updates_its_lag_and_the_time_of_the_last_observation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "OBSERVE_SECONDS", 0.01)

    async def run() -> None:
        rig = Rig([])
        running = asyncio.create_task(rig.run_until(lambda: bool(rig.worker.waiting)))
        while rig.worker.observed_at is None:
            await asyncio.sleep(0.005)
        assert rig.worker.waiting == {} and NEWS in rig.worker.caught_up
        rig.source.progress_now = {
            NEWS: PartitionProgress(written=3, delivered=5, start=0, position=6, end=10, end_seen_at=7.0)
        }
        await running
        assert rig.worker.waiting == {NEWS: 7}

    finish(run())
