import asyncio
import time
from collections.abc import Sequence

import pytest

from stream.bundles import SMALL_FETCH_PAUSE_SECONDS, Bundle, BundleFetcher, Record, size_of, split_messages
from stream.settings import StreamSettings


def records(*values: bytes | None) -> list[Record]:
    return [Record("news", 0, offset, value) for offset, value in enumerate(values)]


SPLITS = [
    ("nothing", [], []),
    ("everything that fits goes together", [3, 3, 4], [[3, 3, 4]]),
    ("a message that does not fit begins the next part", [6, 5, 5, 1], [[6], [5, 5], [1]]),
    ("a message larger than a batch is a part of its own", [2, 30, 2], [[2], [30], [2]]),
    ("messages without a value have no size", [0, 10, 0, 1], [[0, 10, 0], [1]]),
    ("a part holds at most max_documents messages", [1, 1, 1, 1, 1], [[1, 1, 1, 1], [1]]),
]


@pytest.mark.parametrize(("what", "sizes", "parts"), SPLITS, ids=[case[0] for case in SPLITS])
def test_bundles_are_bounded_by_number_and_by_bytes(
    what: str, sizes: list[int], parts: list[list[int]]
) -> None:
    messages = records(*(b"x" * size or None for size in sizes))
    bundles = split_messages(messages, max_documents=4, max_bytes=10)
    assert [[len(message.value or b"") for message in part] for part in bundles] == parts


def test_an_array_counts_as_its_number_of_documents() -> None:
    document = b'{"id": "1", "text": "says \\"id\\": none"}'
    three, none = b"\n [" + b",".join([document] * 3) + b"]", b"[]"
    messages = records(three, document, three, none, None)
    assert [len(part) for part in split_messages(messages, max_documents=4, max_bytes=10_000)] == [2, 2, 1]
    assert size_of(messages)[0] == 3 + 1 + 3 + 1 + 1


def test_a_bundle_knows_its_partition_and_the_offset_after_it() -> None:
    bundle = Bundle([Record("news", 2, 7, b"a"), Record("news", 2, 9, b"b")], 2, 0, generation=1)
    assert bundle.partition == ("news", 2)
    assert bundle.end == 10


FETCHES = [
    ("waits for more messages after a small fetch", 3, SMALL_FETCH_PAUSE_SECONDS),
    ("does not wait after a full one", 4, 0.0),
]


@pytest.mark.parametrize(("what", "messages", "pause"), FETCHES, ids=[case[0] for case in FETCHES])
def test_the_next_fetch(what: str, messages: int, pause: float) -> None:
    fetched_at = list[float]()

    async def fetch() -> dict[str, Sequence[Record]]:
        fetched_at.append(time.monotonic())
        return {"news": records(*[b"x"] * messages)}

    async def run() -> list[dict[str, list[Sequence[Record]]]]:
        fetcher = BundleFetcher(StreamSettings(batch_documents=4))
        return [await fetcher(fetch) for _ in range(3)]

    results = asyncio.run(run())
    assert [[len(part) for part in parts["news"]] for parts in results] == [[messages]] * 3
    assert fetched_at[2] - fetched_at[0] >= 2 * pause
    if not pause:
        assert fetched_at[2] - fetched_at[0] < SMALL_FETCH_PAUSE_SECONDS
