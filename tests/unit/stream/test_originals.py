"""The messages of dead letters that only the topic of dead letters may hold."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from stream.outbound import position_key
from stream.resend import Originals
from stream.storage.batches import Store
from stream.storage.dead_letters import LetterFilter, StoredLetter, in_chunks
from tests.unit.stream.samples import NOW, dead_letter, write

LETTERS = TopicPartition("dead-letters", 0)


class LettersTopic:
    """One partition, as a consumer reads it; `read` counts the messages."""

    def __init__(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        self._messages = [
            SimpleNamespace(key=key, value=value, offset=n) for n, (key, value) in enumerate(messages)
        ]
        self._position = self.read = 0

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, len(self._messages))

    def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {partition: SimpleNamespace(offset=0) for partition in times}

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._position = 0

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._position = offset

    def position(self, partition: TopicPartition) -> int:
        return self._position

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        polled = self._messages[self._position : self._position + 1]
        self._position += len(polled)
        self.read += len(polled)
        return {LETTERS: polled}


def message(letter: StoredLetter, *, complete: bool = True) -> tuple[bytes, bytes]:
    position = f"{letter.kafka_topic}[{letter.kafka_partition}]@{letter.kafka_offset}"
    value = {"payload": f"payload {letter.kafka_offset}", "payload_complete": complete}
    return position_key(position, letter.incarnation).encode(), json.dumps(value).encode()


def test_the_topic_is_not_read_to_its_end_again_for_letters_it_does_not_hold(store: Store) -> None:
    write(store, *map(dead_letter, range(6)))
    letters = [letter for (letter,) in in_chunks(store.engine, LetterFilter(), 1)]
    topic = LettersTopic([message(letters[2]), message(letters[3], complete=False), *[(b"x", b"{}")] * 50])
    originals = Originals(cast(KafkaConsumer, topic), {}, "dead-letters")

    assert originals.find(letters[:1]) == {} and topic.read == 52
    assert originals.find(letters[1:2]) == {} and originals.find(letters[3:]) == {}
    assert topic.read == 52
    found = originals.find(letters[:4])
    assert [original.record.value for original in found.values()] == [b"payload 2"] and topic.read == 53
    earlier = replace(letters[4], seen_at=NOW - timedelta(days=1))
    assert originals.find([earlier]) == {} and topic.read == 53 + 52
