"""The evaluator: what it reads, saves and sends, over a store in memory."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule, SubjectWindow
from alerts.detectors.heartbeat import HeartbeatRule
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.detectors.slow_drift import SlowDriftRule
from alerts.detectors.threshold import ThresholdRule
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.incidents.joining import IncidentPolicy
from alerts.metrics import AlertMetrics
from stream.domain.alerts import Alert, AlertState, PageRequest, Severity, Transition
from stream.domain.incidents import Incident, Page
from stream.domain.sums import Aggregate, LateWindow

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SURGE = NegativeSurgeRule.model_validate(
    {
        "name": "surge",
        "type": "negative_surge",
        "window": "5m",
        "baseline": "2h",
        "min_baseline": "30m",
        "min_documents": 5,
        "min_negative": 5,
        "keep_firing_for": "1m",
        "factor": 3,
    }
)
SHARE = ThresholdRule.model_validate(
    {
        "name": "share",
        "type": "threshold",
        "watch": "negative_share",
        "threshold": 0.6,
        "topics": "all",
        "min_documents": 10,
        "window": "5m",
    }
)


class Room(MemoryStore):
    """A store in memory to which texts can be added; it keeps what was saved."""

    def __init__(self, texts: Sequence[Text] = ()) -> None:
        super().__init__(texts)
        self.transitions: list[Transition] = []
        self.page_requests: list[PageRequest] = []
        self.late: list[datetime] = []

    def add(self, count: int, start: datetime, end: datetime, sentiment: str, topic: str = "IPO") -> None:
        score = {"positive": 9000, "neutral": 0, "negative": -9000}[sentiment]
        gap = (end - start) / count
        added = [
            Text(
                f"{len(self.texts) + i}",
                "wire",
                "news",
                start + i * gap,
                f"{sentiment} {topic}",
                topic,
                sentiment,
                score,
            )
            for i in range(count)
        ]
        alerts, incidents, pages = self.alerts, self.incidents, self.pages
        MemoryStore.__init__(self, [*self.texts, *added])
        self.alerts, self.incidents, self.pages = alerts, incidents, pages

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        return [LateWindow(start, has_exact=True) for start in self.late]

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
        incidents: Sequence[Incident] = (),
        pages: Sequence[Page] = (),
    ) -> None:
        super().save(changed, dropped, transitions, page_requests, now, incidents, pages)
        self.transitions += transitions
        self.page_requests += page_requests


# An incident ends with its last alert.
NO_CALM = IncidentPolicy(calm=timedelta(0))


def evaluator_of(store: Room, *rules: Rule, group: timedelta = timedelta(0)) -> AlertEvaluator:
    return AlertEvaluator(
        rules=rules,
        topics=("IPO", "Macro"),
        reader=store,
        episodes=store,
        delivery=PageRouter(("webhook:desk",), group),
        window_width=MINUTE,
        metrics=AlertMetrics(),
        policy=NO_CALM,
    )


def surging() -> Room:
    store = Room()
    store.add(40, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "neutral")
    store.add(6, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "negative")
    store.add(20, NOW - timedelta(minutes=3), NOW, "negative")
    return store


def test_evidence_is_shown_with_the_words_that_were_checked() -> None:
    evaluator = evaluator_of(surging(), SURGE)
    evaluator.check_words(lambda item: replace(item, words=(f"checked {item.content}",)))
    (alert,) = evaluator.evaluate(NOW)
    assert [item.words for item in alert.evidence] == [("checked negative IPO",)]


def test_a_surge_fires_on_its_topic_alone_with_distinct_evidence() -> None:
    store = surging()
    (alert,) = evaluator_of(store, SURGE).evaluate(NOW)
    assert (alert.topic, alert.state, alert.n) == ("IPO", "firing", 20)
    assert alert.value > alert.threshold == 3
    assert alert.uncertainty == (
        "would happen by chance less than once in a million years; the rule's limit is about 3 times a year"
    )
    assert [item.content for item in alert.evidence] == ["negative IPO"]
    assert alert.sources == {"wire": 20}
    assert alert.usual and alert.usual < 1
    (page,) = store.page_requests
    assert (page.target, page.key, page.not_before) == ("webhook:desk", f"{alert.incident}:begin:1", NOW)
    assert {"value", "threshold", "usual", "n", "uncertainty", "evidence", "summary"} <= page.message.keys()


def test_a_restart_neither_loses_nor_repeats_a_page() -> None:
    store = surging()
    for _ in range(3):
        evaluator_of(store, SURGE).evaluate(NOW + timedelta(seconds=10))
    assert len(store.page_requests) == len(store.transitions) == 1


def test_after_the_surge_it_resolves_once_with_the_same_id() -> None:
    store = surging()
    evaluator_of(store, SURGE).evaluate(NOW)
    store.add(10, NOW, NOW + timedelta(minutes=8), "neutral", "Macro")
    for seconds in (480, 500, 560, 600):
        evaluator_of(store, SURGE).evaluate(NOW + timedelta(seconds=seconds))
    keys = [request.key.split(":") for request in store.page_requests]
    assert [kind for _, *kind in keys] == [["begin", "1"], ["end", "2"]]
    assert keys[0][0] == keys[1][0]


def test_a_feed_that_falls_silent_is_not_calm() -> None:
    store = surging()
    evaluator_of(store, SURGE).evaluate(NOW)
    for hour in range(1, 4):
        (alert,) = evaluator_of(store, SURGE).evaluate(NOW + timedelta(hours=hour))
        assert alert.state == "firing"


def test_without_a_baseline_nothing_fires() -> None:
    store = Room()
    store.add(50, NOW - timedelta(minutes=4), NOW, "negative")
    assert evaluator_of(store, SURGE).evaluate(NOW) == []


def test_the_current_window_is_not_part_of_its_baseline() -> None:
    store = Room()
    store.add(60, NOW - timedelta(hours=1), NOW - timedelta(minutes=6), "neutral")
    store.add(30, NOW - timedelta(minutes=3), NOW, "negative")
    (alert,) = evaluator_of(store, SURGE).evaluate(NOW)
    assert alert.value > 100


def test_a_steady_stream_of_bad_news_is_not_a_surge() -> None:
    store = Room()
    store.add(600, NOW - timedelta(hours=2), NOW, "negative")
    assert evaluator_of(store, SURGE).evaluate(NOW) == []


def test_a_feed_that_returns_after_hours_is_not_a_surge() -> None:
    rule = SURGE.model_copy(update={"baseline": timedelta(hours=24)})
    store = Room()
    store.add(60, NOW - timedelta(hours=24), NOW - timedelta(hours=23), "negative")
    store.add(35, NOW - timedelta(minutes=35), NOW, "negative")
    assert evaluator_of(store, rule).evaluate(NOW) == []


def test_a_threshold_alert_ends_when_its_topic_falls_quiet_on_a_live_feed() -> None:
    rule = SHARE.model_copy(update={"topics": "each", "keep_firing_for": MINUTE})
    store = Room()
    store.add(20, NOW - timedelta(minutes=3), NOW, "negative")
    assert [alert.state for alert in evaluator_of(store, rule).evaluate(NOW)] == ["firing"]
    store.add(40, NOW, NOW + timedelta(minutes=20), "neutral", "Macro")
    for minute in (10, 12):
        left = evaluator_of(store, rule).evaluate(NOW + timedelta(minutes=minute))
    assert left == []
    assert [request.message["state"] for request in store.page_requests] == ["firing", "resolved"]


def test_a_threshold_that_has_too_few_documents_says_so_once() -> None:
    total = Aggregate(NOW, "IPO", "news", n=1, negative=1, score_sum=-9000, score_squares=81_000_000)
    seen = SHARE.observe("IPO", SubjectWindow(total=total, start=NOW, end=NOW + MINUTE, feed_is_live=True))
    assert (seen.calm, seen.summary, seen.uncertainty) == (True, "IPO: 1 document", "the rule needs 10")


def test_all_topics_together_share_one_alert() -> None:
    store = Room()
    store.add(8, NOW - timedelta(minutes=3), NOW, "negative", "IPO")
    store.add(8, NOW - timedelta(minutes=3), NOW, "negative", "Macro")
    store.add(4, NOW - timedelta(minutes=3), NOW, "neutral", "Macro")
    (alert,) = evaluator_of(store, SHARE).evaluate(NOW)
    assert (alert.topic, alert.n, alert.value) == ("all", 20, 0.8)
    assert alert.uncertainty == "share of negatives between 58% and 92% with 95% confidence"


def test_too_few_documents_do_not_fire() -> None:
    store = Room()
    store.add(9, NOW - timedelta(minutes=3), NOW, "negative")
    assert evaluator_of(store, SHARE).evaluate(NOW) == []


def test_states_are_exported_for_every_rule_and_topic() -> None:
    store, metrics = surging(), AlertMetrics()
    AlertEvaluator(
        rules=(SURGE, SHARE),
        topics=("IPO", "Macro"),
        reader=store,
        episodes=store,
        delivery=PageRouter(),
        window_width=MINUTE,
        metrics=metrics,
    ).evaluate(NOW)
    shown = {
        tuple(sample.labels.values()): sample.value
        for family in metrics.state.collect()
        for sample in family.samples
    }
    assert len(shown) == 9
    assert shown["surge", "IPO", "firing"] == 1
    assert shown["surge", "Macro", "firing"] == 0
    assert shown["share", "all", "pending"] == 0


def test_the_alerts_of_a_removed_rule_are_resolved() -> None:
    store = surging()
    evaluator_of(store, SURGE).evaluate(NOW)
    assert evaluator_of(store).evaluate(NOW + MINUTE) == []
    assert [request.message["state"] for request in store.page_requests] == ["firing", "resolved"]


def test_late_documents_raise_the_alert_of_their_window_and_change_nothing_that_was_sent() -> None:
    store = surging()
    evaluator = evaluator_of(store, SURGE)
    later = NOW + timedelta(hours=2)
    store.add(60, NOW, later, "neutral", "Macro")
    # The surge of two hours ago is in the past ...
    assert evaluator.evaluate(later) == []
    store.late = [NOW - timedelta(minutes=3), NOW]
    (alert,) = evaluator.evaluate(later + timedelta(seconds=5))  # ... unless its documents arrive only now
    assert (alert.topic, alert.state) == ("IPO", "firing")
    assert alert.summary.startswith("late documents, 11:56 to 12:01 UTC: IPO: ")
    assert alert.evidence
    sent = list(store.page_requests)
    for minutes in (1, 2, 3, 20):
        store.add(10, later, later + timedelta(minutes=minutes), "neutral", "Macro")
        evaluator.evaluate(later + timedelta(minutes=minutes))
    assert [request.message["state"] for request in store.page_requests] == ["firing", "resolved"]
    assert store.page_requests[0] == sent[0]


def test_late_documents_do_not_page_again_for_a_window_that_was_paged() -> None:
    store = surging()
    evaluator = evaluator_of(store, SURGE)
    evaluator.evaluate(NOW)
    store.add(100, NOW, NOW + timedelta(minutes=30), "neutral", "Macro")
    for minutes in (6, 8, 10):
        evaluator.evaluate(NOW + timedelta(minutes=minutes))
    store.late = [NOW - timedelta(minutes=3), NOW]
    assert evaluator.evaluate(NOW + timedelta(minutes=30)) == []
    assert len(store.page_requests) == 2


def test_a_heartbeat_rule_names_the_silent_source() -> None:
    rule = HeartbeatRule.model_validate(
        {"name": "beat", "type": "heartbeat", "sources": ["wire", "ticker"], "window": "10m"}
    )
    store = Room()
    store.add(5, NOW - timedelta(minutes=8), NOW, "neutral")
    (waiting,) = evaluator_of(store, rule).evaluate(NOW)
    assert waiting.state == "pending", "a monitor that was down first reads the documents that waited"
    store.add(5, NOW, NOW + 3 * MINUTE, "neutral")
    (alert,) = evaluator_of(store, rule).evaluate(NOW + 3 * MINUTE)
    assert (alert.topic, alert.value, alert.evidence) == ("all", 1, ())
    assert alert.summary == "no documents from ticker in the last 10 min"
    only = rule.model_copy(update={"sources": ("wire",)})
    assert evaluator_of(store, only).evaluate(NOW + 4 * MINUTE) == []
    assert [request.message["state"] for request in store.page_requests] == ["firing", "resolved"]


def test_late_documents_raise_nothing_for_a_rule_with_for_nor_for_a_part_of_a_window() -> None:
    waiting = SHARE.model_copy(update={"window": timedelta(minutes=15), "hold": timedelta(minutes=10)})
    plain = waiting.model_copy(update={"name": "plain", "hold": timedelta(0)})
    store = Room()
    store.add(140, NOW - timedelta(hours=1), NOW, "neutral")
    store.add(30, NOW - timedelta(minutes=20), NOW - timedelta(minutes=19), "negative")
    evaluator = evaluator_of(store, waiting, plain)
    evaluator.evaluate(NOW)
    store.late = [NOW - timedelta(minutes=19)]
    assert evaluator.evaluate(NOW + timedelta(seconds=5)) == []


def test_documents_seen_by_another_monitor_meanwhile_are_not_late() -> None:
    store = surging()
    evaluator = evaluator_of(store, SURGE)
    evaluator.evaluate(NOW - timedelta(hours=1))
    store.add(60, NOW, NOW + timedelta(hours=2), "neutral", "Macro")
    store.late = [NOW]
    evaluator.stand_by()
    assert evaluator.evaluate(NOW + timedelta(hours=2)) == []


def test_late_documents_raise_no_second_episode_of_a_topic() -> None:
    waiting = SURGE.model_copy(update={"hold": timedelta(minutes=3)})
    store = surging()
    evaluator = evaluator_of(store, waiting)
    evaluator.evaluate(NOW)
    store.add(60, NOW, NOW + timedelta(hours=1), "neutral", "Macro")
    evaluator.replace_rules((SURGE,))  # the same rule, changed not to wait
    store.late = [NOW]
    assert evaluator.evaluate(NOW + timedelta(hours=1)) == []
    assert store.open_alerts() == []


def test_history_that_arrives_late_becomes_part_of_the_baseline() -> None:
    rule = SURGE.model_copy(update={"baseline": timedelta(days=7), "min_baseline": timedelta(days=2)})
    store = Room()
    store.add(10, NOW - timedelta(minutes=3), NOW, "negative")
    store.add(60, NOW + timedelta(minutes=17), NOW + timedelta(minutes=20), "negative")
    evaluator = evaluator_of(store, rule)
    assert evaluator.evaluate(NOW) == []
    store.add(200, NOW - timedelta(days=6), NOW - timedelta(hours=1), "neutral")
    store.late = [NOW - timedelta(days=6)]
    evaluator.evaluate(NOW + timedelta(seconds=5))
    (alert,) = evaluator.evaluate(NOW + timedelta(minutes=20))
    assert alert.state == "firing"


def test_every_change_of_state_is_a_transition_and_so_is_a_dismissal() -> None:
    waiting = SURGE.model_copy(update={"hold": timedelta(minutes=3)})
    store = surging()
    evaluator_of(store, waiting).evaluate(NOW)
    store.add(10, NOW, NOW + timedelta(minutes=8), "neutral", "Macro")
    evaluator_of(store, waiting).evaluate(NOW + timedelta(minutes=8))
    assert [(transition.before, transition.alert.state) for transition in store.transitions] == [
        (None, "pending"),
        ("pending", "dismissed"),
    ]
    assert store.page_requests == []
    assert store.transitions[0].message["key"] == f"{store.transitions[0].alert.id}:pending"


def test_a_rules_message_is_sent() -> None:
    store = surging()
    (alert,) = evaluator_of(store, SURGE.model_copy(update={"message": "{{ n }} on {{ topic }}"})).evaluate(
        NOW
    )
    assert alert.message == "20 on IPO"
    assert store.page_requests[0].message["message"] == "20 on IPO"


def test_a_slow_drift_is_noticed_though_no_day_stands_out() -> None:
    rule = SlowDriftRule.model_validate(
        {
            "name": "drift",
            "type": "slow_drift",
            "watch": "negative_share",
            "window": "7d",
            "step": "12h",
            "topics": "all",
            "baseline": "28d",
        }
    )
    draw, texts = random.Random(1), []
    for day in range(42):
        share = 0.2 if day < 35 else 0.3
        for hour in range(0, 24, 2):
            for i in range(4):
                mood = "negative" if draw.random() < share else "neutral"
                at = NOW - timedelta(days=42 - day, hours=-hour)
                texts.append(Text(f"{day}-{hour}-{i}", "wire", "news", at, "x", "IPO", mood, 0))
    store = Room(texts)
    assert evaluator_of(store, rule).evaluate(NOW - timedelta(days=8)) == []
    (alert,) = evaluator_of(store, rule).evaluate(NOW)
    assert alert.value > alert.threshold and "share of negatives" in alert.summary
    assert alert.uncertainty.startswith("cumulative shift (CUSUM) of ")
    assert alert.evidence


def test_an_episode_that_ended_in_the_future_holds_back_neither_the_next_one_nor_its_page() -> None:
    """A clock that was ahead wrote its end, or the clock was set back since."""
    store = surging()
    ahead = NOW + timedelta(days=1)
    ended = replace(alert_of(store), id="ended", state=AlertState.RESOLVED, fired_at=ahead, resolved_at=ahead)
    store.alerts, store.incidents = {ended.id: ended}, {}
    store.page_requests = []
    rule = SURGE.model_copy(update={"cool_down": timedelta(hours=6)})
    evaluator = AlertEvaluator(
        rules=[rule],
        topics=("IPO", "Macro"),
        reader=store,
        episodes=store,
        delivery=PageRouter(("webhook:desk",), group=timedelta(minutes=30)),
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )
    (alert,) = evaluator.evaluate(NOW)
    assert alert.state == "firing"
    assert [request.not_before for request in store.page_requests] == [NOW]


def alert_of(store: Room) -> Alert:
    """The alert that the surge of a store raises."""
    (alert,) = evaluator_of(store, SURGE).evaluate(NOW)
    return alert


def edited(rule: Rule, **changes: object) -> Rule:
    return rule.model_copy(update=changes)


def test_an_episode_keeps_the_labels_and_the_severity_it_fired_with_until_it_ends() -> None:
    store = surging()
    first = edited(SURGE, labels={"team": "a"})
    evaluator = evaluator_of(store, first)
    evaluator.evaluate(NOW)
    evaluator.replace_rules([edited(first, labels={"team": "b"}, severity=Severity.TICKET)])
    (alert,) = evaluator.evaluate(NOW + MINUTE)
    assert (alert.labels, alert.severity) == ({"team": "a"}, Severity.PAGE)
    store.add(40, NOW + MINUTE, NOW + 8 * MINUTE, "neutral")
    evaluator.evaluate(NOW + 8 * MINUTE)
    evaluator.evaluate(NOW + 9 * MINUTE + timedelta(seconds=1))
    fired, resolved = (request.message for request in store.page_requests)
    assert resolved["state"] == "resolved"
    assert fired["labels"] == resolved["labels"] == {"team": "a"}
    assert fired["severity"] == resolved["severity"] == "page"


def test_the_end_of_an_alert_whose_rule_was_removed_has_its_labels() -> None:
    store = surging()
    evaluator_of(store, edited(SURGE, labels={"team": "a"})).evaluate(NOW)
    evaluator_of(store).evaluate(NOW + MINUTE)
    assert [request.message["labels"] for request in store.page_requests] == [{"team": "a"}] * 2


def test_a_pending_episode_fires_with_the_labels_that_its_rule_has_then() -> None:
    store = surging()
    waiting = edited(SURGE, hold=2 * MINUTE, labels={"team": "a"})
    evaluator = evaluator_of(store, waiting)
    evaluator.evaluate(NOW)
    evaluator.replace_rules([edited(waiting, labels={"team": "b"}, severity=Severity.TICKET)])
    (alert,) = evaluator.evaluate(NOW + 2 * MINUTE)
    assert (alert.state, alert.labels, alert.severity) == (
        AlertState.FIRING, {"team": "b"}, Severity.TICKET,
    )  # fmt: skip


def test_an_episode_of_an_older_version_takes_the_labels_of_its_rule_once() -> None:
    store = surging()
    rule = edited(SURGE, labels={"team": "a"})
    (alert,) = evaluator_of(store, rule).evaluate(NOW)
    store.save([replace(alert, labels=None)], [], [], [], NOW)
    evaluator_of(store, rule).evaluate(NOW + MINUTE)
    (alert,) = evaluator_of(store, edited(rule, labels={"team": "b"})).evaluate(NOW + 2 * MINUTE)
    assert alert.labels == {"team": "a"}


def test_rules_that_fire_on_the_same_texts_are_one_incident_that_pages_again_for_a_higher_severity() -> None:
    store = surging()
    ticket = edited(SURGE, name="ticket", severity=Severity.TICKET)
    late = [edited(SURGE, name=f"later {seconds}", hold=timedelta(seconds=seconds)) for seconds in (5, 10)]
    evaluator = evaluator_of(store, ticket, *late, group=timedelta(seconds=30))
    evaluator.evaluate(NOW)
    evaluator.evaluate(NOW + timedelta(seconds=5))
    evaluator.evaluate(NOW + timedelta(seconds=10))
    pages = [(r.message["page"], r.message["rule"], r.message["severity"]) for r in store.page_requests]
    assert pages == [("begin", "ticket", "ticket"), ("update", "later 5", "page")]
    assert len({alert.incident for alert in store.open_alerts()}) == len(store.incidents) == 1
