"""Kafka by kafka-python: topics, their incarnations, and a producer."""

import logging
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

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10


def answers(settings: KafkaSettings) -> bool:
    """Whether any of the bootstrap servers takes a connection now."""
    for server in settings.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), 2):
                return True
        except (OSError, ValueError):
            continue
    return False


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are missing; the names of those created."""
    created = []
    with _Admin(settings) as admin:
        for name in (*settings.kinds, *settings.written):
            try:
                admin.create_topics([NewTopic(name, settings.partitions, settings.replication)])
                created.append(name)
            except TopicAlreadyExistsError:
                continue
            except KafkaError as error:
                raise BrokerError(f"topic {name!r} could not be created: {error}") from error
    return created


def delete_topics(settings: KafkaSettings) -> None:
    """Delete the topics of these settings with all that is in them."""
    with _Admin(settings) as admin:
        admin.delete_topics([*settings.kinds, *settings.written])


def incarnations(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, str]:
    """For each topic what tells this one from an earlier one of the same name.

    It is the cluster's and the topic's id; an old broker gives no topic id, then the cluster's alone.
    Raises BrokerError, or TopicMissing where one does not exist.
    """
    with _Admin(settings) as admin:
        cluster = str(admin.describe_cluster()["cluster_id"])
        found = {topic["name"]: topic for topic in admin.describe_topics(list(topics))}
    missing = sorted(name for name in topics if found.get(name, {}).get("error_code", 3))
    if missing:
        raise TopicMissing(
            f"no topic {', '.join(map(repr, missing))} at {settings.bootstrap_servers}: "
            "run `monitor topics create`, or set kafka.news and kafka.comments"
        )
    return {name: f"{cluster}/{found[name].get('topic_id') or ''}" for name in topics}


def committed(settings: KafkaSettings, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The offsets that the consumer group has committed for these topics.  Raises BrokerError."""
    with _Admin(settings) as admin:
        # Asked for by name, since the embedded broker cannot tell of all at once.
        (found,) = admin.list_group_offsets({settings.group: _places(admin, topics)}).values()
    return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}


def _places(admin: Any, topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of these topics."""
    return [
        TopicPartition(topic["name"], partition["partition_index"])
        for topic in admin.describe_topics(list(topics))
        for partition in topic["partitions"]
    ]


def commit(settings: KafkaSettings, offsets: Mapping[tuple[str, int], int]) -> None:
    """Set the consumer group's offsets; no worker of it may run.  Raises BrokerError."""
    asked = {TopicPartition(*place): OffsetAndMetadata(at, "", -1) for place, at in offsets.items()}
    if not asked:
        return
    with _Admin(settings) as admin:
        answers_ = admin.alter_group_offsets(settings.group, asked)
    for tp, error in answers_.items():
        if error.errno:
            told = f"{tp.topic}[{tp.partition}]: {error.__name__}"
            raise BrokerError(f"{told}: stop every monitor of the group first")


def is_empty(settings: KafkaSettings, topics: Iterable[str]) -> bool:
    """Whether no message was ever sent to any of these topics.  Raises BrokerError."""
    with _Admin(settings) as admin:
        ends = admin.list_partition_offsets(dict.fromkeys(_places(admin, topics), OffsetSpec.LATEST))
    return not any(end.offset for end in ends.values())


class _Admin:
    """An admin client that closes, and whose errors are ours."""

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
            told = f"{self._settings.bootstrap_servers}: {error}: {diagnosis(self._settings)}"
            raise BrokerError(told) from error
        return self._client

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        self._client.close()
        if isinstance(error, KafkaError):
            raise BrokerError(f"{self._settings.bootstrap_servers}: {error}") from error


def producer(settings: KafkaSettings, **options: Any) -> KafkaProducer:
    """A producer that loses nothing: acknowledged by all replicas, retried, in order."""
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
    """Close it, and drop what is still unsent after so long.

    Where something is unsent kafka-python's own close raises first, and leaves the producer's thread running.
    """
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        producer._sender.force_close()
        producer._sender.join(seconds)
        with suppress(KafkaError):
            producer.close(timeout=seconds)
