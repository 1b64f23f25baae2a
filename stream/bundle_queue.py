"""The bundles that wait for a batch: one topic goes first, and no topic is starved.

While several topics wait, three batches of four are filled with the first topic first, and the fourth with
the others first.  So a backlog of comments delays a news item by the batches in progress, and a backlog of
news leaves comments a quarter of the batches.  Bundles of one topic, and so of one partition, stay in order.
"""

from collections import deque
from collections.abc import Callable, Iterable

from stream.bundles import Bundle
from stream.settings import StreamSettings

# One batch of so many is filled with the other topics first.
TURN_OF_THE_OTHERS = 4


class BundleQueue:
    """Bundles by topic.

    `first_topic` is the topic that goes first.  `may_start` says whether a batch of a topic may start now; it
    is asked only when one would.
    """

    def __init__(
        self,
        settings: StreamSettings,
        first_topic: str,
        may_start: Callable[[str], bool] = lambda topic: True,
    ) -> None:
        self._max_documents, self._max_bytes = settings.batch_documents, settings.batch_bytes
        self._first_topic, self._may_start = first_topic, may_start
        self._topics: dict[str, deque[Bundle]] = {first_topic: deque()}
        self._turn = 0

    def __bool__(self) -> bool:
        return any(self._topics.values())

    def add(self, bundles: Iterable[Bundle]) -> None:
        """Append them, each to its topic."""
        for bundle in bundles:
            self._topics.setdefault(bundle.topic, deque()).append(bundle)

    def is_full(self, topic: str | None = None) -> bool:
        """Whether a whole batch waits: of this topic, or of all together."""
        bundles = [
            bundle for name, queue in self._topics.items() if topic in (None, name) for bundle in queue
        ]
        return (
            sum(bundle.documents for bundle in bundles) >= self._max_documents
            or sum(bundle.bytes for bundle in bundles) >= self._max_bytes
        )

    def take_batch(self, generation: int) -> list[Bundle]:
        """Take what fits into one batch; nothing if no topic may start.

        Bundles from before a rebalance are dropped: the worker that owns their partition now fetches them.
        """
        batch: list[Bundle] = []
        documents = size = 0
        for queue in self._in_turn():
            started = False
            while queue:
                bundle = queue[0]
                if bundle.generation != generation:
                    queue.popleft()
                    continue
                too_many = documents + bundle.documents > self._max_documents
                if batch and (too_many or size + bundle.bytes > self._max_bytes):
                    break
                if not started and not self._may_start(bundle.topic):
                    break
                started = True
                batch.append(queue.popleft())
                documents, size = documents + bundle.documents, size + bundle.bytes
        return batch

    def _in_turn(self) -> list[deque[Bundle]]:
        """The queues in the order in which they fill a batch.  Turns count only while topics compete."""
        competing = sum(map(bool, self._topics.values())) > 1
        self._turn = self._turn + 1 if competing else 0
        others = [queue for topic, queue in self._topics.items() if topic != self._first_topic]
        first = [self._topics[self._first_topic]]
        return others + first if competing and self._turn % TURN_OF_THE_OTHERS == 0 else first + others
