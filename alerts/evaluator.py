"""Evaluates the rules: reads what they look at, lets the pure parts decide, and saves what changed."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from alerts.delivery.page_maker import page_maker
from alerts.delivery.pages import PageRouter
from alerts.delivery.template import render
from alerts.detectors.base import Observation, Rule, Subject, SubjectWindow
from alerts.incidents.joining import IncidentPolicy
from alerts.incidents.page_inputs import Seen
from alerts.incidents.paging import Evaluated, IsMuted, Pager, Paging, never_muted
from alerts.lifecycle import step
from alerts.metrics import AlertMetrics
from alerts.ports import AggregateReader, EpisodeStore, WordCheck
from alerts.schedules.calendars import TradingCalendars
from alerts.windows.counting import Counting, Progress
from alerts.windows.window_reader import LATE_LIMIT, WindowReader, first_compared
from stream.domain.alerts import (
    FIRING_STATES,
    OPEN_STATES,
    Alert,
    AlertState,
    EvidenceItem,
    Transition,
)
from stream.domain.documents import printable
from stream.domain.errors import LeaseLost, StoreUnavailable
from stream.domain.incidents import Incident, Moment, Page, PageKind
from stream.domain.sums import LateWindow, TimeRange

log = logging.getLogger(__name__)

# Documents received before the last evaluation may have been committed after it.
OVERLAP = timedelta(seconds=15)
SHOWN_CHARACTERS = 120
LONGEST_REASON = 300
DEFAULT_POLICY = IncidentPolicy()
ReadLate = Callable[[datetime, datetime], list[LateWindow]]
# An episode is open under its rule and topic, and its entity if it is about one.
Key = tuple[str, str, str | None]


def _key(alert: Alert) -> Key:
    return alert.rule, alert.topic, alert.entity


def _key_of(rule: Rule, subject: Subject) -> Key:
    return rule.name, subject.topic, subject.entity


@dataclass(frozen=True)
class EpisodeHistory:
    """What was before an evaluation at `now`: the open episodes and incidents, and the episodes that ended
    recently.

    Times that lie in the future were written by a clock that was ahead, or before the clock was set back.
    Nothing waits for them: it could be for days.
    """

    open: dict[Key, Alert]
    past: Sequence[Alert]
    incidents: Sequence[Incident]
    now: datetime

    def ended_at(self, key: Key) -> datetime | None:
        """When the last episode of `key` was resolved."""
        ended = (a.resolved_at for a in self._past_by_key.get(key, ()) if a.resolved_at)
        return max((at for at in ended if at <= self.now), default=None)

    def ended_since(self, key: Key, since: datetime) -> int:
        """How many episodes of `key` that fired have ended since then."""
        ended = (a.resolved_at for a in self._past_by_key.get(key, ()) if a.resolved_at)
        return sum(at >= since for at in ended)

    @cached_property
    def _past_by_key(self) -> dict[Key, list[Alert]]:
        by_key: dict[Key, list[Alert]] = {}
        for alert in self.past:
            by_key.setdefault(_key(alert), []).append(alert)
        return by_key

    def open_entities(self, rule: Rule) -> list[str]:
        """The entities with an open episode of the rule that it still watches."""
        watched = rule.watched_entities
        return [
            alert.entity
            for alert in self.open.values()
            if alert.rule == rule.name and alert.entity and (watched is None or alert.entity in watched)
        ]


class AlertEvaluator:
    """Evaluates every rule on every topic or entity that it watches, and saves what changed."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        topics: Sequence[str],
        reader: AggregateReader,
        episodes: EpisodeStore,
        delivery: PageRouter,
        window_width: timedelta,
        metrics: AlertMetrics,
        policy: IncidentPolicy = DEFAULT_POLICY,
        is_muted: IsMuted = never_muted,
    ) -> None:
        """`window_width` is the width of the stored windows, `policy` how alerts become incidents."""
        self.rules, self._topics, self._reader, self._episode_store = rules, topics, reader, episodes
        self._delivery, self._metrics, self._joins_for = delivery, metrics, policy.joins_for
        self._windows = WindowReader(topics, reader, episodes, window_width)
        self._counting = Counting(reader, metrics)
        self._pager = Pager(
            router=delivery,
            make_page=page_maker(delivery, reader, episodes, lambda: self.rules, self._checked),
            read_documents=self._windows.negative_documents,
            read_page=episodes.page,
            policy=policy,
            is_muted=is_muted,
        )
        # What the rules see of each alert, by its id, at this evaluation.
        self._seen: dict[str, Seen] = {}
        self._last_evaluation: datetime | None = None
        # The same for rules that need stories, which can have to wait.
        self._last_of_stories: datetime | None = None
        # Why a rule cannot be evaluated, by the name of the rule.
        self.failures: dict[str, str] = {}
        self._logged_failures: dict[str, str] = {}
        # The rules that wait for numbers of one model.
        self.waiting: set[str] = set()

    def _checked(self, item: EvidenceItem) -> EvidenceItem:
        return self._windows.check_words(item)

    def check_words(self, check: WordCheck) -> None:
        """Show with evidence the words that `check` finds, instead of those that are stored."""
        self._windows.check_words = check

    def use_calendars(self, calendars: TradingCalendars) -> None:
        """Compare with these trading calendars; without them, rules behave as if they named none."""
        self._windows.calendars = calendars

    def replace_rules(self, rules: Sequence[Rule]) -> None:
        """Evaluate these rules from now on.  The next evaluation resolves the episodes of removed rules."""
        self.rules = rules
        self.failures, self._logged_failures = {}, {}
        self._windows.forget()
        self._counting.forget()
        self._metrics.state.clear()  # no series of a removed rule
        self._metrics.create_labels(rules, ())

    def stand_by(self) -> None:
        """Another monitor evaluates now: documents that it sees must not count as late here afterwards."""
        self._last_evaluation = self._last_of_stories = None

    def evaluate(self, now: datetime) -> list[Alert]:
        """Evaluate every rule once, save what changed, and return the open episodes."""
        with self._reader.at_one_moment(now) as moment:
            history = self._read_history(now)
            after = self._episodes(history, now)
            paging = self._page(history, after, now, moment)
        self._save(history, paging, now)
        self._last_evaluation = now
        if self._counting.progress is not Progress.WORKING:
            self._last_of_stories = now
        self._metrics.show(self.rules, self._topics, paging.alerts)
        self._metrics.evaluated.set(now.timestamp())
        return [alert for alert in paging.alerts if alert.state in OPEN_STATES]

    def _episodes(self, history: EpisodeHistory, now: datetime) -> list[Alert]:
        """The episodes of all rules after their current windows, including those that end now."""
        self._windows.look_at_models(self.rules, now)
        self._note_waiting({rule.name for rule in self.rules if self._windows.waits_for_labels(rule, now)})
        self._look_at_stories(now)
        after: list[Alert] = []
        self.failures, self._seen = {}, {}
        for rule in self.rules:
            # The episodes of a rule that cannot be evaluated stay as they are.
            unchanged = [alert for (name, *_), alert in history.open.items() if name == rule.name]
            if self._counting.waits(rule):
                self._metrics.waited.inc()
                after += unchanged
            elif self._windows.waits_for_calendar(rule):
                after += unchanged
            else:
                after += self._guarded(rule, self._current_episodes(rule, history, now), unchanged)
        after += self._late_episodes(history, history.open.keys() | set(map(_key, after)), now)
        return after

    def _page(self, history: EpisodeHistory, after: Sequence[Alert], now: datetime, moment: Moment) -> Paging:
        """The incidents and pages that follow, with the alerts of rules that were removed as resolved."""
        known = set(map(_key, after))
        orphans = [
            replace(
                alert, state=AlertState.RESOLVED, resolved_at=now, summary="the rule was removed", message=""
            )
            for key, alert in history.open.items()
            if key not in known and alert.state in FIRING_STATES
        ]
        found = Evaluated([*after, *orphans], history.past, self._seen, now, moment)
        return self._pager.follow(history.incidents, found)

    def _look_at_stories(self, now: datetime) -> None:
        compared = [(rule, first_compared(rule, self._windows.window(rule, now))) for rule in self.rules]
        self._counting.look(compared, now)
        self._windows.look_at_stories(self._counting.since)

    def _note_waiting(self, waiting: set[str]) -> None:
        """Log that rules wait when they begin to, and when none does any more."""
        if waiting - self.waiting:
            log.warning(
                "rules wait for a baseline that the present model labelled, and page nobody until then: %s; "
                "run `monitor relabel --for-switch`",
                ", ".join(sorted(waiting)),
            )
        elif self.waiting and not waiting:
            log.info("every rule has a baseline that the present model labelled")
        self.waiting = waiting
        self._metrics.rules_waiting.set(len(waiting))

    def _read_history(self, now: datetime) -> EpisodeHistory:
        reach = max((max(rule.cool_down, rule.flap_window) for rule in self.rules), default=LATE_LIMIT)
        incidents = self._episode_store.open_incidents(now - self._joins_for)
        calm = (each.calm_since for each in incidents if each.calm_since and each.is_open)
        calm_since = min(calm, default=now)
        return EpisodeHistory(
            {_key(alert): alert for alert in self._episode_store.open_alerts()},
            self._episode_store.past_alerts(min(now - max(reach, LATE_LIMIT), calm_since)),
            incidents,
            now,
        )

    def _guarded(self, rule: Rule, episodes: Iterable[Alert], otherwise: list[Alert]) -> list[Alert]:
        """The episodes of a rule, or `otherwise` if it cannot be evaluated: the other rules go on."""
        try:
            found = list(episodes)
        except (StoreUnavailable, LeaseLost):
            raise
        except Exception as error:
            self._note_failure(rule, error)
            return otherwise
        return found

    def _note_failure(self, rule: Rule, error: Exception) -> None:
        """Log what is wrong with a rule when it changes, not at every evaluation."""
        reason = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        if self._logged_failures.get(rule.name) != reason:
            log.error("rule %s cannot be evaluated, the others go on: %s", rule.name, reason, exc_info=error)
        self._logged_failures[rule.name] = self.failures[rule.name] = reason

    def _current_episodes(self, rule: Rule, history: EpisodeHistory, now: datetime) -> Iterable[Alert]:
        """The rule's episodes after its current window, including those that end now."""
        rule = self._counting.as_counted(rule)
        window = self._windows.window(rule, now)
        for subject, seen in self._windows.subject_windows(rule, window, history.open_entities(rule)):
            key = _key_of(rule, subject)
            observation = self._observe(rule, subject, seen)
            ended, before = history.ended_at(key), history.open.get(key)
            quiet_until = ended + rule.cool_down if ended else None
            recent = history.ended_since(key, now - rule.flap_window)
            alert = step(before, rule, subject, observation, now, quiet_until, recent)
            if alert is not None:
                self._seen[alert.id] = Seen(rule, subject, seen, observation)
                yield self._with_details(before, replace(alert, counted=rule.count), rule, window)

    def _observe(self, rule: Rule, subject: Subject, seen: SubjectWindow, late: bool = False) -> Observation:
        observation = rule.observe(rule.subject_text(subject), seen)
        if note := self._counting.note(rule):
            observation = replace(observation, summary=f"{observation.summary} ({note})")
        window = TimeRange(seen.start, seen.end)
        return self._windows.require_writers(rule, subject, window, observation, late=late)

    def _late_episodes(
        self, history: EpisodeHistory, unavailable: Collection[Key], now: datetime
    ) -> list[Alert]:
        """Episodes for past windows that late documents turned into a breach.

        They fire at once and then behave like any other.  Keys that are `unavailable` are skipped, and so are
        windows that an episode already covered: what was sent is never revised.  Documents whose time is not
        known exactly change the history, and fire nothing: a day's worth of texts at 00:00 is no surge.
        """
        of_texts = self._late_windows(self._reader.late_windows, self._last_evaluation, now)
        of_stories = self._late_windows(self._reader.late_voices, self._last_of_stories, now)
        raised: dict[Key, Alert] = {}
        for rule in map(self._counting.as_counted, self.rules):
            late = of_stories if rule.uses_stories else of_texts
            if late and rule.can_fire_late and rule.name not in self.failures:
                if self._counting.waits(rule) or self._windows.waits_for_calendar(rule):
                    continue
                episodes = self._late_episodes_of(rule, history, unavailable, late, now)
                raised |= {_key(alert): alert for alert in self._guarded(rule, episodes, [])}
        return list(raised.values())

    def _late_windows(self, read: ReadLate, since: datetime | None, now: datetime) -> list[datetime]:
        """The stored windows that documents with an exact time changed late since then."""
        late = read(since - OVERLAP, now - OVERLAP) if since else []
        if late:
            self._windows.mark_stale(late[0].start)
        return [window.start for window in late if window.has_exact]

    def _late_episodes_of(
        self,
        rule: Rule,
        history: EpisodeHistory,
        unavailable: Collection[Key],
        late: Sequence[datetime],
        now: datetime,
    ) -> Iterable[Alert]:
        raised: set[Key] = set()
        late_from = max(late[0], now - LATE_LIMIT)
        for window in self._windows.late_windows(rule, now, late):
            for subject, seen in self._windows.subject_windows(rule, window, late_from=late_from):
                key = _key_of(rule, subject)
                ended = history.ended_at(key)
                paged = ended is not None and ended + rule.cool_down > window.start
                if key in unavailable or key in raised or paged:
                    continue
                recent = history.ended_since(key, now - rule.flap_window)
                observation = self._late_observation(rule, subject, seen)
                alert = step(None, rule, subject, observation, now, recent=recent)
                if alert is not None:
                    raised.add(key)
                    self._seen[alert.id] = Seen(rule, subject, seen, observation, late=True)
                    alert = replace(alert, counted=rule.count)
                    yield self._with_details(None, alert, rule, window, late=True)

    def _late_observation(self, rule: Rule, subject: Subject, seen: SubjectWindow) -> Observation:
        observation = self._observe(rule, subject, seen, late=True)
        start, end = seen.start, seen.start + rule.window
        summary = f"late documents, {start:%H:%M} to {end:%H:%M} UTC: {observation.summary}"
        return replace(observation, summary=summary)

    def _with_details(
        self, before: Alert | None, alert: Alert, rule: Rule, window: TimeRange, *, late: bool = False
    ) -> Alert:
        """The alert with its evidence and the rule's message, which change with its state.

        Evidence is gathered once, when the episode begins to fire.
        """
        if before is not None and before.state == alert.state:
            return alert
        if alert.state in FIRING_STATES:
            alert = self._windows.with_evidence(alert, rule, window, late=late)
            if self._counting.knows_stories(window.start):
                alert = self._windows.with_stories(alert, rule, window, late=late)
        return replace(alert, message=_message(rule, alert)) if rule.message is not None else alert

    def _save(self, history: EpisodeHistory, paging: Paging, now: datetime) -> None:
        """Save the episodes and incidents that changed, with their transitions and pages."""
        after = {_key(alert): alert for alert in paging.alerts}
        changed = [alert for key, alert in after.items() if history.open.get(key) != alert]
        dismissed = [
            replace(alert, state=AlertState.DISMISSED)
            for key, alert in history.open.items()
            if key not in after and alert.state == AlertState.PENDING
        ]
        if not changed and not dismissed and not paging.incidents:
            return
        rules = {rule.name: rule for rule in self.rules}
        transitions = [
            self._transition(before, alert, rules, now)
            for alert in (*changed, *dismissed)
            if (before := history.open.get(_key(alert))) is None or before.state != alert.state
        ]
        self._episode_store.save(
            changed,
            [alert.id for alert in dismissed],
            transitions,
            paging.requests,
            now,
            paging.incidents,
            paging.pages,
        )
        for transition in transitions:
            self._metrics.transitions.labels(transition.alert.rule, transition.alert.state).inc()
            _log(transition.alert)
        for page in paging.pages:
            _log_page(page)

    def _transition(
        self, before: Alert | None, alert: Alert, rules: Mapping[str, Rule], now: datetime
    ) -> Transition:
        message = self._delivery.message(alert, rules.get(alert.rule))
        state_before = before.state if before else None
        return Transition(alert, state_before, now, {**message, "before": state_before, "at": now})


def _message(rule: Rule, alert: Alert) -> str:
    """The rule's message for the alert; empty, so that the summary is sent, if it cannot be rendered."""
    try:
        return render(rule.message or "", alert)
    except ValueError as error:
        log.error("rule %s: its message cannot be used, the summary is sent instead: %s", rule.name, error)
        return ""


def _log(alert: Alert) -> None:
    firing = alert.state in FIRING_STATES
    log.log(
        logging.WARNING if firing else logging.INFO,
        "alert %s [%s] %s; %s",
        alert.state.upper(),
        alert.rule,
        printable(alert.message or alert.summary),
        alert.uncertainty,
    )
    for item in alert.evidence if firing else ():
        content = item.content[:SHOWN_CHARACTERS]
        log.warning("  evidence %s", printable(f"{item.key or item.source} {item.score:+.2f} {content}"))


def _log_page(page: Page) -> None:
    log.log(
        logging.INFO if page.kind is PageKind.END else logging.WARNING,
        "incident %s %s: %s%s",
        page.incident,
        page.kind.upper(),
        printable(str(page.message["title"])),
        f"; {page.message['link']}" if page.message["link"] else "",
    )
