"""A day of an invented market in a database: texts, stories, alerts and incidents, written by the real parts.

    newsroom = Newsroom(store, folder, labels, now)
    newsroom.day()              # an ordinary day with a surge in the morning and one that goes on
    newsroom.surge(minutes=2)   # it gets worse while somebody looks

Its clock begins at `now`, and goes on with what happens; the day before is written as of then.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.incidents.joining import IncidentPolicy
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import load_rules
from monitor.demo.sample import Sample, SampleFeed
from stream.codec import Codec
from stream.domain.documents import Document, Kind
from stream.domain.errors import DeadLetterReason
from stream.domain.records import Batch, ClassifiedDocument, DeadLetter, MessagePosition, Outcome, Partition
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.settings import StreamSettings
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities
from stream.storage.leases import Lease
from stream.storage.marks import set_mark
from stream.storage.stories import STORIES_MARK
from stream.storage.story_task import StoryStore
from tests.browser.predictions import TOPICS, InventedLabels

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# The day begins so long ago, and its surges so long ago; the second one goes on.
BEGINNING, MORNING, LATEST = 30 * HOUR, 6 * HOUR, 8 * MINUTE
# Texts a minute of the surge, and minutes between two of an ordinary day.
SURGING, CALM = 8, 3
FEED = Partition("invented/a", "news", 0)
RULES = """
rules:
  - name: negative-surge
    type: negative_surge
    topics: each
    window: 15m
    min_negative: 10
    min_documents: 10
    min_baseline: 12h
    keep_firing_for: 5m
    false_pages_per_month: 0.25
    severity: page
  - name: entity-mood
    type: threshold
    entities: each
    watch: negative_share
    threshold: 0.8
    window: 15m
    min_documents: 10
    keep_firing_for: 5m
    severity: page
"""


class Newsroom:
    """What arrives is written, gets its story, and the rules are evaluated."""

    def __init__(self, store: Store, folder: Path, labels: InventedLabels, now: datetime) -> None:
        """Over a database that is new, or that another newsroom has filled until `now`."""
        self.store, self.labels, self.now = store, labels, now
        self.rules = folder / "rules.yaml"
        self.rules.write_text(RULES)
        self.episodes = SqlEpisodeStore(store, Lease(store, "alerts", "newsroom", 3600), "alerts")
        self._feed = SampleFeed(f"{now:%H%M%S}")
        read = store.next_offsets([FEED.incarnation]).get(FEED)
        self._offset = read.offset if read else 0
        self._codec, self._outbound = Codec.from_settings(StreamSettings()), BatchOutbound(KafkaSettings())
        self._evaluator = AlertEvaluator(
            rules=load_rules(self.rules, TOPICS),
            topics=TOPICS,
            reader=store.reads,
            episodes=self.episodes,
            delivery=PageRouter(("webhook:desk",)),
            window_width=store.width,
            metrics=AlertMetrics(),
            policy=IncidentPolicy(calm=30 * MINUTE),
        )
        lease = Lease(store, "stories", "newsroom", 3600)
        self._stories = StoryStore(store, lease, weights=dict, outbound=lambda _: [], clock=self.clock)

    def clock(self) -> datetime:
        """What time it is in the newsroom."""
        return self.now

    def day(self) -> None:
        """An ordinary day with a surge in the morning, which is over, and one that goes on."""
        end, self.now = self.now, self.now - BEGINNING
        with database.writing(self.store.engine) as connection:
            set_mark(connection, STORIES_MARK, self.now)
        store_entities(self.store, self.labels.gazetteer.version, self._names())
        self.calm(until=end - MORNING)
        self.surge(minutes=10)
        self.calm(until=end - MORNING + HOUR, evaluate=True)
        self.calm(until=end - LATEST)
        self.refuse(b'{"id": "7", "text": "Quarterly figures follow"', DeadLetterReason.NOT_JSON)
        self.surge(minutes=LATEST // MINUTE)

    def calm(self, until: datetime, evaluate: bool = False) -> None:
        """Texts of an ordinary day.  The rules are evaluated now and then, or not at all."""
        step = 10 * MINUTE if evaluate else HOUR
        while self.now < until:
            end = min(self.now + step, until)
            count = max(1, round((end - self.now) / MINUTE / CALM))
            times = [self.now + (end - self.now) * (i + 1) / count for i in range(count)]
            self.tell(self._classified(self._feed.calm(at), None) for at in times)
            self.now = end
            if evaluate:
                self.evaluate()

    def surge(self, minutes: int) -> None:
        """Bad news about a bank."""
        for _ in range(minutes):
            times = [self.now + MINUTE * (i + 1) / SURGING for i in range(SURGING)]
            self.tell(self._classified(self._feed.surge(at), "negative") for at in times)
            self.now += MINUTE
            self.evaluate()

    def tell(self, outcomes: Iterable[Outcome]) -> None:
        """Write these, received as the last one is published, and assign their stories."""
        batch = list(outcomes)
        published = [item.document.published_at for item in batch if isinstance(item, ClassifiedDocument)]
        self.store.write(Batch(batch), self._outbound, max(published, default=self.now))
        while self._stories.assign_next():
            pass

    def report(
        self, document: Document, mood: str = "negative", topic: str = "Financials"
    ) -> ClassifiedDocument:
        """A document of one's own."""
        return ClassifiedDocument(self._position(b"{}"), document, self.labels.predict(document, mood, topic))

    def refuse(self, value: bytes, reason: DeadLetterReason) -> None:
        """A message that becomes a dead letter."""
        self.tell([DeadLetter(self._position(value), reason, "it ends in the middle of an object")])

    def evaluate(self) -> None:
        """Evaluate the rules."""
        self._evaluator.evaluate(self.now)

    def open_incident(self) -> str:
        """The id of the first open incident."""
        return self.episodes.open_incidents()[0].id

    def _classified(self, sample: Sample, mood: str | None) -> ClassifiedDocument:
        value = msgspec.json.encode(sample.message)
        document = self._codec.decode(value, sample.kind, self.now + HOUR)
        assert isinstance(document, Document)
        topic = "Financials" if mood else None
        return ClassifiedDocument(
            self._position(value, sample.kind), document, self.labels.predict(document, mood, topic)
        )

    def _position(self, value: bytes, kind: Kind = Kind.NEWS) -> MessagePosition:
        self._offset += 1
        return MessagePosition(kind, FEED, self._offset - 1, value)

    def _names(self) -> Sequence[EntityRow]:
        found = self.labels.gazetteer.entities.values()
        return [EntityRow(each.id, each.kind, each.name, each.chinese_name) for each in found]
