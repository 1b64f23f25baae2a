"""A Kafka broker inside this process: librdkafka's mock cluster, which speaks the real protocol on loopback.

It keeps about 5 MB per partition, in memory only, so a producer must not get far ahead of the consumer.
"""

import time
from collections.abc import Iterable
from types import TracebackType

from stream.domain.errors import BrokerError

# The broker version that kafka-python must assume.
API_VERSION = (2, 3)
START_SECONDS = 10.0


class EmbeddedBroker:
    """Runs until `close`.  Topics have four partitions."""

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
        """Create topics, by asking for them, and wait until they have partitions.  Raises BrokerError."""
        for topic in topics:
            deadline = time.monotonic() + START_SECONDS
            while not self._owner.list_topics(topic, timeout=START_SECONDS).topics[topic].partitions:
                if time.monotonic() > deadline:
                    raise BrokerError(f"the embedded broker did not create the topic {topic!r}")
                time.sleep(0.05)

    def close(self) -> None:
        del self._owner

    def __enter__(self) -> "EmbeddedBroker":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
