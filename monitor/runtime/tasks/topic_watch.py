"""Ends the monitor when a topic was deleted and created again."""

from collections.abc import Mapping

from stream.kafka import admin
from stream.kafka.settings import KafkaSettings


class TopicWatch:
    """Compares the topics' incarnations with those read at the start.

    The offsets of a new incarnation begin at 0 again: a monitor that carried on would skip new messages as
    already processed.  The next start reads the incarnations again.
    """

    def __init__(self, *, kafka: KafkaSettings, incarnations: Mapping[str, str]) -> None:
        self._kafka, self._incarnations = kafka, incarnations

    def run_once(self) -> None:
        """Raises RuntimeError where a topic has changed."""
        current = admin.incarnations(self._kafka, self._incarnations)
        for topic, incarnation in self._incarnations.items():
            if current[topic] != incarnation:
                raise RuntimeError(f"the topic {topic!r} was deleted and created again: restart the monitor")
