"""Kafka administration with kafka-python: topics, their incarnations, consumer offsets, and a producer."""

import logging
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
)
from kafka.protocol.consumer import OffsetTimestamp
from kafka.protocol.consumer.offsets import OffsetForLeaderEpochRequest as EpochRequest
from kafka.structs import OffsetAndMetadata, TopicPartition

from stream.domain.errors import BrokerError, TopicMissing
from stream.kafka.security import client_options, diagnosis
from stream.kafka.settings import KafkaSettings
from stream.retry import RetryPolicy, retry

log = logging.getLogger(__name__)

# How long to wait for an answer of a broker.
ANSWER_SECONDS = 10
COORDINATOR_RETRY = RetryPolicy(0.1, 1.0, seconds=ANSWER_SECONDS)
NO_COORDINATOR_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
# Kafka's error code for a topic that does not exist.
UNKNOWN_TOPIC = 3
RETENTION = "retention.ms"


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
    with AdminClient(settings) as admin:
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
    with AdminClient(settings) as admin:
        admin.delete_topics([*settings.kinds, *settings.output_topics])


def incarnations(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """The incarnation of each topic, which differs from that of a deleted topic of the same name.

    It consists of the cluster id and the topic id; of the cluster id alone if an old broker has no topic ids.
    Raises BrokerError, and TopicMissing if a topic does not exist.
    """
    with AdminClient(settings) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        descriptions = {topic["name"]: topic for topic in admin.describe_topics(list(topics))}
    missing = sorted(name for name in topics if descriptions.get(name, {}).get("error_code", UNKNOWN_TOPIC))
    if missing:
        raise TopicMissing(
            f"no topic {', '.join(map(repr, missing))} at {settings.bootstrap_servers}: "
            "run `monitor topics create`, or set kafka.news and kafka.comments"
        )
    return {name: f"{cluster}/{descriptions[name].get('topic_id') or ''}" for name in topics}


class LogRange(NamedTuple):
    """What Kafka holds of a partition: the first offset, the offset after the last, and the latest epoch.

    The leader epoch grows with every new leader; None if the broker does not tell it.
    """

    start: int
    end: int
    latest_epoch: int | None = None


def committed(client: Any, group: str, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """The offsets that the consumer group has committed.  Raises KafkaError."""
    # With explicit partitions: the embedded broker cannot list all offsets of a group.
    partitions = [partition for partition, _ in _partitions(client, topics)]
    # A new cluster makes the topic that it keeps offsets in when it is asked for the first time.
    (offsets,) = retry(
        lambda: client.list_group_offsets({group: partitions}),
        errors=NO_COORDINATOR_YET,
        policy=COORDINATOR_RETRY,
    ).values()
    return {partition: found.offset for partition, found in offsets.items() if found.offset >= 0}


class Member(NamedTuple):
    """A worker of the consumer group: its client id (host:pid of a monitor), the address it connects
    from, and the partitions that it owns."""

    client: str
    host: str
    partitions: tuple[TopicPartition, ...]


def members(settings: KafkaSettings) -> list[Member]:
    """The workers of the consumer group, by client id.

    While the group rebalances, nobody owns a partition.  Raises BrokerError, also if the broker answers and
    does not tell, as the embedded one.
    """
    group = settings.group
    with AdminClient(settings) as client:
        found = retry(lambda: _describe(client, group), errors=NO_COORDINATOR_YET, policy=COORDINATOR_RETRY)
    return sorted(
        Member(
            member["client_id"],
            member["client_host"].lstrip("/"),
            tuple(
                TopicPartition(owned["topic"], number)
                for owned in (member["member_assignment"] or {}).get("assigned_partitions", ())
                for number in owned["partitions"]
            ),
        )
        for member in found["members"]
    )


def _describe(client: Any, group: str) -> dict[str, Any]:
    """kafka-python gives an error of the group as text."""
    found = dict(client.describe_groups([group])[group])
    error = found["error"] or ""
    if GroupIdNotFoundError.__name__ in error:
        return {"members": []}
    for kind in NO_COORDINATOR_YET:
        if kind.__name__ in error:
            raise kind(error)
    if error:
        raise BrokerError(f"the consumer group {group!r} cannot be described: {error}")
    return found


def log_starts(client: Any, topics: Iterable[str]) -> dict[TopicPartition, int]:
    """The first offset that Kafka holds of each partition that has a leader.  Raises KafkaError."""
    wanted = dict.fromkeys(_with_leader(client, topics), OffsetSpec.EARLIEST)
    found = client.list_partition_offsets(wanted) if wanted else {}
    return {partition: offset.offset for partition, offset in found.items()}


def log_ranges(client: Any, starts: Mapping[TopicPartition, int]) -> dict[TopicPartition, LogRange]:
    """What Kafka holds of the partitions whose log starts are given.  Raises KafkaError."""
    ends = client.list_partition_offsets(dict.fromkeys(starts, OffsetSpec.LATEST)) if starts else {}
    return {
        partition: LogRange(starts[partition], end.offset, end.leader_epoch)
        for partition, end in ends.items()
    }


def first_since(
    client: Any, logs: Mapping[TopicPartition, LogRange], at: datetime
) -> dict[TopicPartition, int]:
    """The offset below which every message is older than `at`, of each of these partitions.

    Empty if the broker does not tell.
    """
    wanted = dict.fromkeys(logs, OffsetTimestamp(round(at.timestamp() * 1000)))
    try:
        found = client.list_partition_offsets(wanted) if wanted else {}
    except KafkaError as error:
        log.debug("the broker does not tell offsets by time: %r", error)
        return {}
    return {
        partition: offset.offset if offset.offset >= 0 else logs[partition].end
        for partition, offset in found.items()
    }


def epoch_ends(client: Any, epochs: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
    """The latest leader epoch up to each given one that Kafka's log has messages of, and its end.

    The end is the offset at which the next epoch begins, or the end of the log.  Both are -1 if the log has
    never seen the given epoch.  A partition that the broker does not tell this of is missing.
    """
    try:
        found = client._manager.run(_epoch_ends, client, epochs) if epochs else {}
    except KafkaError as error:
        log.debug("the broker does not tell where leader epochs end: %r", error)
        return {}
    return dict(found)


async def _epoch_ends(
    client: Any, epochs: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[int, int]]:
    """kafka-python's admin client has the request, and no method for it."""
    ends: dict[TopicPartition, tuple[int, int]] = {}
    for leader, partitions in (await client._async_get_leader_for_partitions(set(epochs))).items():
        asked: dict[str, list[Any]] = {}
        for partition in partitions:
            entry = EpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition(
                partition=partition.partition, leader_epoch=epochs[partition]
            )
            asked.setdefault(partition.topic, []).append(entry)
        request = EpochRequest(replica_id=-1, topics=list(asked.items()))
        response = await client._manager.send(request, node_id=leader)
        for topic in response.topics:
            for found in topic.partitions:
                if not found.error_code:
                    ends[TopicPartition(topic.topic, found.partition)] = found.leader_epoch, found.end_offset
    return ends


def _partitions(client: Any, topics: Iterable[str]) -> list[tuple[TopicPartition, int]]:
    """Every partition of these topics, with its leader; -1 while it has none."""
    return [
        (TopicPartition(topic["name"], partition["partition_index"]), partition["leader_id"])
        for topic in client.describe_topics(list(topics))
        for partition in topic["partitions"]
    ]


def _with_leader(client: Any, topics: Iterable[str]) -> list[TopicPartition]:
    return [partition for partition, leader in _partitions(client, topics) if leader >= 0]


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
    with AdminClient(settings) as admin:
        errors = admin.alter_group_offsets(settings.group, new_offsets)
    for partition, error in errors.items():
        if error.errno:
            raise BrokerError(
                f"{partition.topic}[{partition.partition}]: {error.__name__}: "
                f"stop every monitor of the group {settings.group!r} first; one that was killed belongs to "
                f"it for another {settings.session_seconds} s"
            )


def retentions(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, timedelta | None]:
    """How long Kafka keeps a message of each topic; None: for ever.

    A topic that the broker does not tell this of is missing.  Raises BrokerError.
    """
    with AdminClient(settings) as client:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        try:
            found = client.describe_configs(resources, config_filter="all")
        except (KafkaError, KeyError) as error:
            log.debug("the broker does not tell how long it keeps messages: %r", error)
            return {}
    by_topic = {name: values[RETENTION]["value"] for each in found.values() for name, values in each.items()}
    return {
        topic: timedelta(milliseconds=int(value)) if int(value) >= 0 else None
        for topic, value in by_topic.items()
    }


def is_empty(settings: KafkaSettings, topics: Iterable[str]) -> bool:
    """Whether none of these topics ever had a message.  Raises BrokerError."""
    with AdminClient(settings) as client:
        ends = log_ranges(client, log_starts(client, topics))
    return not any(log.end for log in ends.values())


class AdminClient:
    """Context of an admin client of kafka-python that turns Kafka's errors into BrokerError."""

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
