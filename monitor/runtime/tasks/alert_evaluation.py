"""Evaluates the alert rules and shows the mood on /metrics, in one monitor at a time."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from alerts.errors import RuleError
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rule_file import RuleFile
from stream.domain.errors import LeaseLost, StoreUnavailable
from stream.metrics import StreamMetrics
from stream.storage.leases import Lease
from stream.storage.reads import StoreReader

log = logging.getLogger(__name__)


class MoodGauges:
    """The gauges of mean score and negative share over the latest `length` of event time."""

    def __init__(self, reader: StoreReader, metrics: StreamMetrics, length: timedelta) -> None:
        self._reader, self._metrics, self._length = reader, metrics, length

    def show(self, now: datetime) -> None:
        self._metrics.mood.show(self._reader.sums(now - self._length, now))

    def hide(self) -> None:
        self._metrics.mood.hide()


class AlertEvaluation:
    """Evaluates the rules, where this monitor holds the lease."""

    def __init__(
        self,
        *,
        rule_file: RuleFile,
        evaluator: AlertEvaluator,
        lease: Lease,
        mood: MoodGauges,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._rule_file, self._evaluator, self._lease = rule_file, evaluator, lease
        self._mood, self._metrics, self._clock = mood, metrics, clock

    def run_once(self) -> None:
        """Raises StoreUnavailable; the gauges are hidden then, since their values are not known."""
        now = self._clock()
        self._reload_rules()
        try:
            if not self._lease.acquire():
                raise LeaseLost("another monitor holds it")
            self._evaluator.evaluate(now)
            self._mood.show(now)
        except LeaseLost:
            self._evaluator.stand_by()
            self._hide_gauges()
        except StoreUnavailable:
            self._hide_gauges()
            raise

    def _reload_rules(self) -> None:
        """Use a changed rule file; while it has errors, keep the rules that are loaded."""
        try:
            if self._rule_file.changed():
                self._evaluator.replace_rules(self._rule_file.rules)
                self._metrics.rules_usable.set(1)
                log.info("loaded %d rules from %s", len(self._rule_file.rules), self._rule_file.path)
        except RuleError as error:
            self._metrics.rules_usable.set(0)
            log.error("the rule file has errors, keeping the rules loaded before: %s", error)

    def _hide_gauges(self) -> None:
        self._mood.hide()
        self._metrics.hide()
