from stream.bundle_queue import BundleQueue
from stream.bundles import Bundle, Record
from stream.settings import StreamSettings

SETTINGS = StreamSettings(batch_documents=10, batch_bytes=1000)


def bundle(topic: str, offset: int, documents: int = 10, generation: int = 1, size: int = 0) -> Bundle:
    return Bundle([Record(topic, 0, offset, b"")], documents, size, generation)


def taken(queue: BundleQueue) -> list[tuple[str, int]]:
    return [(one.topic, one.records[0].offset) for one in queue.take_batch(generation=1)]


def test_news_goes_first_and_comments_get_every_fourth_batch() -> None:
    queue = BundleQueue(SETTINGS, "news")
    for offset in range(9):
        queue.add([bundle("comments", offset), bundle("news", offset)])
    topics, offsets = [], {"news": list[int](), "comments": list[int]()}
    while queue:
        ((topic, offset),) = taken(queue)
        topics.append(topic)
        offsets[topic].append(offset)
    assert topics[:12] == ["news", "news", "news", "comments"] * 3
    assert topics[12:] == ["comments"] * 6
    assert offsets == {"news": list(range(9)), "comments": list(range(9))}, "each topic stays in order"


def test_news_that_arrives_in_a_backlog_of_comments_is_in_the_next_batch() -> None:
    queue = BundleQueue(SETTINGS, "news")
    queue.add([bundle("comments", offset) for offset in range(20)])
    for already_taken in range(9):
        assert taken(queue) == [("comments", already_taken)]
    queue.add([bundle("news", 1, documents=4)])
    assert taken(queue) == [("news", 1)]


def test_comments_fill_up_a_batch_of_news() -> None:
    queue = BundleQueue(SETTINGS, "news")
    queue.add([bundle("comments", n, documents=3) for n in range(4)])
    queue.add([bundle("news", 1, documents=4)])
    assert taken(queue) == [("news", 1), ("comments", 0), ("comments", 1)]


def test_a_topic_that_may_not_start_waits_and_is_asked_once_per_batch() -> None:
    asked: list[str] = []

    def may_start(topic: str) -> bool:
        asked.append(topic)
        return topic == "news"

    queue = BundleQueue(SETTINGS, "news", may_start)
    queue.add([bundle("comments", 1, documents=1), *[bundle("news", n, documents=2) for n in range(3)]])
    assert taken(queue) == [("news", 0), ("news", 1), ("news", 2)]
    assert taken(queue) == [] and queue
    assert asked == ["news", "comments", "comments"]


def test_bundles_from_before_a_rebalance_are_dropped() -> None:
    queue = BundleQueue(SETTINGS, "news")
    queue.add([bundle("news", 1, generation=0), bundle("news", 2, 1), bundle("news", 3, 1, generation=0)])
    assert taken(queue) == [("news", 2)] and not queue


def test_a_queue_is_full_with_a_batch_of_documents_or_bytes() -> None:
    queue = BundleQueue(SETTINGS, "news")
    queue.add([bundle("news", 1, documents=6), bundle("comments", 1, documents=6)])
    assert queue.is_full() and not queue.is_full("news") and not queue.is_full("unknown")
    queue.add([bundle("comments", 2, documents=1, size=2000)])
    assert queue.is_full("comments") and not queue.is_full("news")
