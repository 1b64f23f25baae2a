"""What must never come into the file that knows Faust, and what of it needs no broker."""

import asyncio
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

import stream
from stream.kafka.settings import KafkaSettings
from stream.settings import StreamSettings
from stream.worker import FETCH_SECONDS, BundleConsumer, Worker, _parts

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


BUNDLES = [
    ("nothing", [], []),
    ("all that fits goes together", [3, 3, 4], [[3, 3, 4]]),
    ("what does not fit begins the next", [6, 5, 5, 1], [[6], [5, 5], [1]]),
    ("what is longer than a batch goes alone", [2, 30, 2], [[2], [30], [2]]),
    ("messages without a value weigh nothing", [0, 10, 0, 1], [[0, 10, 0], [1]]),
    ("no more than so many", [1, 1, 1, 1, 1], [[1, 1, 1, 1], [1]]),
]


@pytest.mark.parametrize(("what", "sizes", "bundles"), BUNDLES, ids=[case[0] for case in BUNDLES])
def test_bundles_are_bounded_by_number_and_by_bytes(
    what: str, sizes: list[int], bundles: list[list[int]]
) -> None:
    messages: list[Any] = [SimpleNamespace(value=b"x" * n or None) for n in sizes]
    assert [[len(m.value or b"") for m in part] for part in _parts(messages, 4, 10)] == bundles


def test_a_message_of_several_documents_counts_as_so_many() -> None:
    document = (
        b'{"id": "1", "text": "says \\"published_at\\": never", "published_at": "2026-03-01T11:00:00Z"}'
    )
    three, none = b"\n [" + b",".join([document] * 3) + b"]", b"[]"
    messages: list[Any] = [SimpleNamespace(value=v) for v in (three, document, three, none, None)]
    assert [len(part) for part in _parts(messages, 4, 10_000)] == [2, 2, 1]


FETCHES = [("a small one is given time for more", 3, FETCH_SECONDS), ("a full one is not", 4, 0.0)]


@pytest.mark.parametrize(("what", "messages", "pause"), FETCHES, ids=[case[0] for case in FETCHES])
def test_the_fetch_after(what: str, messages: int, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    tp, begun = TP("news", 0), list[float]()

    async def fetch(*_: object) -> dict[TP, list[Any]]:
        begun.append(time.monotonic())
        return {tp: [SimpleNamespace(value=b"x")] * messages}

    monkeypatch.setattr(driver.Consumer, "_getmany", fetch)
    consumer = BundleConsumer.__new__(BundleConsumer)
    consumer.settings = StreamSettings(batch_documents=4)

    async def run() -> list[dict[TP, list[Any]]]:
        return [await consumer._getmany(None, 1.0) for _ in range(3)]

    fetched = asyncio.run(run())
    assert [[len(part) for part in parts[tp]] for parts in fetched] == [[messages]] * 3
    assert begun[2] - begun[0] >= 2 * pause
    assert (consumer.next_fetch_at > begun[2]) is bool(pause)


def event(offset: int, documents: int, size: int = 0, generation: int = 1) -> Any:
    records = [SimpleNamespace(offset=offset + n) for n in range(documents)]
    bundle = SimpleNamespace(
        records=records, documents=documents, bytes=size, generation_id=generation
    )  # fmt: skip
    return SimpleNamespace(message=bundle)


def test_a_batch_is_of_whole_bundles_in_order_and_none_from_before_a_rebalance() -> None:
    worker = Worker(KafkaSettings(), StreamSettings(batch_documents=10, batch_bytes=1000), len, print, print)
    bundles = [event(0, 4), event(4, 9, generation=0), event(13, 6), event(19, 1), event(20, 2, 5000)]
    worker._bundles.extend(bundles)
    assert worker._is_full()
    assert worker._take(1) == [bundles[0], bundles[2]]
    assert worker._take(1) == [bundles[3]]
    assert worker._take(1) == [bundles[4]], "one that is longer than a batch goes alone"
    assert not worker._is_full()
    assert worker._take(1) == []


def test_a_partition_is_caught_up_once_all_is_done_that_was_there_at_an_earlier_look() -> None:
    worker = Worker(KafkaSettings(), StreamSettings(), len, print, print)
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


def fake_work(judge: Any, written: list[int], batches: int) -> tuple[Worker[Any], Any]:
    """A worker before so many full batches of one document each, and the app it needs."""

    async def ack(_event: object) -> None:
        pass

    settings = StreamSettings(batch_documents=1, batch_seconds=0.01)
    worker = Worker[Any](KafkaSettings(), settings, judge, written.append, print)
    for offset in range(batches):
        one = event(offset, 1)
        one.message.tp, one.message.end = TP("news", 0), offset + 1
        worker._bundles.append(one)
    worker._stream_of_bundles = SimpleNamespace(ack=ack)
    worker._in_hand = SimpleNamespace(remove=lambda bundle: None)  # type: ignore[assignment]
    return worker, SimpleNamespace(consumer_generation_id=1)


def test_two_batches_are_judged_at_once_and_written_in_order() -> None:
    both, written = threading.Barrier(2, timeout=10), list[int]()

    def judge(records: Any) -> int:
        both.wait()  # breaks unless another batch is judged now
        time.sleep(0.05 if records[0].offset % 2 == 0 else 0)
        return int(records[0].offset)

    async def run() -> None:
        worker, app = fake_work(judge, written, 8)
        work = asyncio.create_task(worker._work(app))
        while len(written) < 8 and not work.done():
            await asyncio.sleep(0.01)
        work.cancel()
        assert worker._done == {TP("news", 0): 8}

    asyncio.run(asyncio.wait_for(run(), 20))
    assert written == list(range(8))


def test_after_a_batch_that_failed_nothing_is_written_and_the_work_ends() -> None:
    written, judged = list[int](), list[int]()

    def judge(records: Any) -> int:
        offset = int(records[0].offset)
        judged.append(offset)
        if offset == 3:
            raise ValueError("a fault of ours")
        return offset

    async def run() -> None:
        worker, app = fake_work(judge, written, 100)
        with pytest.raises(ValueError, match="a fault of ours"):
            await worker._work(app)

    asyncio.run(asyncio.wait_for(run(), 20))
    assert written == [0, 1, 2][: len(written)], "what was before it may still be written, nothing else"
    assert len(judged) < 10, "what waits is left alone"
