"""Outbox entries to Kafka, by aiokafka: it takes whole batches of records.

One message after another costs a producer thirty microseconds each, which were a third of all that a worker
did in Python; put together here they cost a third of that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from stream.domain.errors import BrokerError, error_text
from stream.kafka.admin import ANSWER_SECONDS, answers
from stream.kafka.security import client_options
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import KAFKA_PREFIX, OutboxEntry, decode_messages

BATCH_BYTES = 256_000
CLOSE_SECONDS = 2.0
PARTITION_OF = DefaultPartitioner()
Sent = asyncio.Future[object]


class KafkaSender:
    """Sends outbox entries; one thread at a time.  The producer is made at the first entry and kept.

    Its loop runs during a call alone: between two of them nothing is under way.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producer: AIOKafkaProducer | None = None

    def send(self, entries: Sequence[OutboxEntry]) -> Mapping[int, str | None]:
        """Send all messages of the entries; for each entry's id None, or why it was not delivered.

        Messages of one key keep their order, also where they are of several entries.
        """
        self._loop = self._loop or asyncio.new_event_loop()
        try:
            found = self._loop.run_until_complete(self._send(entries))
        except (KafkaError, BrokerError, TimeoutError) as error:
            found = {entry.id: error_text(error) for entry in entries}
        if any(found.values()):
            self.close()
        return found

    def close(self) -> None:
        """What is still unsent is dropped: it waits in the outbox."""
        if self._loop is None:
            return
        self._loop.run_until_complete(self._stop())
        self._loop.close()
        self._loop = self._producer = None

    async def _stop(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), CLOSE_SECONDS)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _send(self, entries: Sequence[OutboxEntry]) -> dict[int, str | None]:
        producer = self._producer or await self._start()
        sent: list[tuple[int, list[Sent], str | None]] = []
        for entry in entries:
            try:
                futures = await asyncio.wait_for(_enqueue(producer, entry), ANSWER_SECONDS)
                sent.append((entry.id, futures, None))
            except (KafkaError, TimeoutError) as error:
                sent.append((entry.id, [], error_text(error)))
        if waiting := [future for _, futures, _ in sent for future in futures]:
            await asyncio.wait(waiting, timeout=ANSWER_SECONDS)
        return {id_: refusal or _failure(futures) for id_, futures, refusal in sent}

    async def _start(self) -> AIOKafkaProducer:
        if not answers(self._settings):
            raise BrokerError(f"no broker answers at {self._settings.bootstrap_servers}")
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            acks="all",
            # The embedded broker, which has a version set, does not know it.
            enable_idempotence=self._settings.api_version is None,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=ANSWER_SECONDS * 1000,
            **client_options(self._settings),
        )
        await asyncio.wait_for(self._producer.start(), ANSWER_SECONDS)
        return self._producer


async def _enqueue(producer: AIOKafkaProducer, entry: OutboxEntry) -> list[Sent]:
    """Hand over the messages of an entry, by partition; each key to the one Kafka's own clients choose."""
    topic = entry.target.removeprefix(KAFKA_PREFIX)
    partitions = sorted(await producer.partitions_for(topic))
    of_partition: dict[int, list[tuple[bytes, bytes]]] = {}
    for message in decode_messages(entry.body):
        key = message.key.encode()
        partition = PARTITION_OF(key, partitions, partitions)
        of_partition.setdefault(partition, []).append((key, message.value))
    sent = []
    for partition, messages in of_partition.items():
        batch = producer.create_batch()
        for key, value in messages:
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    return sent


def _failure(futures: Sequence[Sent]) -> str | None:
    for future in futures:
        if not future.done():
            return f"no answer within {ANSWER_SECONDS} s"
        if error := future.exception():
            return error_text(error)
    return None
