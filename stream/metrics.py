"""The stream's Prometheus metrics.  They are updated once per batch, never per message."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.domain.documents import EPOCH, SENTIMENTS, Kind
from stream.domain.errors import DeadLetterReason
from stream.domain.records import WriteResult
from stream.domain.stories import StoryAssignment
from stream.domain.sums import Aggregate
from stream.lag import InHand
from stream.storage.leases import HeldLease
from stream.storage.outbox import TargetDepth, total_depth
from stream.unsupported_sources import UnsupportedSources

OUTCOMES = (
    "ok",
    "uncertain",
    "unsupported",
    "repeat",
    "changed",
    "corrected",
    "redelivered",
    "tombstone",
    "dead_letter",
)
# The fields that are cut or left out where they are too long or no text, and not refused.  `nested` stands
# for what is too deep in a field that nobody reads, `characters` for what no text can hold: NUL, half a
# surrogate pair.
SHORTENED_FIELDS = (
    "id",
    "source",
    "author",
    "url",
    "symbols",
    "lang",
    "published_precision",
    "updated_at",
    "nested",
    "characters",
)
KINDS = tuple(kind.value for kind in Kind)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LATE_AFTER, UNSUPPORTED_SHARE = timedelta(minutes=5), 0.5
UNKNOWN = float("nan")
Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StreamMetrics:
    """Every metric of the stream, grouped by what it measures; every label value exists from the start."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        topics: Iterable[str] = (),
        late_after: timedelta = LATE_AFTER,
        unsupported_share: float = UNSUPPORTED_SHARE,
        clock: Clock = _utc_now,
    ) -> None:
        """`topics` are the labels the classifier may give; a text older than `late_after` counts as late.

        A source is mostly unsupported if more than `unsupported_share` of its texts are.  `clock` says when
        a scrape is.
        """
        registry = registry or CollectorRegistry()
        self.documents = DocumentMetrics(registry, topics, late_after, unsupported_share, clock)
        self.batches = BatchMetrics(registry)
        self.progress = ProgressMetrics(registry)
        self.outbox = OutboxMetrics(registry)
        self.installation = InstallationMetrics(registry)
        self.mood = MoodMetrics(registry)
        self.watchlist = WatchlistMetrics(registry)
        self.stories = StoryMetrics(registry)

    def count_batch(self, result: WriteResult, now: datetime) -> None:
        """Count one written batch."""
        self.documents.count(result, now)
        self.batches.missing_offsets.inc(result.missing_offsets)
        self.batches.last_commit.set(now.timestamp())


class DocumentMetrics:
    """What became of the documents."""

    def __init__(
        self,
        registry: CollectorRegistry,
        topics: Iterable[str],
        late_after: timedelta,
        unsupported_share: float,
        clock: Clock,
    ) -> None:
        self._late_after, self._sources = late_after, UnsupportedSources(unsupported_share)
        self.by_outcome = Counter(
            "sentiment_documents", "Documents by outcome", ["kind", "outcome"], registry=registry
        )
        self.predictions = Counter(
            "sentiment_predictions", "Classified documents", ["topic", "kind", "sentiment"], registry=registry
        )
        self.late = Counter(
            "sentiment_late_documents",
            "Documents that were read more than stream.late_seconds after their published_at",
            ["kind"],
            registry=registry,
        )
        self.truncated = Counter(
            "sentiment_truncated_documents",
            "Documents that are longer than the classifier reads",
            registry=registry,
        )
        self.shortened = Counter(
            "sentiment_shortened_fields",
            "Fields of documents that were cut, left out or repaired: too long, of the wrong type, damaged",
            ["field"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "sentiment_dead_letters", "Dead letters by reason", ["reason"], registry=registry
        )
        self.unsupported_sources = Gauge(
            "sentiment_unsupported_sources",
            "Sources of which more than stream.unsupported_share of the latest texts are unsupported, "
            "without those that sent nothing for a day",
            ["kind"],
            registry=registry,
        )
        # At each scrape: a source that is switched off may be the only one that this monitor read.
        for kind in Kind:
            shown = partial(self._unread_sources, kind, clock)
            self.unsupported_sources.labels(kind.value).set_function(shown)
        self._create_labels(topics)

    def _create_labels(self, topics: Iterable[str]) -> None:
        for kind in KINDS:
            self.late.labels(kind)
            for outcome in OUTCOMES:
                self.by_outcome.labels(kind, outcome)
            for topic in topics:
                for sentiment in SENTIMENTS:
                    self.predictions.labels(topic, kind, sentiment)
        for name in SHORTENED_FIELDS:
            self.shortened.labels(name)
        for reason in DeadLetterReason:
            self.dead_letters.labels(reason)

    def _unread_sources(self, kind: Kind, clock: Clock) -> float:
        return float(self._sources.number(kind, clock()))

    def count(self, result: WriteResult, now: datetime) -> None:
        """Count the documents and dead letters of one written batch."""
        outcomes: Tally[tuple[str, str]] = Tally()
        predictions: Tally[tuple[str, str, str]] = Tally()
        late: Tally[str] = Tally()
        for item in result.documents:
            kind, prediction = item.position.kind.value, item.prediction
            outcomes[kind, prediction.status] += 1
            if prediction.topic and prediction.counted_sentiment:
                predictions[prediction.topic, kind, prediction.counted_sentiment] += 1
            if item.document.published_at < now - self._late_after:
                late[kind] += 1
        for (kind_value, reason), number in result.skipped.items():
            outcomes[kind_value, reason.value] += number
        for item in result.corrected:
            outcomes[item.position.kind.value, "corrected"] += 1
        for letter in result.dead_letters:
            outcomes[letter.position.kind.value, "dead_letter"] += 1
        for (kind, outcome), number in outcomes.items():
            self.by_outcome.labels(kind, outcome).inc(number)
        for (topic, kind, sentiment), number in predictions.items():
            self.predictions.labels(topic, kind, sentiment).inc(number)
        for kind, number in late.items():
            self.late.labels(kind).inc(number)
        for letter_reason, number in Tally(letter.reason for letter in result.dead_letters).items():
            self.dead_letters.labels(letter_reason).inc(number)
        self._sources.count(result.documents, now)
        shortened = Tally(name for item in result.documents for name in item.document.shortened)
        for name, number in shortened.items():
            self.shortened.labels(name).inc(number)
        self.truncated.inc(sum(item.prediction.truncated for item in result.documents))


class BatchMetrics:
    """Batches and their SQL transactions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.size = Histogram(
            "sentiment_batch_documents", "Documents per batch", buckets=BATCH_BUCKETS, registry=registry
        )
        self.commit_seconds = Histogram(
            "sentiment_commit_seconds",
            "Duration of the SQL transaction of a batch, in seconds",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.last_commit = Gauge(
            "sentiment_last_commit_timestamp_seconds",
            "When a batch was last committed to SQL, in seconds since 1970",
            registry=registry,
        )
        self.last_commit.set(UNKNOWN)
        self.retries = Counter(
            "sentiment_store_retries",
            "SQL transactions that were retried because the database was unavailable",
            registry=registry,
        )
        self.missing_offsets = Counter(
            "sentiment_missing_offsets",
            "Offsets without a message: transaction markers, compaction, retention",
            registry=registry,
        )


class ProgressMetrics:
    """How far the worker is behind, and whether what it depends on answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Gauge(
            "sentiment_consumer_lag_messages",
            "Messages that can be read from Kafka and are not in SQL yet; absent while that is unknown",
            ["kafka_topic", "partition"],
            registry=registry,
        )
        self.caught_up = Gauge(
            "sentiment_caught_up_timestamp_seconds",
            "When everything in the partition was last in SQL, in seconds since 1970; "
            "until that happens for the first time, when the partition was assigned",
            ["kafka_topic", "partition"],
            registry=registry,
        )
        self.held_since = Gauge(
            "sentiment_transaction_open_timestamp_seconds",
            "Since when an open transaction holds back the partition, in seconds since 1970; "
            "absent if none does",
            ["kafka_topic", "partition"],
            registry=registry,
        )
        self.dependency_up = Gauge(
            "sentiment_dependency_up",
            "1 while the broker or the database answers",
            ["dependency"],
            registry=registry,
        )
        self.breaker_open = Gauge(
            "sentiment_circuit_breaker_open",
            "1 while nearly every message of the topic is refused, so that it is read slowly",
            ["kafka_topic"],
            registry=registry,
        )
        self.in_hand = Gauge(
            "sentiment_in_hand_bytes",
            "What was fetched of the topic and is not in SQL yet, as stream.in_hand_bytes counts it",
            ["kafka_topic"],
            registry=registry,
        )
        self.paused = Gauge(
            "sentiment_partition_paused",
            "1 while the partition is not fetched, because too much of its topic is in hand",
            ["kafka_topic", "partition"],
            registry=registry,
        )
        self.rebalances = Counter(
            "sentiment_rebalances",
            "Rebalances of the consumer group that this worker took part in, the one of its start included",
            registry=registry,
        )
        self.heartbeat = Gauge(
            "sentiment_heartbeat_timestamp_seconds",
            "When the latest heartbeat that arrived in SQL was sent, in seconds since 1970; "
            "NaN if heartbeats are off",
            registry=registry,
        )
        self.heartbeat.set(UNKNOWN)
        self._partitions: dict[Gauge, set[tuple[str, int]]] = {}
        self._assignments = 0

    def show_in_hand(
        self, in_hand: Mapping[str, InHand], assigned: Iterable[tuple[str, int]], assignments: int
    ) -> None:
        """Set what is in hand of each topic, which of the assigned partitions are paused because of it, and
        how often partitions were assigned since the start."""
        for topic, state in in_hand.items():
            self.in_hand.labels(topic).set(state.bytes)
        known = [(topic, number) for topic, number in assigned if topic in in_hand]
        self._show(self.paused, {tp: float(tp[1] in in_hand[tp[0]].paused) for tp in known})
        self.rebalances.inc(assignments - self._assignments)
        self._assignments = assignments

    def show_lag(
        self,
        waiting: Mapping[tuple[str, int], int],
        caught_up: Mapping[tuple[str, int], float],
        held_since: Mapping[tuple[str, int], float],
    ) -> None:
        """Set the gauges by Kafka topic and partition.

        A partition whose value is unknown, or that was revoked, is absent.
        """
        for gauge, values in (
            (self.lag, waiting),
            (self.caught_up, caught_up),
            (self.held_since, held_since),
        ):
            self._show(gauge, values)

    def _show(self, gauge: Gauge, values: Mapping[tuple[str, int], float]) -> None:
        for topic, partition in self._partitions.get(gauge, set()) - values.keys():
            gauge.remove(topic, str(partition))
        for (topic, partition), value in values.items():
            gauge.labels(topic, str(partition)).set(value)
        self._partitions[gauge] = set(values)


class OutboxMetrics:
    """Deliveries from the outbox."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "sentiment_outbox_sent", "Outbox entries delivered", ["target"], registry=registry
        )
        self.failed = Counter(
            "sentiment_outbox_failures",
            "Outbox deliveries that failed and will be retried",
            ["target"],
            registry=registry,
        )
        self.refused = Counter(
            "sentiment_outbox_refused_messages",
            "Messages that Kafka refuses for good, because of their size or content; they are not sent",
            ["target"],
            registry=registry,
        )
        self.shortened = Counter(
            "sentiment_outbox_shortened_messages",
            "Messages that were sent without a part of them, because they were above their budget",
            ["target"],
            registry=registry,
        )

    def create_labels(self, topics: Iterable[str]) -> None:
        for topic in topics:
            for counter in (self.sent, self.failed, self.refused, self.shortened):
                counter.labels(topic)


class InstallationMetrics:
    """What the database and Kafka say of all monitors together: every monitor shows the same.

    Each is NaN while it is unknown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge(
            "sentiment_outbox_entries",
            "Outbox entries that wait, including pages held back by quiet hours",
            registry=registry,
        )
        self.failing_since = Gauge(
            "sentiment_outbox_failing_timestamp_seconds",
            "Since when an outbox entry has been failing, in seconds since 1970; NaN if none is",
            registry=registry,
        )
        self.due_since = Gauge(
            "sentiment_outbox_due_timestamp_seconds",
            "Since when the oldest outbox entry that may be sent has waited, attempted or not, in seconds "
            "since 1970; NaN if none waits, or the database does not answer",
            registry=registry,
        )

        self.target_entries = Gauge(
            "sentiment_outbox_target_entries",
            "Outbox entries that wait, by target: kafka:TOPIC, webhook:NAME or channel:NAME",
            ["target"],
            registry=registry,
        )
        self.target_due_since = Gauge(
            "sentiment_outbox_target_due_timestamp_seconds",
            "Since when the oldest outbox entry for the target that may be sent has waited, in seconds since "
            "1970; NaN if none waits",
            ["target"],
            registry=registry,
        )
        self.unconfigured = Gauge(
            "sentiment_outbox_unconfigured_entries",
            "Outbox entries for receivers and topics that the settings of this monitor do not name: it never "
            "sends them",
            registry=registry,
        )
        self.lease_expires = Gauge(
            "sentiment_lease_expires_timestamp_seconds",
            "Until when some monitor holds the lease of a background task, by the database's clock, in "
            "seconds since 1970; NaN if none does, as when the task has nothing to do",
            ["lease"],
            registry=registry,
        )
        self.lease_held = Gauge(
            "sentiment_lease_held", "1 while this monitor holds the lease", ["lease"], registry=registry
        )
        self.last_document = Gauge(
            "sentiment_last_document_timestamp_seconds",
            "When any monitor received the latest document that is no heartbeat, in seconds since 1970",
            registry=registry,
        )
        self.schema_revision = Gauge(
            "sentiment_schema_revision",
            "The revision of the database's schema, as a number",
            registry=registry,
        )
        self.workers = Gauge(
            "sentiment_workers", "Members of the consumer group, by what Kafka says", registry=registry
        )
        self.workers.set(UNKNOWN)
        self._targets: tuple[str, ...] = ()
        self._leases: tuple[str, ...] = ()
        self.hide()

    def create_labels(self, targets: Iterable[str], leases: Iterable[str]) -> None:
        self._targets, self._leases = tuple(targets), tuple(leases)
        self.hide()

    def hide(self) -> None:
        """What the database holds is not known."""
        for gauge in (
            self.waiting,
            self.failing_since,
            self.due_since,
            self.unconfigured,
            self.last_document,
            self.schema_revision,
            *(
                gauge.labels(name)
                for gauge in (self.target_entries, self.target_due_since)
                for name in self._targets
            ),
            *(gauge.labels(name) for gauge in (self.lease_expires, self.lease_held) for name in self._leases),
        ):
            gauge.set(UNKNOWN)

    def show_outbox(self, rows: Iterable[TargetDepth]) -> None:
        """Set what waits in the outbox."""
        by_target = {row.target: row for row in rows}
        configured = [by_target[name] for name in self._targets if name in by_target]
        total = total_depth(configured)
        self.waiting.set(total.entries)
        self.failing_since.set(_seconds(total.failing_since))
        self.due_since.set(_seconds(total.due_since))
        self.unconfigured.set(sum(row.entries for row in by_target.values()) - total.entries)
        for name in self._targets:
            row = by_target.get(name)
            self.target_entries.labels(name).set(row.entries if row else 0)
            self.target_due_since.labels(name).set(_seconds(row.due_since if row else None))

    def show_leases(self, leases: Iterable[HeldLease], own: Mapping[str, str]) -> None:
        """Set who holds the leases; `own` maps each to this monitor's name as its holder."""
        by_name = {lease.name: lease for lease in leases if lease.left > timedelta(0)}
        for name in self._leases:
            lease = by_name.get(name)
            self.lease_expires.labels(name).set(_seconds(lease.expires_at if lease else None))
            self.lease_held.labels(name).set(int(lease is not None and lease.holder == own.get(name)))


def _seconds(at: datetime | None) -> float:
    return at.timestamp() if at else UNKNOWN


class MoodMetrics:
    """The mood of the latest texts; what has no data is absent, never 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.mean_score = Gauge(
            "sentiment_mean_score",
            "Mean score of the latest texts; absent if there are none",
            ["topic", "kind"],
            registry=registry,
        )
        self.negative_share = Gauge(
            "sentiment_negative_share",
            "Share of negative texts among the latest; absent if there are none",
            ["topic", "kind"],
            registry=registry,
        )
        self._shown: set[tuple[str, str]] = set()

    def show(self, aggregates: Iterable[Aggregate]) -> None:
        """Set the gauges from the sums of the latest windows."""
        shown = set()
        for aggregate in aggregates:
            if aggregate.mean is not None and aggregate.negative_share is not None:
                labels = (aggregate.topic, aggregate.kind)
                self.mean_score.labels(*labels).set(aggregate.mean)
                self.negative_share.labels(*labels).set(aggregate.negative_share)
                shown.add(labels)
        for labels in self._shown - shown:
            self.mean_score.remove(*labels)
            self.negative_share.remove(*labels)
        self._shown = shown

    def hide(self) -> None:
        """Make the gauges absent."""
        self.mean_score.clear()
        self.negative_share.clear()
        self._shown = set()


class StoryMetrics:
    """How documents are assigned to stories."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting_since = Gauge(
            "sentiment_story_waiting_timestamp_seconds",
            "When the document was received that has waited longest for its story, in seconds since 1970; "
            "NaN if none waits, or the database does not answer",
            registry=registry,
        )
        self.waiting_since.set(UNKNOWN)
        self._assigned = Counter(
            "sentiment_story_documents_total",
            "Documents that this monitor assigned to stories, by what they are: a voice, a copy of another "
            "text, or another one of an origin that had its voice",
            ["result"],
            registry=registry,
        )
        for result in ("voice", "copy", "other"):
            self._assigned.labels(result)
        self._begun = Counter(
            "sentiment_stories_total", "Stories that documents began in this monitor", registry=registry
        )

    def count(self, assigned: Sequence[StoryAssignment]) -> None:
        """Count what was assigned."""
        for each in assigned:
            result = "voice" if each.is_voice else "other" if each.copy_of is None else "copy"
            self._assigned.labels(result).inc()
            self._begun.inc(each.story == each.sequence)


class WatchlistMetrics:
    """The latest texts about each entity of the watchlist; they are absent while that is not known."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["entity", "kind"]
        self.documents = Gauge(
            "sentiment_entity_documents",
            "Latest texts about an entity of alerts.watchlist, with a relevance of 20 or more",
            labels,
            registry=registry,
        )
        self.negative = Gauge(
            "sentiment_entity_negative_documents",
            "Those of them whose sentiment towards the entity is negative",
            labels,
            registry=registry,
        )
        self.mean_score = Gauge(
            "sentiment_entity_mean_score",
            "Mean score of these texts towards the entity; absent if there are none",
            labels,
            registry=registry,
        )

        self._shown: set[tuple[Gauge, str, str]] = set()

    def show(self, entities: Iterable[str], by_kind: Mapping[str, Iterable[Aggregate]]) -> None:
        """Set the gauges of these entities from their latest sums, whose `topic` is the entity."""
        found = {(total.topic, kind): total for kind, totals in by_kind.items() for total in totals}
        shown = set()
        for entity, kind in product(entities, by_kind):
            total = found.get((entity, kind), Aggregate(EPOCH, entity, kind))
            values = {self.documents: total.n, self.negative: total.negative, self.mean_score: total.mean}
            for gauge, value in values.items():
                if value is not None:
                    gauge.labels(entity, kind).set(value)
                    shown.add((gauge, entity, kind))
        self._remove(self._shown - shown)
        self._shown = shown

    def hide(self) -> None:
        """Make the gauges absent."""
        self._remove(self._shown)
        self._shown = set()

    @staticmethod
    def _remove(series: Iterable[tuple[Gauge, str, str]]) -> None:
        for gauge, *labels in series:
            gauge.remove(*labels)
