"""The shell: what is read, decided, written and sent, over a store that is a small class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.loop import AlertLoop
from alerts.metrics import AlertMetrics
from alerts.rules import NegativeSurgeRule, Rule, ThresholdRule
from stream.nouns import Aggregate, Alert, Exhibit, Scope, Selection, window_start

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SURGE = NegativeSurgeRule.model_validate({
    "name": "surge", "type": "negative_surge", "window": "5m", "baseline": "2h", "min_baseline": "30m",
    "min_documents": 5, "min_negative": 5, "keep_firing_for": "1m", "factor": 3,
})  # fmt: skip
SHARE = ThresholdRule.model_validate({
    "name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.6, "topics": "all",
    "min_documents": 10, "window": "5m",
})  # fmt: skip


@dataclass
class MemoryStore:
    """The alert room's store in memory: documents as (stamp, topic, kind, sentiment)."""

    documents: list[tuple[datetime, str, str, str]] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    sources: int = 1

    def add(self, count: int, start: datetime, end: datetime, sentiment: str, topic: str = "IPO") -> None:
        gap = (end - start) / count
        self.documents += [(start + i * gap, topic, "news", sentiment) for i in range(count)]

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        parts: dict[tuple[str, str], Aggregate] = {}
        for stamp, topic, kind, sentiment in self.documents:
            if start <= window_start(stamp, MINUTE) < end:
                score = {"positive": 9000, "neutral": 0, "negative": -9000}[sentiment]
                part = parts.get((topic, kind), Aggregate(start, topic, kind))
                parts[topic, kind] = part + Aggregate.of(start, topic, kind, sentiment, score)
        return list(parts.values())

    def cells(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        starts = sorted({window_start(stamp, width) for stamp, *_ in self.documents if start <= stamp < end})
        return [part for at in starts for part in self.sums(at, min(at + width, end), selection)]

    def most_negative(self, scope: Scope, limit: int) -> list[Exhibit]:
        stories = [
            Exhibit("wire", str(i), NOW, "Bank Falls" if i % 2 else "bank falls", -0.9) for i in range(9)
        ]
        return [*stories, Exhibit("wire", "x", NOW, "Another story", -0.5)]

    def writers(self, scope: Scope) -> tuple[int, int]:
        return self.sources, 0

    def past_alerts(self, since: datetime) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.resolved_at and alert.resolved_at >= since]

    def open_alerts(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.state in ("pending", "firing")]

    def save(
        self, changed: Sequence[Alert], dropped: Sequence[str], events: Any, pages: Any, now: datetime
    ) -> None:
        self.alerts |= {alert.id: alert for alert in changed}
        for id_ in dropped:
            del self.alerts[id_]
        self.events += events
        self.pages += pages


def loop(store: MemoryStore, *rules: Rule) -> AlertLoop:
    return AlertLoop(rules, ("IPO", "Macro"), store, ("desk",), MINUTE, AlertMetrics())


def surging() -> MemoryStore:
    store = MemoryStore()
    store.add(40, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "neutral")
    store.add(6, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "negative")
    store.add(20, NOW - timedelta(minutes=3), NOW, "negative")
    return store


def test_a_surge_fires_on_its_topic_alone_with_distinct_evidence() -> None:
    store = surging()
    (alert,) = loop(store, SURGE).evaluate(NOW)
    assert (alert.topic, alert.state, alert.n) == ("IPO", "firing", 20)
    assert alert.value > alert.threshold == 3
    assert "chance" in alert.uncertainty
    assert [exhibit.content for exhibit in alert.evidence] == ["bank falls", "Another story"]
    (page,) = store.pages
    assert page[0] == "webhook:desk"
    assert page[1]["key"] == f"{alert.id}:firing"
    assert {"value", "threshold", "n", "uncertainty", "evidence", "summary"} <= page[1].keys()


def test_a_restart_forgets_no_page_and_repeats_none() -> None:
    store = surging()
    for _ in range(3):
        loop(store, SURGE).evaluate(NOW + timedelta(seconds=10))
    assert len(store.pages) == len(store.events) == 1


def test_after_the_surge_it_resolves_once_with_the_same_id() -> None:
    store = surging()
    loop(store, SURGE).evaluate(NOW)
    store.add(10, NOW, NOW + timedelta(minutes=8), "neutral", "Macro")
    for seconds in (480, 500, 560, 600):
        loop(store, SURGE).evaluate(NOW + timedelta(seconds=seconds))
    keys = [value["key"].split(":") for _, value in store.pages]
    assert [state for _, state in keys] == ["firing", "resolved"]
    assert keys[0][0] == keys[1][0]


def test_a_feed_that_falls_silent_is_not_calm() -> None:
    store = surging()
    loop(store, SURGE).evaluate(NOW)
    for hour in range(1, 4):
        (alert,) = loop(store, SURGE).evaluate(NOW + timedelta(hours=hour))
        assert alert.state == "firing"


def test_without_a_baseline_nothing_fires() -> None:
    store = MemoryStore()
    store.add(50, NOW - timedelta(minutes=4), NOW, "negative")
    assert loop(store, SURGE).evaluate(NOW) == []


def test_the_current_window_is_no_part_of_its_baseline() -> None:
    store = MemoryStore()
    store.add(60, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "neutral")
    store.add(30, NOW - timedelta(minutes=3), NOW, "negative")
    (alert,) = loop(store, SURGE).evaluate(NOW)
    assert alert.value > 100


def test_a_steady_stream_of_bad_news_is_no_surge() -> None:
    store = MemoryStore()
    store.add(600, NOW - timedelta(hours=2), NOW, "negative")
    assert loop(store, SURGE).evaluate(NOW) == []


def test_a_feed_that_was_away_for_hours_does_not_make_its_return_a_surge() -> None:
    rule = SURGE.model_copy(update={"baseline": timedelta(hours=24)})
    store = MemoryStore()
    store.add(60, NOW - timedelta(hours=24), NOW - timedelta(hours=23), "negative")
    store.add(35, NOW - timedelta(minutes=35), NOW, "negative")
    assert loop(store, rule).evaluate(NOW) == []


def test_a_threshold_alert_ends_when_its_topic_falls_quiet_on_a_live_feed() -> None:
    rule = SHARE.model_copy(update={"topics": "each", "keep_firing_for": MINUTE})
    store = MemoryStore()
    store.add(20, NOW - timedelta(minutes=3), NOW, "negative")
    assert [alert.state for alert in loop(store, rule).evaluate(NOW)] == ["firing"]
    store.add(40, NOW, NOW + timedelta(minutes=20), "neutral", "Macro")
    for minute in (10, 12):
        left = loop(store, rule).evaluate(NOW + timedelta(minutes=minute))
    assert left == []
    assert [value["state"] for _, value in store.pages] == ["firing", "resolved"]


def test_all_topics_together_share_one_alert() -> None:
    store = MemoryStore()
    store.add(8, NOW - timedelta(minutes=3), NOW, "negative", "IPO")
    store.add(8, NOW - timedelta(minutes=3), NOW, "negative", "Macro")
    store.add(4, NOW - timedelta(minutes=3), NOW, "neutral", "Macro")
    (alert,) = loop(store, SHARE).evaluate(NOW)
    assert (alert.topic, alert.n, alert.value) == ("all", 20, 0.8)
    assert "95% interval" in alert.uncertainty


def test_too_few_documents_do_not_fire() -> None:
    store = MemoryStore()
    store.add(9, NOW - timedelta(minutes=3), NOW, "negative")
    assert loop(store, SHARE).evaluate(NOW) == []


def test_states_are_shown_for_every_rule_and_topic() -> None:
    store, metrics = surging(), AlertMetrics()
    AlertLoop((SURGE, SHARE), ("IPO", "Macro"), store, (), MINUTE, metrics).evaluate(NOW)
    shown = {
        tuple(sample.labels.values()): sample.value
        for family in metrics.state.collect()
        for sample in family.samples
    }
    assert len(shown) == 6
    assert shown["surge", "IPO", "firing"] == 1
    assert shown["surge", "Macro", "firing"] == 0
    assert shown["share", "all", "pending"] == 0


def test_the_alerts_of_a_rule_that_is_gone_are_resolved() -> None:
    store = surging()
    loop(store, SURGE).evaluate(NOW)
    assert loop(store).evaluate(NOW + MINUTE) == []
    assert [value["state"] for _, value in store.pages] == ["firing", "resolved"]
