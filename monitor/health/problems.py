"""What needs an operator, in what `monitor status` found out, and what to do about it."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from kafka.structs import TopicPartition

from monitor.health.report import (
    DEAD_LETTERS,
    LAGGING,
    DatabaseState,
    KafkaState,
    LocalState,
    Problem,
    Report,
    Unanswered,
    process_of,
)
from monitor.runtime.tasks.alert_evaluation import OVERDUE_SECONDS
from monitor.runtime.tasks.installation import lease_names
from stream.storage.leases import HeldLease
from stream.storage.outbox import KAFKA_PREFIX, TargetDepth

# How long what may be sent may wait, without an attempt that failed and with one.  The rule
# SentimentOutboxStuck waits longer, since it wakes somebody.
OUTBOX_SLOW, OUTBOX_FAILING = timedelta(seconds=60), timedelta(seconds=10)
# How many dead letters are a problem, as in the rule SentimentDeadLetters, and for how long after the latest.
MANY_LETTERS, LATE_LETTERS = 10, timedelta(hours=1)


def find_problems(report: Report) -> list[Problem]:
    """Worst first."""
    return [
        *_database_problems(report.database),
        *_kafka_problems(report),
        *_local_problems(report.local),
        *_lease_problems(report),
        *_outbox_problems(report),
        *_letter_problems(report.database),
    ]


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
            wrong, command = row.diagnosis(group)
            yield Problem(wrong, f"run {command}")
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
            yield Problem(
                f"the monitor on this machine is not ready: {reason}",
                "it goes on by itself when that is over; `monitor doctor` checks what a run needs",
            )


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
    """Many letters that were not sent again, some of them recent; the table alone shows older ones."""
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


def _outbox_problems(report: Report) -> Iterator[Problem]:
    state = report.database
    if isinstance(state, DatabaseState):
        yield from outbox_problems(state.outbox or (), report.targets, state.leases or (), state.now)


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
            waited = (
                f"the outbox holds {row.entries} for {row.target}, and the oldest has waited since {since}"
            )
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
