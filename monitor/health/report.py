"""What `monitor status` knows: asked of the database, of Kafka, and of the monitor on this machine.

Each of the three is asked by itself.  What one of them does not answer is None, unknown, and never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import msgspec
from kafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from alerts.delivery.post import AnswerTooLong, get
from monitor.runtime.settings import Settings
from monitor.runtime.tasks.alert_evaluation import EVALUATED_MARK
from monitor.runtime.tasks.installation import outbox_targets
from stream.domain.errors import BrokerError, SchemaError, StoreUnavailable, TopicMissing
from stream.kafka import admin
from stream.kafka.admin import Member
from stream.kafka.settings import KafkaSettings
from stream.offsets import PartitionOffsets, compare_offsets
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.database import reading
from stream.storage.dead_letters import LetterFilter, ReasonCount, count_by_reason
from stream.storage.leases import HeldLease, read_leases
from stream.storage.marks import read_mark
from stream.storage.outbox import Outbox, TargetDepth
from stream.storage.sql import database_now

# The same as in the Prometheus rule SentimentLagging.
LAGGING = timedelta(seconds=120)
# Which dead letters are shown.
DEAD_LETTERS = timedelta(hours=24)
# For each of two answers.  A paused partition is a line of the longer one.
ANSWER_SECONDS, ANSWER_BYTES = 4.0, 1_000_000
DRIFT = "sentiment_input_drift_ratio"
OWN_METRICS = (
    "sentiment_circuit_breaker_open",
    "sentiment_in_hand_bytes",
    "sentiment_partition_paused",
    "sentiment_rebalances_total",
    DRIFT,
)


class Unanswered(NamedTuple):
    """Why something was not found out."""

    problem: str


@dataclass(frozen=True)
class DatabaseState:
    """What the database holds.  `now` is its clock; with the schema of another version the rest is None.

    `dead_letters` are those of the latest DEAD_LETTERS that were not sent again.
    """

    revision: str | None
    needed: str
    what_to_do: str | None
    now: datetime
    last_document: datetime | None = None
    rules_evaluated: datetime | None = None
    leases: Sequence[HeldLease] | None = None
    outbox: Sequence[TargetDepth] | None = None
    dead_letters: Sequence[ReasonCount] | None = None


@dataclass(frozen=True)
class KafkaState:
    """The consumer group, and the partitions if the database answers too.

    `members` is None if the broker does not tell them.  `old` are the offsets below which every message is
    older than LAGGING.
    """

    members: Sequence[Member] | None
    partitions: Sequence[PartitionOffsets] | None
    old: Mapping[TopicPartition, int]


@dataclass(frozen=True)
class TopicState:
    """What the monitor on this machine does with a topic."""

    topic: str
    breaker_open: bool | None
    in_hand_bytes: int | None
    paused: Sequence[int]


@dataclass(frozen=True)
class LocalState:
    """What the monitor on this machine says of itself.

    `drift` is how far recent texts of each language differ from those that the model was trained on, by what
    was compared, as far as that is known.
    """

    ready: bool
    reasons: Sequence[str]
    rebalances: int | None
    topics: Sequence[TopicState]
    drift: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Worker(NamedTuple):
    """A process that was seen as a member of the group or as the holder of a lease.

    `partitions` is None for one that is not in the group, and if that is unknown.
    """

    name: str
    host: str | None
    partitions: Sequence[TopicPartition] | None
    leases: Sequence[str]


class Problem(NamedTuple):
    """What is wrong, and what to do about it."""

    what: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.what}: {self.what_to_do}"


@dataclass(frozen=True)
class Report:
    """Everything that was asked."""

    settings: Settings
    url: str
    database: DatabaseState | Unanswered
    kafka: KafkaState | Unanswered
    local: LocalState | Unanswered

    @property
    def targets(self) -> list[str]:
        """What the settings send to."""
        return outbox_targets(self.settings)

    def workers(self) -> list[Worker] | None:
        """Every process that was seen, by name; None if nothing answers."""
        leases = self.database.leases if isinstance(self.database, DatabaseState) else None
        members = self.kafka.members if isinstance(self.kafka, KafkaState) else None
        if leases is None and members is None:
            return None
        held: dict[str, list[str]] = {}
        for lease in leases or ():
            if lease.left > timedelta(0):
                held.setdefault(process_of(lease), []).append(lease.name)
        found = [
            Worker(member.client, member.host, member.partitions, held.pop(member.client, []))
            for member in members or ()
        ]
        return sorted(found + [Worker(name, None, None, names) for name, names in held.items()])


def process_of(lease: HeldLease) -> str:
    """The process that holds the lease: its holder is HOST:PID and a random part."""
    return lease.holder.rpartition(":")[0]


def ask(settings: Settings) -> Report:
    """Ask database, Kafka and the monitor on this machine; whatever does not answer."""
    url = settings.http.local_url
    found, store = _ask_database(settings)
    try:
        kafka = _ask_kafka(settings, store)
    finally:
        if store is not None:
            store.engine.dispose()
    token = settings.http.login.metrics_token
    own = ask_monitor(url, settings.kafka.kinds, token=token.get_secret_value() if token else None)
    return Report(settings, url, found, kafka, own)


def _ask_database(settings: Settings) -> tuple[DatabaseState | Unanswered, Store | None]:
    """What the database holds, and the store, if its schema is the one that is needed."""
    needed = database.latest_revision()
    if path := database.missing_file(settings.database):
        return Unanswered(f"there is no database file {path}: run `monitor db upgrade`"), None
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    try:
        with reading(store.engine) as connection:
            now = database_now(connection)
        revision = database.read_revision(store.engine)
        if remedy := database.remedy(revision):
            store.engine.dispose()
            return DatabaseState(revision, needed, remedy, now), None
        with reading(store.engine) as connection:
            evaluated = read_mark(connection, EVALUATED_MARK)
        state = DatabaseState(
            revision=revision,
            needed=needed,
            what_to_do=None,
            now=now,
            last_document=store.reads.last_received(),
            rules_evaluated=evaluated,
            leases=read_leases(store.engine),
            outbox=Outbox(store.engine).by_target(now),
            dead_letters=count_by_reason(store.engine, LetterFilter(since=now - DEAD_LETTERS, unsent=True)),
        )
    except (StoreUnavailable, SchemaError) as error:
        store.engine.dispose()
        return Unanswered(str(error)), None
    return state, store


def _ask_kafka(settings: Settings, store: Store | None) -> KafkaState | Unanswered:
    kafka = settings.kafka
    try:
        incarnations = admin.incarnations(kafka, kafka.kinds)
        with admin.AdminClient(kafka) as client:
            logs = admin.log_ranges(client, admin.log_starts(client, incarnations))
            old = admin.first_since(client, logs, datetime.now(UTC) - LAGGING)
        members = _members(kafka)
        partitions = compare_offsets(kafka, store, incarnations) if store else None
    except (BrokerError, TopicMissing) as error:
        return Unanswered(str(error))
    except StoreUnavailable:
        partitions = None
    return KafkaState(members, partitions, old)


def _members(kafka: KafkaSettings) -> list[Member] | None:
    try:
        return admin.members(kafka)
    except BrokerError:
        return None


def ask_monitor(
    url: str, topics: Iterable[str], seconds: float = ANSWER_SECONDS, token: str | None = None
) -> LocalState | Unanswered:
    """What the monitor at this address says of itself and of these topics, each answer in so many seconds.

    `token` is the one for /metrics.  Where a login is set and this is not the right one, what the metrics say
    stays unknown.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else None
    wanted = urlencode({"name[]": OWN_METRICS}, doseq=True)
    try:
        readiness = get(f"{url}/readyz", seconds, ANSWER_BYTES)
        metrics = get(f"{url}/metrics?{wanted}", seconds, ANSWER_BYTES, headers=headers)
    except TimeoutError:
        return Unanswered(f"what listens at {url} gave no whole answer within {seconds:g} s")
    except AnswerTooLong:
        return Unanswered(f"what answers at {url} is no monitor")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Unanswered(f"no monitor answers at {url} ({type(error).__name__})")
    try:
        return _local_state(readiness.body, metrics.body if metrics.status != 401 else b"", topics)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return Unanswered(f"what answers at {url} is no monitor")


class _Readiness(msgspec.Struct):
    """The answer of /readyz."""

    ready: bool
    troubles: list[str]


def _local_state(readiness: bytes, metrics: bytes, topics: Iterable[str]) -> LocalState:
    """Read the answers of /readyz and /metrics.  The two parsers raise errors of many kinds."""
    said = msgspec.json.decode(readiness, type=_Readiness)
    samples = [s for family in text_string_to_metric_families(metrics.decode()) for s in family.samples]

    def value(name: str, **labels: str) -> int | None:
        found = [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]
        return int(found[0]) if found and found[0] == found[0] else None

    def topic_state(topic: str) -> TopicState:
        is_open = value("sentiment_circuit_breaker_open", kafka_topic=topic)
        paused = sorted(
            int(s.labels["partition"])
            for s in samples
            if s.name == "sentiment_partition_paused" and s.labels["kafka_topic"] == topic and s.value
        )
        in_hand = value("sentiment_in_hand_bytes", kafka_topic=topic)
        return TopicState(topic, None if is_open is None else bool(is_open), in_hand, paused)

    drift: dict[str, dict[str, float]] = {}
    for sample in samples:
        if sample.name == DRIFT and not math.isnan(sample.value):
            drift.setdefault(sample.labels["language"], {})[sample.labels["feature"]] = sample.value
    return LocalState(
        ready=said.ready,
        reasons=said.troubles,
        rebalances=value("sentiment_rebalances_total"),
        topics=[topic_state(topic) for topic in topics],
        drift=drift,
    )


def as_json(report: Report, problems: Iterable[Problem]) -> dict[str, Any]:
    """For scripts; what is unknown is null."""
    found = report.database if isinstance(report.database, DatabaseState) else None
    kafka = report.kafka if isinstance(report.kafka, KafkaState) else None
    local = report.local if isinstance(report.local, LocalState) else None
    workers, leases = report.workers(), found.leases if found else None
    letters = found.dead_letters if found else None
    outbox, partitions = found.outbox if found else None, kafka.partitions if kafka else None
    return {
        "problems": [problem._asdict() for problem in problems],
        "database": {
            "answers": found is not None,
            "problem": report.database.problem if isinstance(report.database, Unanswered) else None,
            "revision": found and found.revision,
            "needed": database.latest_revision(),
            "last_document_at": _time(found.last_document if found else None),
            "rules_evaluated_at": _time(found.rules_evaluated if found else None),
        },
        "kafka": {
            "answers": kafka is not None,
            "problem": report.kafka.problem if isinstance(report.kafka, Unanswered) else None,
        },
        "monitor": {
            "url": report.url,
            "answers": local is not None,
            "ready": local and local.ready,
            "reasons": local and list(local.reasons),
            "rebalances": local and local.rebalances,
            "topics": local and [vars(topic) for topic in local.topics],
            "drift": local and local.drift,
        },
        "partitions": None if partitions is None else [_partition(row) for row in partitions],
        "workers": None if workers is None else [_worker(worker) for worker in workers],
        "leases": None if leases is None else [_lease(lease) for lease in leases],
        "outbox": None if outbox is None else [_target(row, report) for row in outbox],
        "dead_letters": None if letters is None else {count.reason: count.letters for count in letters},
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _partition(row: PartitionOffsets) -> dict[str, Any]:
    return {
        "topic": row.partition.topic,
        "partition": row.partition.number,
        "lag": row.lag,
        "problem": row.problem,
    }


def _worker(worker: Worker) -> dict[str, Any]:
    owned = worker.partitions
    partitions = None if owned is None else [f"{tp.topic}[{tp.partition}]" for tp in owned]
    return {"name": worker.name, "host": worker.host, "partitions": partitions, "leases": list(worker.leases)}


def _lease(lease: HeldLease) -> dict[str, Any]:
    seconds = round(lease.left.total_seconds(), 1)
    return {
        "name": lease.name,
        "holder": lease.holder,
        "expires_at": lease.expires_at.isoformat(),
        "seconds_left": seconds,
        "held": seconds > 0,
    }


def _target(row: TargetDepth, report: Report) -> dict[str, Any]:
    return {
        "target": row.target,
        "configured": row.target in report.targets,
        "entries": row.entries,
        "oldest_at": row.oldest.isoformat(),
        "due_since": _time(row.due_since),
        "failing_since": _time(row.failing_since),
        "last_error": row.last_error,
    }
