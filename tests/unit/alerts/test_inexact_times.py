"""Documents that have a date alone, or no time, fire no window of the past."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from alerts.backtest import Page, replay
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.detectors.threshold import ThresholdRule
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import Text
from alerts.metrics import AlertMetrics
from stream.domain.alerts import Alert
from stream.domain.documents import Precision
from stream.domain.records import Batch, ClassifiedDocument
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from tests.unit.stream.samples import classified, no_messages

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 15, tzinfo=UTC)
SURGE = NegativeSurgeRule.model_validate(
    {
        "name": "surge",
        "type": "negative_surge",
        "window": "15m",
        "baseline": "7d",
        "min_baseline": "1d",
        "min_negative": 10,
    }
)
SHARE = ThresholdRule.model_validate(
    {"name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.1, "window": "1d"}
)


def text(number: int, at: datetime, sentiment: str, precision: Precision = Precision.EXACT) -> Text:
    score = -5000 if sentiment == "negative" else 0
    return Text(
        str(number), "wire", "news", at, f"{number}", "Earnings", sentiment, score, precision=precision
    )


def two_weeks(precision: Precision) -> Iterator[Text]:
    """Ten texts an hour round the clock; each midnight of the second week sixty with that stamp, of which forty
    are negative."""
    number = 0
    for day in range(15):
        start = MIDNIGHT - (14 - day) * DAY
        for i in range(240):
            yield text(number := number + 1, start + i * 6 * MINUTE + timedelta(seconds=17), "neutral")
        for i in range(60 if day > 7 else 0):
            yield text(number := number + 1, start, "negative" if i < 40 else "neutral", precision)


def pages_of(texts: Sequence[Text], rule: Rule = SURGE) -> list[Page]:
    return replay([rule], ["Earnings"], texts).alerts


def test_in_a_backtest_a_days_worth_of_dates_is_no_surge_at_midnight() -> None:
    assert len(pages_of(list(two_weeks(Precision.EXACT)))) > 0, "exact times at midnight are a surge"
    assert pages_of(list(two_weeks(Precision.DAY))) == []


def test_in_a_backtest_a_surge_beside_dates_still_pages_and_shows_its_own_evidence() -> None:
    texts = list(two_weeks(Precision.DAY))
    surge = [text(10_000 + i, MIDNIGHT + i * timedelta(seconds=1), "negative") for i in range(300)]
    (page,) = pages_of([*texts, *surge])
    assert page.fired.n < 310
    assert {int(item.id) for item in page.fired.evidence} <= set(range(10_000, 10_300))


def test_in_a_backtest_dates_count_in_a_window_of_a_day() -> None:
    assert pages_of(list(two_weeks(Precision.DAY)), SHARE)


class Loop:
    """The live loop over a real database: what arrives is written, then the rules are evaluated."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.offset = 0
        self.lease = Lease(store, "alerts", "me", 3600)
        assert self.lease.acquire()
        self.evaluator = AlertEvaluator(
            rules=[SURGE],
            topics=["Earnings"],
            reader=store.reads,
            episodes=SqlEpisodeStore(store, self.lease, "alerts"),
            delivery=PageRouter(),
            window_width=MINUTE,
            metrics=AlertMetrics(),
        )

    def write(self, count: int, at: datetime, sentiment: str, precision: Precision, now: datetime) -> None:
        self.store.write(Batch(list(self._documents(count, at, sentiment, precision))), no_messages, now)

    def _documents(
        self, count: int, at: datetime, sentiment: str, precision: Precision
    ) -> Iterator[ClassifiedDocument]:
        for _ in range(count):
            self.offset += 1
            item = classified(str(self.offset), self.offset, at=at, sentiment=sentiment)
            document = structs.replace(item.document, published_precision=precision)
            yield structs.replace(item, document=document)

    def history(self, until: datetime) -> None:
        for hour in range(24 * 8):
            at = until - (hour + 2) * HOUR
            self.write(10, at + 3 * MINUTE, "neutral", Precision.EXACT, at + 3 * MINUTE)


def fired(loop: Loop, now: datetime) -> list[Alert]:
    return [alert for alert in loop.evaluator.evaluate(now) if alert.state == "firing"]


@pytest.mark.parametrize("precision", [Precision.DAY, Precision.SEEN])
def test_in_the_loop_dates_that_arrive_hours_later_are_no_late_surge(
    store: Store, precision: Precision
) -> None:
    loop = Loop(store)
    loop.history(MIDNIGHT)
    start = MIDNIGHT + 3 * HOUR
    fired(loop, start)
    for minutes in range(5, 60, 5):
        now = start + minutes * MINUTE
        loop.write(5, MIDNIGHT, "negative", precision, now)
        assert fired(loop, now + MINUTE) == []
    # A late text with an exact time makes the window of midnight be looked at again: without the others.
    now = start + HOUR
    loop.write(1, MIDNIGHT + timedelta(seconds=5), "negative", Precision.EXACT, now)
    assert fired(loop, now + MINUTE) == []
    loop.write(30, MIDNIGHT + timedelta(seconds=6), "negative", Precision.EXACT, now + 2 * MINUTE)
    (alert,) = fired(loop, now + 3 * MINUTE)
    assert alert.summary.startswith("late documents") and alert.n == 31
    assert all(item.precision is Precision.EXACT for item in alert.evidence)


def test_in_the_loop_texts_without_a_time_fire_the_present_window(store: Store) -> None:
    loop = Loop(store)
    loop.history(MIDNIGHT)
    fired(loop, MIDNIGHT)
    now = MIDNIGHT + 10 * MINUTE
    loop.write(40, now, "negative", Precision.SEEN, now)
    (alert,) = fired(loop, now + timedelta(seconds=20))
    assert alert.n == 40 and alert.evidence[0].precision is Precision.SEEN
