"""What the stream tells Prometheus.  Everything is counted once a batch."""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.codec import REASONS
from stream.domain.documents import SENTIMENTS, DocumentStatus, Kind
from stream.domain.records import DuplicateReason, WriteResult
from stream.domain.sums import Aggregate

OUTCOMES = (*DocumentStatus, *DuplicateReason, "dead_letter")
KINDS = tuple(kind.value for kind in Kind)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class StreamMetrics:
    """`topics` are the labels the classifier may give; every label value exists from the start."""

    def __init__(self, registry: CollectorRegistry | None = None, topics: Iterable[str] = ()) -> None:
        registry = registry or CollectorRegistry()
        self.documents = Counter(
            "sentiment_documents", "Messages by what became of them", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.predictions = Counter(
            "sentiment_predictions", "Judged documents", ["topic", "kind", "sentiment"],
            registry=registry,
        )  # fmt: skip
        self.late = Counter(
            "sentiment_late_documents", "Documents read later than stream.late_seconds after their stamp",
            ["kind"], registry=registry,
        )  # fmt: skip
        self.truncated = Counter(
            "sentiment_truncated_documents", "Documents longer than the classifier reads", registry=registry
        )
        self.dead_letters = Counter(
            "sentiment_dead_letters", "Messages refused", ["reason"], registry=registry
        )
        self.holes = Counter(
            "sentiment_missing_offsets", "Offsets no message came for: markers, compaction, retention",
            registry=registry,
        )  # fmt: skip
        self.batch = Histogram(
            "sentiment_batch_documents", "Messages of one batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096), registry=registry,
        )  # fmt: skip
        self.commit = Histogram(
            "sentiment_commit_seconds", "Seconds of one SQL transaction", buckets=SECONDS, registry=registry
        )
        self.last_commit = Gauge(
            "sentiment_last_commit_timestamp_seconds", "When a batch was last committed to SQL",
            registry=registry,
        )  # fmt: skip
        self.last_commit.set(float("nan"))
        self.lag = Gauge(
            "sentiment_consumer_lag_messages", "Messages in Kafka that are not in SQL yet",
            ["kafka_topic", "partition"], registry=registry,
        )  # fmt: skip
        self.caught_up = Gauge(
            "sentiment_caught_up_timestamp_seconds",
            "When all that Kafka had was last in SQL; since the start where that was never so yet",
            ["kafka_topic", "partition"], registry=registry,
        )  # fmt: skip
        self.dependency_up = Gauge(
            "sentiment_dependency_up", "1 while the broker or the database answers", ["dependency"],
            registry=registry,
        )  # fmt: skip
        self.retries = Counter(
            "sentiment_store_retries", "Transactions tried again because the database was away",
            registry=registry,
        )  # fmt: skip
        self.outbox_sent = Counter(
            "sentiment_outbox_sent", "Outbox entries delivered", ["target"], registry=registry
        )
        self.outbox_failed = Counter(
            "sentiment_outbox_failures", "Outbox deliveries that failed and are tried again",
            ["target"], registry=registry,
        )  # fmt: skip
        self.outbox_waiting = Gauge(
            "sentiment_outbox_entries", "Outbox entries that wait, pages held by quiet hours included",
            registry=registry,
        )  # fmt: skip
        self.outbox_waiting.set(float("nan"))
        self.outbox_failing = Gauge(
            "sentiment_outbox_failing_timestamp_seconds",
            "Since when an outbox entry has failed and is tried again; NaN without one",
            registry=registry,
        )  # fmt: skip
        self.outbox_failing.set(float("nan"))
        self.heartbeat = Gauge(
            "sentiment_heartbeat_timestamp_seconds",
            "When the latest heartbeat was sent that went the whole way into SQL; NaN where none is sent",
            registry=registry,
        )  # fmt: skip
        self.heartbeat.set(float("nan"))
        self.mean_score = Gauge(
            "sentiment_mean_score", "Mean score of the latest texts; absent without any",
            ["topic", "kind"], registry=registry,
        )  # fmt: skip
        self.negative_share = Gauge(
            "sentiment_negative_share", "Share of negatives of the latest texts; absent without any",
            ["topic", "kind"], registry=registry,
        )  # fmt: skip
        self._mood: set[tuple[str, str]] = set()
        self._partitions: dict[Gauge, set[tuple[str, int]]] = {}
        self._create_labels(topics)

    def _create_labels(self, topics: Iterable[str]) -> None:
        for kind in KINDS:
            self.late.labels(kind)
            for outcome in OUTCOMES:
                self.documents.labels(kind, outcome)
            for topic in topics:
                for sentiment in SENTIMENTS:
                    self.predictions.labels(topic, kind, sentiment)
        for reason in REASONS:
            self.dead_letters.labels(reason)

    def count(self, written: WriteResult, now: datetime, late: timedelta) -> None:
        """Count one written batch."""
        documents: Tally[tuple[str, str]] = Tally()
        predictions: Tally[tuple[str, str, str]] = Tally()
        for item in written.documents:
            kind, prediction = item.position.kind.value, item.prediction
            documents[kind, prediction.status] += 1
            if prediction.topic and prediction.counted_sentiment:
                predictions[prediction.topic, kind, prediction.counted_sentiment] += 1
        for letter in written.dead_letters:
            documents[letter.position.kind.value, "dead_letter"] += 1
        documents.update(written.duplicates)
        for document_key, n in documents.items():
            self.documents.labels(*document_key).inc(n)
        for prediction_key, n in predictions.items():
            self.predictions.labels(*prediction_key).inc(n)
        for reason, n in Tally(letter.reason for letter in written.dead_letters).items():
            self.dead_letters.labels(reason).inc(n)
        judged = [item.document for item in written.documents]
        for kind, n in Tally(d.kind.value for d in judged if d.published_at < now - late).items():
            self.late.labels(kind).inc(n)
        self.truncated.inc(sum(item.prediction.truncated for item in written.documents))
        self.holes.inc(written.missing_offsets)
        self.last_commit.set(now.timestamp())

    def show_lag(
        self, waiting: Mapping[tuple[str, int], int], caught_up: Mapping[tuple[str, int], float]
    ) -> None:
        """By Kafka topic and partition; what is not known, or not ours any more, is absent."""
        for gauge, values in ((self.lag, waiting), (self.caught_up, caught_up)):
            for topic, partition in self._partitions.get(gauge, set()) - values.keys():
                gauge.remove(topic, str(partition))
            for (topic, partition), value in values.items():
                gauge.labels(topic, str(partition)).set(value)
            self._partitions[gauge] = set(values)

    def show_outbox(self, waiting: int, failing_since: datetime | None) -> None:
        self.outbox_waiting.set(waiting)
        self.outbox_failing.set(failing_since.timestamp() if failing_since else float("nan"))

    def show_mood(self, aggregates: Iterable[Aggregate]) -> None:
        """Set the gauges of the latest windows; what has no data is absent, never 0."""
        shown = set()
        for aggregate in aggregates:
            if aggregate.mean is not None and aggregate.negative_share is not None:
                labels = (aggregate.topic, aggregate.kind)
                self.mean_score.labels(*labels).set(aggregate.mean)
                self.negative_share.labels(*labels).set(aggregate.negative_share)
                shown.add(labels)
        for labels in self._mood - shown:
            self.mean_score.remove(*labels)
            self.negative_share.remove(*labels)
        self._mood = shown

    def hide_mood(self) -> None:
        self.mean_score.clear()
        self.negative_share.clear()
        self._mood = set()
