"""Evaluates the alert rules and shows the mood on /metrics, in one monitor at a time."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from alerts.errors import MuteError, RuleError
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.schedules.mute_file import MuteFile
from stream.domain.alerts import FIRING_STATES, Alert
from stream.domain.errors import IncidentChanged, LeaseLost, StoreUnavailable
from stream.domain.sums import MentionSelection
from stream.metrics import KINDS, StreamMetrics
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.leases import Lease
from stream.storage.marks import read_mark, set_mark
from stream.storage.reads import StoreReader
from stream.storage.sql import database_time

log = logging.getLogger(__name__)

# The mark that is set after every evaluation.
EVALUATED_MARK = "rules evaluated"
# How long nobody may have evaluated the rules; the rule SentimentAlertsNotEvaluated allows as much.
OVERDUE_SECONDS = 120.0
# Texts that only mention an entity are not about it: as many count as with the rules' default.
LEAST_RELEVANCE = 20


class MoodGauges:
    """The gauges of the latest `length` of event time: the mood of topics, and texts about the entities that
    have gauges of their own."""

    def __init__(
        self,
        reader: StoreReader,
        metrics: StreamMetrics,
        length: timedelta,
        entities: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._reader, self._metrics, self._length, self._entities = reader, metrics, length, entities

    def show(self, now: datetime) -> None:
        """Raises StoreUnavailable."""
        start = now - self._length
        self._metrics.mood.show(self._reader.sums(start, now))
        entities = self._entities()
        if not entities:
            self._metrics.watchlist.hide()
            return
        by_kind = {
            kind: self._reader.entity_sums(start, now, MentionSelection(entities, LEAST_RELEVANCE, (kind,)))
            for kind in KINDS
        }
        self._metrics.watchlist.show(entities, by_kind)

    def hide(self) -> None:
        self._metrics.mood.hide()
        self._metrics.watchlist.hide()


class EvaluationWatch:
    """Notices that no monitor evaluates the rules any more.

    Whoever evaluates them sets a mark in the database.  Every monitor watches whether it changes, by a clock
    that only grows, so that no wrong clock of any machine can hide a standstill.
    """

    def __init__(
        self,
        *,
        store: Store,
        lease: Lease,
        overdue_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._lease, self._overdue_seconds, self._clock = store, lease, overdue_seconds, clock
        self._seen: datetime | None = None
        self._changed_at = clock()
        self._holder = ""
        self._logged = False

    @property
    def trouble(self) -> str | None:
        """Why the alerts cannot be trusted, for people; None while some monitor evaluates the rules."""
        waited = self._clock() - self._changed_at
        if waited <= self._overdue_seconds:
            return None
        return f"no monitor has evaluated the alert rules for {waited:.0f} s{self._holder}"

    def evaluated(self) -> None:
        """This monitor has evaluated the rules.  Raises StoreUnavailable."""
        with writing(self._store.engine) as connection:
            set_mark(connection, EVALUATED_MARK, database_time(connection))
        self._alive()

    def look(self) -> None:
        """Look whether another monitor has evaluated the rules.  Raises StoreUnavailable."""
        with reading(self._store.engine) as connection:
            mark = read_mark(connection, EVALUATED_MARK)
        if mark is not None and mark != self._seen:
            self._seen = mark
            self._alive()
            return
        holder = self._lease.holder()
        self._holder = f": {holder.name} holds the lease and does not; restart it" if holder else ""
        self.tell()

    def tell(self) -> None:
        """Log the trouble once."""
        if self.trouble and not self._logged:
            self._logged = True
            log.error("%s", self.trouble)

    def _alive(self) -> None:
        self._changed_at = self._clock()
        if self._logged:
            self._logged = False
            log.info("the alert rules are evaluated again")


class AlertEvaluation:
    """Evaluates the rules, where this monitor holds the lease."""

    def __init__(
        self,
        *,
        rule_file: RuleFile,
        evaluator: AlertEvaluator,
        lease: Lease,
        watch: EvaluationWatch,
        mood: MoodGauges,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
        mute_file: MuteFile | None = None,
    ) -> None:
        self._rule_file, self._evaluator, self._lease = rule_file, evaluator, lease
        self._watch, self._mute_file = watch, mute_file
        self._rules_usable = self._mutes_usable = True
        self._mood, self._metrics, self._clock = mood, metrics, clock

    def run_once(self) -> None:
        """Raises StoreUnavailable; the gauges are hidden then, since their values are not known."""
        now = self._clock()
        self._reload_rules()
        self._reload_mutes()
        usable = self._rules_usable and self._mutes_usable and not self._evaluator.failures
        self._metrics.rules_usable.set(int(usable))
        try:
            if not self._lease.acquire():
                raise LeaseLost("another monitor holds it")
            alerts = self._evaluator.evaluate(now)
            self._metrics.muted.set(self._count_muted(alerts, now))
            self._watch.evaluated()
            self._mood.show(now)
        except LeaseLost:
            self._evaluator.stand_by()
            self._hide_gauges()
            self._watch.look()
        except IncidentChanged as change:
            log.info("%s; they are evaluated again", change)
        except StoreUnavailable:
            self._hide_gauges()
            self._watch.tell()
            raise

    def _reload_rules(self) -> None:
        """Use a changed rule file; while it has errors, keep the rules that are loaded."""
        try:
            if self._rule_file.changed():
                self._evaluator.replace_rules(self._rule_file.rules)
                self._rules_usable = True
                log.info("loaded %d rules from %s", len(self._rule_file.rules), self._rule_file.path)
        except RuleError as error:
            self._rules_usable = False
            log.error("the rule file has errors, keeping the rules loaded before: %s", error)

    def _reload_mutes(self) -> None:
        """Use a changed file of mutes; while it has errors, keep the mutes that are loaded."""
        if self._mute_file is None:
            return
        try:
            if self._mute_file.changed():
                self._mutes_usable = True
                log.info("loaded %d mutes from %s", len(self._mute_file.mutes.entries), self._mute_file.path)
        except MuteError as error:
            self._mutes_usable = False
            log.error("the file of mutes has errors, keeping the mutes loaded before: %s", error)

    def _count_muted(self, alerts: Iterable[Alert], now: datetime) -> int:
        """How many of the alerts fire and are muted."""
        if self._mute_file is None:
            return 0
        return sum(alert.state in FIRING_STATES and self._mute_file.is_muted(alert, now) for alert in alerts)

    def _hide_gauges(self) -> None:
        self._mood.hide()
        self._metrics.hide()
