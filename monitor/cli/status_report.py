"""What `monitor status` knows: asked of the database, of Kafka, and of the monitor on this machine.

Each of the three is asked by itself.  What one of them does not answer is None, unknown, and never 0.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
from kafka.structs import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from monitor.runtime.settings import Settings
from monitor.runtime.tasks.alert_evaluation import EVALUATED_MARK, OVERDUE_SECONDS
from monitor.runtime.tasks.installation import lease_names, outbox_targets
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
from stream.storage.outbox import KAFKA_PREFIX, Outbox, TargetDepth
from stream.storage.sql import database_now

# The same as in the Prometheus rule SentimentLagging.
LAGGING = timedelta(seconds=120)
# How long what may be sent may wait, without an attempt that failed and with one.  The rule
# SentimentOutboxStuck waits longer, since it wakes somebody.
OUTBOX_SLOW, OUTBOX_FAILING = timedelta(seconds=60), timedelta(seconds=10)
# Which dead letters are shown, how many are a problem, as in the rule SentimentDeadLetters, and for how long.
DEAD_LETTERS, MANY_LETTERS, LATE_LETTERS = timedelta(hours=24), 10, timedelta(hours=1)
ANSWER_SECONDS = 4.0
OWN_METRICS = (
    "sentiment_circuit_breaker_open",
    "sentiment_in_hand_bytes",
    "sentiment_partition_paused",
    "sentiment_rebalances_total",
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
    """What the monitor on this machine says of itself."""

    ready: bool
    reasons: Sequence[str]
    rebalances: int | None
    topics: Sequence[TopicState]


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
        return f"{self.what}: {self.what_to_do}" if self.what_to_do else self.what


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

    def problems(self) -> list[Problem]:
        """What needs an operator, worst first."""
        return [
            *_database_problems(self.database),
            *_kafka_problems(self),
            *_local_problems(self.local),
            *_lease_problems(self),
            *self._outbox_problems(),
            *_letter_problems(self.database),
        ]

    def _outbox_problems(self) -> Iterator[Problem]:
        state = self.database
        if isinstance(state, DatabaseState):
            yield from outbox_problems(state.outbox or (), self.targets, state.leases or (), state.now)


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
    return Report(settings, url, found, kafka, _ask_monitor(url, settings))


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


def _ask_monitor(url: str, settings: Settings) -> LocalState | Unanswered:
    try:
        # This machine is never behind a proxy, whatever the environment says.
        with httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
            readiness = client.get("/readyz").json()
            metrics = client.get("/metrics", params={"name[]": OWN_METRICS}).text
            samples = [s for family in text_string_to_metric_families(metrics) for s in family.samples]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return Unanswered(f"no monitor answers at {url} ({type(error).__name__})")

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

    return LocalState(
        ready=bool(readiness.get("ready")),
        reasons=[str(reason) for reason in readiness.get("troubles", ())],
        rebalances=value("sentiment_rebalances_total"),
        topics=[topic_state(topic) for topic in settings.kafka.kinds],
    )


def _database_problems(state: DatabaseState | Unanswered) -> Iterator[Problem]:
    if isinstance(state, Unanswered):
        yield Problem(f"the database does not answer: {state.problem}", "check it, and database.url")
    elif state.what_to_do is not None:
        yield Problem(
            f"the database is at {state.revision or 'no revision'}, this version needs {state.needed}",
            state.what_to_do,
        )


def _kafka_problems(report: Report) -> Iterator[Problem]:
    state, group = report.kafka, report.settings.kafka.group
    if isinstance(state, Unanswered):
        yield Problem(f"Kafka does not answer: {state.problem}", "check it, and kafka.bootstrap_servers")
        return
    if state.members is not None and not state.members:
        yield Problem(f"no worker is in the consumer group {group}: nothing is read", "start `monitor run`")
    owners = {owned: member for member in state.members or () for owned in member.partitions}
    for row in state.partitions or ():
        if row.problem is not None:
            yield Problem(row.explain(group), "")
            continue
        key = TopicPartition(row.partition.topic, row.partition.number)
        if row.log is None:
            yield Problem(f"{row.partition} has no leader: nobody can read it", "check Kafka's brokers")
        elif max(row.stored or 0, row.log.start) < state.old.get(key, 0):
            owner = owners.get(key)
            nobody = "nobody reads it" if state.members is not None else "who reads it is unknown"
            reader = f"{owner.client} reads it" if owner else nobody
            yield Problem(
                f"{row.partition}: up to {row.lag} messages wait, some for more than "
                f"{LAGGING.total_seconds():.0f} s; {reader}",
                "see docs/operations.md, A worker lags",
            )


def _local_problems(state: LocalState | Unanswered) -> Iterator[Problem]:
    """A monitor that does not answer is no problem: the group says whether any runs."""
    if isinstance(state, LocalState):
        for reason in state.reasons:
            yield Problem(f"the monitor on this machine is not ready: {reason}", "")


def _lease_problems(report: Report) -> Iterator[Problem]:
    state, members = report.database, _named_members(report.kafka)
    if isinstance(state, Unanswered) or state.leases is None:
        return
    evaluated, held = state.rules_evaluated, {lease.name: lease for lease in state.leases}
    if evaluated is not None and state.now - evaluated > timedelta(seconds=OVERDUE_SECONDS):
        holder = held.get("alerts")
        yield Problem(
            f"no monitor has evaluated the alert rules for {(state.now - evaluated).total_seconds():.0f} s",
            f"{process_of(holder)} holds the lease: restart it" if holder else "start a monitor",
        )
    tasks = lease_names(report.settings)  # a command may hold a lease of its own
    gone: dict[str, list[HeldLease]] = {}
    for lease in state.leases:
        is_held = lease.name in tasks and lease.left > timedelta(0)
        if is_held and members is not None and process_of(lease) not in members:
            gone.setdefault(process_of(lease), []).append(lease)
    for process, leases in gone.items():
        seconds = max(lease.left for lease in leases).total_seconds()
        yield Problem(
            f"{process} holds the leases {', '.join(lease.name for lease in leases)} for up to another "
            f"{seconds:.0f} s, and is not in the consumer group",
            f"if that process is gone, `monitor leases release {process}` frees them at once",
        )


def _named_members(state: KafkaState | Unanswered) -> set[str] | None:
    """The processes in the group; None if unknown: an older version joins it without its name."""
    members = None if isinstance(state, Unanswered) else state.members
    if members is None or any(":" not in member.client for member in members):
        return None
    return {member.client for member in members}


def _letter_problems(state: DatabaseState | Unanswered) -> Iterator[Problem]:
    """Many that were not sent again, some of them of late: what is older stays in the table alone."""
    if isinstance(state, Unanswered) or not state.dead_letters:
        return
    counts = state.dead_letters
    total, latest = sum(count.letters for count in counts), max(count.last for count in counts)
    if total > MANY_LETTERS and state.now - latest < LATE_LETTERS:
        reasons = ", ".join(f"{count.reason} {count.letters}" for count in counts)
        yield Problem(
            f"{total} messages were refused in {DEAD_LETTERS.total_seconds() / 3600:.0f} hours: {reasons}",
            f"`monitor dead-letters list --reason {counts[0].reason} --unsent` lists them, and "
            "`monitor dead-letters show` says what to do about one",
        )


def outbox_problems(
    rows: Iterable[TargetDepth], targets: Collection[str], leases: Iterable[HeldLease], now: datetime
) -> Iterator[Problem]:
    """What waits too long, or for a target that is not among these."""
    holders = {lease.name: process_of(lease) for lease in leases if lease.left > timedelta(0)}
    for row in rows:
        if row.target not in targets:
            yield _unconfigured(row)
        elif row.due_since is not None and now - row.due_since > (
            OUTBOX_FAILING if row.last_error else OUTBOX_SLOW
        ):
            since = f"{row.due_since:%Y-%m-%d %H:%M} UTC"
            waited = f"the outbox holds {row.entries} for {row.target}, and the oldest waits since {since}"
            if row.last_error:
                yield Problem(f"{waited}: {row.last_error}", _outbox_remedy(row.target))
            else:
                holder = holders.get(row.target)
                yield Problem(
                    f"{waited}, and no attempt failed",
                    f"{holder} holds the lease: restart it" if holder else "start a monitor",
                )


def _unconfigured(row: TargetDepth) -> Problem:
    """The entries of a target that no setting names."""
    return Problem(
        f"the outbox holds {row.entries} for {row.target}, the oldest of {row.oldest:%Y-%m-%d %H:%M} UTC, "
        "and the settings do not name it: nobody sends them",
        f"configure it again and restart, or delete them with `monitor outbox drop {row.target}`",
    )


def _outbox_remedy(target: str) -> str:
    if target.startswith(KAFKA_PREFIX):
        return "check the topic with `monitor doctor`"
    return f"mend the receiver, or delete them with `monitor outbox drop {target} --force`"


def as_json(report: Report) -> dict[str, Any]:
    """For scripts; what is unknown is null."""
    found = report.database if isinstance(report.database, DatabaseState) else None
    kafka = report.kafka if isinstance(report.kafka, KafkaState) else None
    local = report.local if isinstance(report.local, LocalState) else None
    workers, leases = report.workers(), found.leases if found else None
    letters = found.dead_letters if found else None
    outbox, partitions = found.outbox if found else None, kafka.partitions if kafka else None
    return {
        "problems": [problem._asdict() for problem in report.problems()],
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
