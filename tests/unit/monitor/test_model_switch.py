"""Another model labels the same calm texts very differently: the switch pages nobody, and a surge after it does."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.registry import RULE_TYPES
from alerts.windows.labelled_hours import LabelledHours
from alerts.windows.window_reader import longest_comparison
from stream.domain.documents import Document, Kind, Prediction
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition
from stream.domain.sums import TimeRange
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import relabel, retention
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.relabel import count_erased, count_outdated
from tests.unit.stream.samples import no_messages

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
SWITCH = START + 3 * DAY
BASELINE = {"baseline": "3d", "min_baseline": "12h", "min_documents": 5}
FIELDS: Sequence[dict[str, object]] = (
    {"name": "surge", "type": "negative_surge", "window": "30m", "factor": 3, "topics": "all"} | BASELINE,
    {"name": "topic", "type": "volume_surge", "window": "1h", "topics": ["Fed"]} | BASELINE,
    {"name": "mood", "type": "mood_shift", "window": "6h"} | BASELINE,
    {"name": "silence", "type": "silence", "window": "1h"} | BASELINE,
)
RULES: list[Rule] = [RULE_TYPES[str(fields["type"])].model_validate(fields) for fields in FIELDS]
COMPARING = {"surge", "topic", "mood"}


def predict(model: str, text: str) -> Prediction:
    """Model "one" calls one text in ten negative, and none about the Fed; "two" nine in ten, half about the Fed."""
    number = int(text.rsplit(maxsplit=1)[-1])
    negative = number % 10 == 0 if model == "one" else number % 10 > 0
    topic = "Fed" if model == "two" and number % 2 else "Macro"
    sentiment, score = ("negative", -0.9) if negative or "crash" in text else ("neutral", 0.0)
    return Prediction(
        model, "en", topic, sentiment, score, {"topic": {topic: 1.0}, "sentiment": {sentiment: 1.0}}
    )


class Desk:
    """A store with calm news every two minutes, and the rules over it."""

    def __init__(self, store: Store) -> None:
        self.store, self.written, self.now, self.model = store, 0, START, "one"
        self.episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
        self.restart()

    def restart(self) -> None:
        """The monitor starts again."""
        self.metrics = AlertMetrics()
        self.evaluator = AlertEvaluator(
            rules=RULES,
            topics=("Macro", "Fed"),
            reader=self.store.reads,
            episodes=self.episodes,
            delivery=PageRouter(("webhook:desk",)),
            window_width=self.store.width,
            metrics=self.metrics,
        )

    def receive(self, end: datetime, every: timedelta = 2 * MINUTE, title: str = "calm") -> None:
        batch = []
        while self.now < end:
            text = f"{title} {self.written}"
            document = Document(f"d{self.written}", Kind.NEWS, "wire", self.now, title=text)
            position = MessagePosition(Kind.NEWS, Partition("c", "news", 0), self.written, b"{}")
            batch.append(ClassifiedDocument(position, document, predict(self.model, text)))
            self.written += 1
            self.now += every
        self.store.write(Batch(batch), no_messages, self.now)

    def live(self, end: datetime) -> set[str]:
        """Receive and evaluate until then; return the rules that fired."""
        while self.now < end:
            self.receive(self.now + 10 * MINUTE)
            self.evaluator.evaluate(self.now)
        return self.fired()

    def fired(self) -> set[str]:
        alerts = (*self.episodes.open_alerts(), *self.episodes.past_alerts(START))
        return {alert.rule for alert in alerts if alert.fired_at}

    def relabel(self, model: str) -> None:
        relabel.relabel(
            self.store,
            TimeRange(self.now - longest_comparison(RULES), self.now),
            model,
            classify=lambda inputs: [predict(model, item.text) for item in inputs],
            outbound=BatchOutbound(KafkaSettings(), publish_predictions=False),
            clock=lambda: self.now,
        )

    def crash(self) -> set[str]:
        self.receive(self.now + 20 * MINUTE, every=timedelta(seconds=10), title="crash")
        self.evaluator.evaluate(self.now)
        return self.fired()


@pytest.fixture
def desk(store: Store) -> Iterator[Desk]:
    desk = Desk(store)
    for end in (START + DAY, START + 2 * DAY, SWITCH - 20 * MINUTE):
        desk.receive(end)
    assert desk.live(SWITCH) == set()
    assert desk.evaluator.waiting == set()
    desk.model = "two"
    desk.restart()
    yield desk


def test_a_switch_without_relabelling_pages_nobody_and_says_which_rules_wait(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    assert desk.live(SWITCH + 8 * HOUR) == set()
    assert desk.evaluator.waiting == COMPARING
    (warning,) = [record.getMessage() for record in caplog.records if "wait" in record.getMessage()]
    assert warning.endswith("mood, surge, topic; run `monitor relabel --for-switch`")
    assert [sample.value for sample in desk.metrics.rules_waiting.collect()[0].samples] == [3]
    assert desk.live(SWITCH + 24 * HOUR) == set()
    assert desk.evaluator.waiting == set(), "twelve hours of the new model are enough for these rules"
    assert "surge" in desk.crash()


def test_after_relabelling_the_rules_compare_at_once(desk: Desk) -> None:
    assert desk.live(SWITCH + HOUR) == set()
    desk.relabel("two")
    assert count_outdated(desk.store, TimeRange(START, desk.now), "two") == 0
    assert desk.live(desk.now + 30 * MINUTE) == set()
    assert desk.evaluator.waiting == set()
    assert "surge" in desk.crash()


def test_relabelling_before_the_switch_pages_nobody_either(store: Store) -> None:
    desk = Desk(store)
    desk.receive(SWITCH)
    assert desk.live(SWITCH + 20 * MINUTE) == set()
    desk.relabel("two")
    assert desk.live(SWITCH + HOUR) == set()
    desk.model = "two"
    desk.restart()
    assert desk.live(SWITCH + 2 * HOUR) == set()
    desk.relabel("two")
    assert desk.live(SWITCH + 3 * HOUR) == set()
    assert desk.evaluator.waiting == set()
    assert "surge" in desk.crash()


def test_hours_whose_texts_were_erased_stay_out_of_the_baseline(desk: Desk) -> None:
    """Of three days one is left, which is enough for the rules."""
    retention.purge(desk.store, SWITCH - DAY + MINUTE, desk.now)
    assert desk.live(SWITCH + 2 * HOUR) == set()
    desk.relabel("two")
    assert count_erased(desk.store, TimeRange(START, desk.now), "two") == 2 * 24 * 30
    assert desk.live(SWITCH + 3 * HOUR) == set()
    assert desk.evaluator.waiting == set()
    assert "surge" in desk.crash()


def test_silence_does_not_wait_for_labels(desk: Desk) -> None:
    desk.live(SWITCH + 2 * HOUR)
    desk.now += 3 * HOUR
    desk.evaluator.evaluate(desk.now)
    assert desk.fired() == {"silence"}


def test_workers_of_both_models_side_by_side_page_nobody(desk: Desk) -> None:
    """As while the monitors are restarted one after another."""
    while desk.now < SWITCH + 2 * HOUR:
        desk.model = "one" if desk.model == "two" else "two"
        assert desk.live(desk.now + 10 * MINUTE) == set()


def test_hours_are_read_again_only_where_something_changed(desk: Desk) -> None:
    reads: list[datetime | None] = []
    reader = desk.store.reads

    class Counting:
        latest_model = staticmethod(reader.latest_model)

        def count_by_model(
            self, start: datetime, end: datetime, received_since: datetime | None
        ) -> dict[tuple[datetime, str], int]:
            reads.append(received_since)
            return reader.count_by_model(start, end, received_since)

    hours = LabelledHours(Counting())  # type: ignore[arg-type]
    assert not hours.look(desk.now, 4 * DAY)
    assert not hours.look(desk.now + MINUTE, 4 * DAY)
    assert reads[0] is None and reads[1] is not None
    desk.receive(desk.now + HOUR)
    assert hours.look(desk.now, 4 * DAY)
    assert reads[2] is None, "another model labels now"
    assert hours.of_other_models == (TimeRange(START, SWITCH),)
    hours.look(desk.now + MINUTE, 4 * DAY)
    hours.look(desk.now + 11 * MINUTE, 4 * DAY)
    assert reads[3] is not None and reads[4] is None, "the other hours may have been labelled again"


def test_what_the_rules_compare_with_is_the_longest_baseline_and_its_window() -> None:
    assert longest_comparison(RULES) == 3 * DAY + 6 * HOUR
    assert longest_comparison([]) == timedelta(0)


def test_a_rule_compares_labels_unless_it_counts_all_documents(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert {rule.name for rule in RULES if rule.compares_labels} == COMPARING
