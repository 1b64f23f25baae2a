"""A Kafka broker inside this process: librdkafka's own, with the real protocol, on loopback.

In memory and without durability; it keeps about 5 MB a partition, so a feeder must not run ahead.
"""

import time
from collections.abc import Iterable
from types import TracebackType

from stream.domain.errors import BrokerError

# The protocol version that kafka-python speaks with it.
API_VERSION = (2, 3)
START_SECONDS = 10.0


class EmbeddedBroker:
    """Runs while the object is open; topics come to be with four partitions."""

    def __init__(self) -> None:
        try:
            from confluent_kafka import Producer
        except ImportError as error:
            raise BrokerError(
                "the embedded broker needs the package confluent-kafka: pip install '.[demo]'"
            ) from error
        self._owner = Producer(
            {"bootstrap.servers": "in-process", "test.mock.num.brokers": 1, "log_level": 2}
        )
        (server,) = self._owner.list_topics(timeout=START_SECONDS).brokers.values()
        self.bootstrap = f"{server.host}:{server.port}"

    def create(self, topics: Iterable[str]) -> None:
        """Asking for a topic makes it; wait until it has its partitions."""
        for topic in topics:
            deadline = time.monotonic() + START_SECONDS
            while not self._owner.list_topics(topic, timeout=START_SECONDS).topics[topic].partitions:
                if time.monotonic() > deadline:
                    raise BrokerError(f"the embedded broker did not make the topic {topic!r}")
                time.sleep(0.05)

    def close(self) -> None:
        del self._owner

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
