"""What rules count now: what they ask for, or texts as long as stories are not known.

A rule that counts voices counts texts until every document that it compares has a story, and while the story
task is far behind.  While a document has waited for its story for some seconds the rule is not evaluated:
soon that has one.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

from alerts.baselines.baseline import HOUR
from alerts.detectors.base import ALL_TOPICS, Rule
from alerts.metrics import AlertMetrics
from alerts.ports import AggregateReader
from alerts.wording import nouns
from stream.domain.sums import Counted, window_start

log = logging.getLogger(__name__)

# The story of a document that has waited for no longer is on its way.
ON_ITS_WAY = timedelta(seconds=10)
# When a document has waited for longer, or rules have, they do not wait for the story task any more.
FAR_BEHIND = timedelta(seconds=60)
NO_TIME = timedelta(0)


class Progress(Enum):
    """How far the story task is."""

    UP_TO_DATE = auto()
    WORKING = auto()
    FAR_BEHIND = auto()


class Counting:
    """Decides what each rule counts, at each evaluation."""

    def __init__(self, reader: AggregateReader, metrics: AlertMetrics) -> None:
        self._reader, self._metrics = reader, metrics
        # Since when, by publication, documents have stories; None: never.
        self.since: datetime | None = None
        self._behind = NO_TIME
        # Since when documents wait for longer than usual, and for how long that has been so.
        self._late_since: datetime | None = None
        self._late_for = NO_TIME
        # The rules that count texts since some of what they compare has no story, by name.
        self._uncovered: set[str] = set()
        # What was found out about them, and when.
        self._looked_up: dict[str, tuple[datetime, datetime, bool]] = {}
        self._was_far_behind = False
        self._notes: dict[str, str] = {}

    def forget(self) -> None:
        """The rules may have changed."""
        self._uncovered.clear()
        self._looked_up.clear()

    def look(self, compared: Sequence[tuple[Rule, datetime]], now: datetime) -> None:
        """Look how far stories are, for rules and the earliest time that each of them compares."""
        self.since = self._reader.voices_since()
        oldest = None if self.since is None else self._reader.oldest_waiting()
        self._behind = NO_TIME if oldest is None else max(now - oldest, NO_TIME)
        is_late = self._behind > ON_ITS_WAY
        self._late_since = min(self._late_since or now, now) if is_late else None
        self._late_for = now - self._late_since if self._late_since else NO_TIME
        users = [(rule, start) for rule, start in compared if rule.counts_stories]
        uncovered = {rule.name: start for rule, start in users if not self._covers(rule, start, now)}
        self._note_uncovered(uncovered, [rule for rule, _ in users])
        self._note_progress([rule.name for rule, _ in users if rule.name not in uncovered])
        self._notes = {rule.name: self._note(rule) for rule, _ in compared if self._needs_stories(rule)}

    @property
    def progress(self) -> Progress:
        if self._late_since is None:
            return Progress.UP_TO_DATE
        # No rule waits for longer, however near the task is to catching up.
        return Progress.FAR_BEHIND if max(self._behind, self._late_for) > FAR_BEHIND else Progress.WORKING

    def waits(self, rule: Rule) -> bool:
        """Whether the rule is not evaluated now: it would see some documents and not others."""
        return self.progress is Progress.WORKING and self._needs_stories(rule)

    def as_counted(self, rule: Rule) -> Rule:
        """The rule as it counts now."""
        is_far_behind = self.progress is Progress.FAR_BEHIND
        return rule.counting_texts() if is_far_behind or rule.name in self._uncovered else rule

    def note(self, rule: Rule) -> str:
        """What a page says of how its rule counted; empty if there is nothing to say."""
        return self._notes.get(rule.name, "") if self.progress is Progress.FAR_BEHIND else ""

    def _note(self, rule: Rule) -> str:
        behind = f"stories are {self._behind.total_seconds():.0f} s behind"
        return f"counted texts, since {behind}" if rule.counts_stories else behind

    def knows_stories(self, start: datetime) -> bool:
        """Whether every document published from `start` on has a story, but for the latest seconds."""
        return self.since is not None and self.since <= start and self.progress is not Progress.FAR_BEHIND

    def _needs_stories(self, rule: Rule) -> bool:
        return rule.uses_stories and (rule.name not in self._uncovered or rule.min_novelty > 0)

    def _covers(self, rule: Rule, start: datetime, now: datetime) -> bool:
        """Whether every document that the rule compares from `start` on has a story."""
        since = self.since
        if since is None or since <= start:
            return since is not None
        hour = window_start(now, HOUR)
        known = self._looked_up.get(rule.name)
        if known is None or known[:2] != (hour, since):
            known = self._looked_up[rule.name] = (hour, since, not self._has_texts(rule, start, since))
        return known[2]

    def _has_texts(self, rule: Rule, start: datetime, end: datetime) -> bool:
        """Whether documents that count for the rule were published in [start, end)."""
        sums = self._reader.sums(start, end, rule.feed)
        watched = rule.watched_topics([total.topic for total in sums])
        return any(
            total.kind in rule.kinds and (ALL_TOPICS in watched or total.topic in watched) for total in sums
        )

    def _note_uncovered(self, uncovered: Mapping[str, datetime], users: Sequence[Rule]) -> None:
        """Log when rules begin to count texts, and when each of them counts what it asks for.  `uncovered`
        has the earliest time that each of them compares."""
        before, self._uncovered = self._uncovered, set(uncovered)
        if self.since is not None and self._uncovered - before:
            log.info(
                "rules count texts until every document that they compare has a story: %s; "
                "`monitor backfill stories --since %s` gives older documents theirs",
                ", ".join(sorted(uncovered)),
                f"{min(uncovered.values()):%Y-%m-%d}",
            )
        for rule in users:
            if rule.name in before - self._uncovered:
                counted = nouns(rule.count) if rule.count is not Counted.TEXTS else nouns(Counted.VOICES)
                log.info(
                    "rule %s counts %s from now on: every document that it compares has a story",
                    rule.name,
                    counted,
                )

    def _note_progress(self, covered: Sequence[str]) -> None:
        """Log when rules that are `covered` begin to count texts, and when they count voices again."""
        is_far_behind = self.progress is Progress.FAR_BEHIND
        if is_far_behind and not self._was_far_behind and covered:
            log.warning(
                "stories are %.0f s behind, so rules count texts meanwhile: %s",
                self._behind.total_seconds(),
                ", ".join(sorted(covered)),
            )
        elif self._was_far_behind and not is_far_behind:
            log.info("stories are no longer far behind: rules count them again")
        self._was_far_behind = is_far_behind
        counting_texts = len(self._uncovered) + (len(covered) if is_far_behind else 0)
        self._metrics.rules_counting_texts.set(counting_texts)
