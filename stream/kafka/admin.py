"""Kafka administration with kafka-python: topics, their incarnations, consumer offsets, and a producer."""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic, OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata, TopicPartition

from stream.domain.errors import BrokerError, TopicMissing
from stream.kafka.security import client_options, diagnosis
from stream.kafka.settings import KafkaSettings

# How long to wait for an answer of a broker.
ANSWER_SECONDS = 10
# Kafka's error code for a topic that does not exist.
UNKNOWN_TOPIC = 3


def answers(settings: KafkaSettings) -> bool:
    """Whether any of the bootstrap servers accepts a connection now."""
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), 2):
                return True
        except (OSError, ValueError):
            continue
    return False


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that do not exist yet, and return their names.  Raises BrokerError."""
    created = []
    with _Admin(settings) as admin:
        for name in (*settings.kinds, *settings.output_topics):
            try:
                admin.create_topics([NewTopic(name, settings.partitions, settings.replication)])
                created.append(name)
            except TopicAlreadyExistsError:
                continue
            except KafkaError as error:
                raise BrokerError(f"topic {name!r} could not be created: {error}") from error
    return created


def delete_topics(settings: KafkaSettings) -> None:
    """Delete all topics of these settings with their messages.  Raises BrokerError."""
    with _Admin(settings) as admin:
        admin.delete_topics([*settings.kinds, *settings.output_topics])


def incarnations(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """The incarnation of each topic, which differs from that of a deleted topic of the same name.

    It consists of the cluster id and the topic id; of the cluster id alone if an old broker has no topic ids.
    Raises BrokerError, and TopicMissing if a topic does not exist.
    """
    with _Admin(settings) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        descriptions = {topic["name"]: topic for topic in admin.describe_topics(list(topics))}
    missing = sorted(name for name in topics if descriptions.get(name, {}).get("error_code", UNKNOWN_TOPIC))
    if missing:
        raise TopicMissing(
            f"no topic {', '.join(map(repr, missing))} at {settings.bootstrap_servers}: "
            "run `monitor topics create`, or set kafka.news and kafka.comments"
        )
    return {name: f"{cluster}/{descriptions[name].get('topic_id') or ''}" for name in topics}


def committed(settings: KafkaSettings, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The offsets that the consumer group has committed, by topic and partition.  Raises BrokerError."""
    with _Admin(settings) as admin:
        # With explicit partitions: the embedded broker cannot list all offsets of a group.
        partitions = _partitions(admin, topics)
        (offsets,) = admin.list_group_offsets({settings.group: partitions}).values()
    return {
        (partition.topic, partition.partition): committed.offset
        for partition, committed in offsets.items()
        if committed.offset >= 0
    }


def _partitions(admin: Any, topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of these topics."""
    return [
        TopicPartition(topic["name"], partition["partition_index"])
        for topic in admin.describe_topics(list(topics))
        for partition in topic["partitions"]
    ]


def commit(settings: KafkaSettings, offsets: Mapping[tuple[str, int], int]) -> None:
    """Set the consumer group's offsets, by topic and partition.

    Raises BrokerError if a worker of the group is running, or if Kafka does not answer.
    """
    if not offsets:
        return
    new_offsets = {
        TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1)
        for (topic, number), offset in offsets.items()
    }
    with _Admin(settings) as admin:
        errors = admin.alter_group_offsets(settings.group, new_offsets)
    for partition, error in errors.items():
        if error.errno:
            raise BrokerError(
                f"{partition.topic}[{partition.partition}]: {error.__name__}: "
                f"stop every monitor of the group {settings.group!r} first"
            )


def is_empty(settings: KafkaSettings, topics: Iterable[str]) -> bool:
    """Whether none of these topics ever had a message.  Raises BrokerError."""
    with _Admin(settings) as admin:
        ends = admin.list_partition_offsets(dict.fromkeys(_partitions(admin, topics), OffsetSpec.LATEST))
    return not any(end.offset for end in ends.values())


class _Admin:
    """Context of an admin client that turns Kafka's errors into BrokerError."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def __enter__(self) -> Any:
        if not answers(self._settings):
            raise BrokerError(f"no broker answers at {self._settings.bootstrap_servers}")
        try:
            self._client = KafkaAdminClient(
                bootstrap_servers=self._settings.bootstrap_servers.split(","),
                api_version=self._settings.api_version,
                request_timeout_ms=ANSWER_SECONDS * 1000,
                bootstrap_timeout_ms=ANSWER_SECONDS * 1000,
                **client_options(self._settings),
            )
        except KafkaError as error:
            servers = self._settings.bootstrap_servers
            raise BrokerError(f"{servers}: {error}: {diagnosis(self._settings)}") from error
        return self._client

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        self._client.close()
        if isinstance(error, KafkaError):
            raise BrokerError(f"{self._settings.bootstrap_servers}: {error}") from error


def producer(settings: KafkaSettings, **options: Any) -> KafkaProducer:
    """A producer that loses nothing: every message is acknowledged by all replicas, retried, and in order.

    `options` are passed to kafka-python.  Raises BrokerError.
    """
    try:
        return KafkaProducer(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            api_version=settings.api_version,
            acks="all",
            enable_idempotence=settings.api_version is None,
            bootstrap_timeout_ms=ANSWER_SECONDS * 1000,
            **client_options(settings),
            **options,
        )
    except KafkaError as error:
        raise BrokerError(f"no broker answers at {settings.bootstrap_servers}: {error}") from error


def close(producer: KafkaProducer, seconds: float) -> None:
    """Close the producer, and drop the messages that are still unsent after so many seconds.

    With unsent messages, kafka-python's own `close` raises and leaves the producer's thread running.
    """
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        producer._sender.force_close()
        producer._sender.join(seconds)
        with suppress(KafkaError):
            producer.close(timeout=seconds)
