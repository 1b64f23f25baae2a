"""Prometheus metrics of the alerts.  Only the monitor that evaluates the rules exports their states."""

from collections import Counter as Counts
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from alerts.detectors.base import Rule
from stream.domain.alerts import OPEN_STATES, Alert, AlertState


class AlertMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.state = Gauge(
            "sentiment_alert_state",
            "1 while the alert is in the state; of a rule on entities, with topic all, how many entities are",
            ["rule", "topic", "state"],
            registry=registry,
        )
        self.transitions = Counter(
            "sentiment_alert_transitions",
            "Alerts that changed to a state",
            ["rule", "state"],
            registry=registry,
        )
        self.evaluated = Gauge(
            "sentiment_alert_evaluation_timestamp_seconds",
            "When this monitor last evaluated the rules, in seconds since 1970; NaN if it never did",
            registry=registry,
        )
        self.evaluated.set(float("nan"))
        self.rules_usable = Gauge(
            "sentiment_alert_rules_usable",
            "0 while the rule file or the file of mutes has errors and what was read before stays in use, or "
            "a rule cannot be evaluated",
            registry=registry,
        )
        self.rules_usable.set(1)
        self.muted = Gauge(
            "sentiment_alerts_muted",
            "Alerts that fire and page nobody now, since a planned mute covers them; NaN if this monitor "
            "does not evaluate the rules",
            registry=registry,
        )
        self.muted.set(float("nan"))
        self.rules_waiting = Gauge(
            "sentiment_alert_rules_waiting",
            "Rules that page nobody until their baseline is labelled by the present model; NaN if this "
            "monitor does not evaluate the rules",
            registry=registry,
        )
        self.rules_waiting.set(float("nan"))
        self.rules_counting_texts = Gauge(
            "sentiment_alert_rules_counting_texts",
            "Rules that count texts instead of voices or stories: some of what they compare has no story, or "
            "stories are far behind; NaN if this monitor does not evaluate the rules",
            registry=registry,
        )
        self.rules_counting_texts.set(float("nan"))
        self.waited = Counter(
            "sentiment_alert_evaluations_waited",
            "Evaluations of a rule that were left out, since documents were about to get their story",
            registry=registry,
        )
        self.pages = Counter(
            "sentiment_pages", "Pages by receiver and outcome", ["receiver", "outcome"], registry=registry
        )
        self.shortened = Counter(
            "sentiment_pages_shortened",
            "Pages that were sent without their evidence, because they were too large or refused with it",
            ["receiver"],
            registry=registry,
        )

    def create_labels(self, rules: Iterable[Rule], receivers: Iterable[str]) -> None:
        for rule in rules:
            for state in AlertState:
                self.transitions.labels(rule.name, state)
        for receiver in receivers:
            self.shortened.labels(receiver)
            for outcome in ("sent", "failed", "refused"):
                self.pages.labels(receiver, outcome)

    def show(self, rules: Iterable[Rule], topics: Sequence[str], alerts: Iterable[Alert]) -> None:
        """Export the state of every rule and topic.  There are too many entities for a series each."""
        counts = Counts((alert.rule, alert.topic, alert.state) for alert in alerts)
        for rule in rules:
            for topic in rule.watched_topics(topics):
                for state in OPEN_STATES:
                    self.state.labels(rule.name, topic, state).set(counts[rule.name, topic, state])

    def hide(self) -> None:
        """The states are not known.  When the rules were last evaluated still is."""
        self.state.clear()
        self.muted.set(float("nan"))
        self.rules_waiting.set(float("nan"))
        self.rules_counting_texts.set(float("nan"))
