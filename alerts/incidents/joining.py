"""Which alerts are one event, and what is paged of it.  Pure: now is an argument.

An alert that begins to fire joins the open incident that its voices are on, or that is about the same entity;
else it begins one.  Incidents never merge.  The same alerts, in the same order, give the same incidents.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from stream.domain.alerts import Alert, Severity
from stream.domain.incidents import (
    MOST_ALERTS,
    MOST_LEAD_ENTITIES,
    MOST_STORIES,
    Incident,
    PageDocument,
    PageKind,
)

T = TypeVar("T")
# Entities that most of the news is about: two alerts on one of them need not be of one event.
BROAD = (
    "index:*",
    "currency:*",
    "commodity:*",
    "cb:*",
    *(f"crypto:{coin}" for coin in ("BTC", "ETH", "BNB", "SOL", "USDT", "XRP")),
)
# Where the numbers of texts without a story begin.
NO_STORY = 1 << 62
# An incident is worse when a value of one of its alerts is so many times what was paged.
WORSE = 2.0
# How urgent a severity is, the most urgent first.
URGENCY = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class IncidentPolicy:
    """How long incidents take alerts and last, how often they page, and which entities are `broad`: ids, or
    beginnings of ids with a star behind them."""

    joins_for: timedelta = timedelta(hours=24)
    calm: timedelta = timedelta(hours=2)
    update_every: timedelta = timedelta(minutes=30)
    broad: Sequence[str] = BROAD

    def narrow(self, entities: Iterable[str]) -> set[str]:
        """Those of the entities that are not broad."""
        return {one for one in entities if not any(fnmatchcase(one, pattern) for pattern in self.broad)}


@dataclass(frozen=True, slots=True)
class Signal:
    """What an alert that begins to fire is about: its negative voices in all, by story and by entity.  While
    stories are not known, each text has one of its own.

    An alert that `stands_alone`, such as one of a silent feed, belongs to no other.
    """

    alert: Alert
    voices: int = 0
    stories: Mapping[int, int] = field(default_factory=dict)
    entities: Mapping[str, int] = field(default_factory=dict)
    stands_alone: bool = False

    @classmethod
    def of(cls, alert: Alert, documents: Iterable[PageDocument], *, stands_alone: bool = False) -> "Signal":
        """From the negative documents in the window of the alert."""
        voices = [document for document in documents if document.counts_as_voice]
        return cls(
            alert,
            len(voices),
            Counter(_own_story(voice) if voice.story is None else voice.story for voice in voices),
            Counter(entity for voice in voices for entity in voice.entities),
            stands_alone,
        )

    @property
    def lead_entities(self) -> tuple[str, ...]:
        """Those that at least half of the voices are about, and the one that the alert is about: most voices
        first."""
        leads = {entity: n for entity, n in self.entities.items() if 2 * n >= self.voices}
        own = self.alert.entity
        if own is not None:
            leads[own] = self.voices + 1
        return tuple(sorted(leads, key=lambda entity: (-leads[entity], entity)))

    @property
    def main_stories(self) -> tuple[int, ...]:
        """The largest stories that together have at least half of the voices, and those that are as large as
        the smallest of them."""
        held, smallest = 0, 0
        for n in sorted(self.stories.values(), reverse=True):
            if 2 * held >= self.voices:
                break
            held, smallest = held + n, n
        return tuple(sorted(story for story, n in self.stories.items() if n >= smallest))

    def voices_on(self, stories: Iterable[int]) -> int:
        """How many of the voices are on these stories."""
        return sum(self.stories.get(story, 0) for story in set(stories))


def _own_story(document: PageDocument) -> int:
    """A text without a story tells one of its own: a number that no story has."""
    digest = hashlib.sha256(document.key.encode()).digest()
    return NO_STORY | int.from_bytes(digest[:7])


def by_urgency(alert: Alert) -> tuple[int, str, str, str]:
    """The order in which the alerts of one evaluation come to incidents."""
    return URGENCY[alert.severity], alert.rule, alert.topic, alert.entity or ""


def incident_id(alert: Alert) -> str:
    """The id of the incident that begins with this alert: the same whenever and wherever it is computed."""
    return hashlib.sha256(f"incident\x1f{alert.id}".encode()).hexdigest()[:24]


def begin(signal: Signal, now: datetime) -> Incident:
    """The incident that begins with this alert."""
    alert = signal.alert
    empty = Incident(
        id=incident_id(alert),
        began_at=now,
        severity=alert.severity,
        title="",
        stands_alone=signal.stands_alone,
    )
    return join(empty, signal)


def adopt(alert: Alert, told: Sequence[str]) -> Incident:
    """The incident of an alert that an older version paged by itself.

    It keeps the alert's id, by which receivers know it, and takes no other alert.
    """
    at = alert.fired_at or alert.since
    entities = () if alert.entity is None else (alert.entity,)
    return Incident(
        id=alert.id,
        began_at=at,
        severity=alert.severity,
        title=f"{alert.rule} on {alert.subject}",
        lead_entities=entities,
        alerts=(alert.id,),
        stands_alone=True,
        last_page_at=at,
        paged_number=1,
        paged_severity=alert.severity,
        paged_values={alert.id: alert.value},
        paged_entities=entities,
        told=tuple(told),
    )


def is_adopted(alert: Alert) -> bool:
    """Whether an older version paged the alert by itself, so that receivers know it by its own id."""
    return alert.incident is None or alert.incident == alert.id


def home(
    signal: Signal, incidents: Iterable[Incident], policy: IncidentPolicy, now: datetime
) -> Incident | None:
    """The open incident that the alert joins: the one with most of its voices, else with most of its
    entities, else the oldest; None if it begins one.

    Else it joins one that somebody has closed and that half of its voices are on, unless it is more urgent:
    what they said holds for the same stories.
    """
    if signal.stands_alone:
        return None
    leads = policy.narrow(signal.lead_entities)
    found: list[tuple[bool, int, int, datetime, str, Incident]] = []
    for incident in incidents:
        if incident.stands_alone or now - incident.began_at >= policy.joins_for:
            continue
        voices = signal.voices_on(incident.stories)
        on_stories = bool(voices) and 2 * voices >= signal.voices
        shared = len(leads.intersection(incident.lead_entities))
        if incident.is_open:
            joins = on_stories or shared > 0
        else:
            joins = on_stories and _settles(incident, signal.alert)
        if joins:
            key = (not incident.is_open, -voices, -shared, incident.began_at, incident.id)
            found.append((*key, incident))
    return min(found, key=lambda each: each[:-1])[-1] if found else None


def _settles(incident: Incident, alert: Alert) -> bool:
    """Whether what was said of an incident holds for one more alert on its stories."""
    return incident.closed_at is not None and URGENCY[alert.severity] >= URGENCY[incident.severity]


def join(incident: Incident, signal: Signal) -> Incident:
    """The incident with one more alert."""
    alert = signal.alert
    return replace(
        incident,
        severity=min(incident.severity, alert.severity, key=URGENCY.__getitem__),
        lead_entities=_added(incident.lead_entities, signal.lead_entities, MOST_LEAD_ENTITIES),
        stories=with_stories(incident, signal).stories,
        alerts=_added(incident.alerts, (alert.id,), MOST_ALERTS),
        paged_values=_valued(incident.paged_values, [alert]),
        calm_since=None,
    )


def with_stories(incident: Incident, signal: Signal) -> Incident:
    """The incident on the stories that one of its alerts is about now, too; of too many the latest."""
    return replace(
        incident, stories=tuple(dict.fromkeys((*incident.stories, *signal.main_stories)))[-MOST_STORIES:]
    )


def _added(known: tuple[T, ...], new: Iterable[T], most: int) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*known, *new)))[:most]


def _valued(known: Mapping[str, float], alerts: Iterable[Alert]) -> Mapping[str, float]:
    values = {**known, **{alert.id: alert.value for alert in alerts}}
    return dict(list(values.items())[-MOST_ALERTS:])


def follow(incident: Incident, firing: Sequence[Alert], policy: IncidentPolicy, now: datetime) -> Incident:
    """The incident after an evaluation in which these of its alerts fire.

    It ends after a calm, and at once if somebody closed it.  One that stands alone ends with its alert.
    """
    if incident.closed_at is not None:
        return replace(incident, calm_since=incident.calm_since or now, ended_at=now)
    if firing:
        return replace(incident, calm_since=None)
    # A time in the future was written by a clock that was ahead, or the clock was set back.
    since = min(incident.calm_since or now, now)
    calm = timedelta(0) if incident.stands_alone else policy.calm
    return replace(incident, calm_since=since, ended_at=now if now - since >= calm else None)


@dataclass(frozen=True, slots=True)
class DuePage:
    """A page to send now, and to whom.  One that is only for receivers that were not told yet is no news to
    the others."""

    kind: PageKind
    targets: tuple[str, ...]
    only_untold: bool = False


def page_due(
    incident: Incident,
    firing: Sequence[Alert],
    targets: Sequence[str],
    policy: IncidentPolicy,
    now: datetime,
    measured: Sequence[Alert] | None = None,
) -> DuePage | None:
    """The page that an incident needs after an evaluation, if any; `firing` are its alerts that fire, but for
    muted ones, and `targets` the receivers that are told at once.  Updates and the end go to all who were
    told.

    `measured` are those of `firing` whose value is of now, None if all are.  An alert keeps its last value
    while its window has too few documents, and that is no news.  What began untold, since its alerts were
    muted, ends untold.  What is kept quiet tells its end alone, and after the quiet.
    """
    if not incident.is_open:
        return DuePage(PageKind.END, incident.told) if incident.paged_number else None
    if not firing or is_quiet(incident, now):
        return None
    known = _known_severity(incident)
    targets = tuple(dict.fromkeys((*targets, *incident.told)))
    kind = PageKind.UPDATE if incident.paged_number else PageKind.BEGIN
    if known is None or min(URGENCY[alert.severity] for alert in firing) < URGENCY[known]:
        return DuePage(kind, targets)
    if not is_worse(incident, firing if measured is None else measured, policy):
        return None
    return _update_due(incident, targets, policy, now) if incident.paged_number else DuePage(kind, targets)


def is_quiet(incident: Incident, now: datetime) -> bool:
    """Whether somebody keeps the incident quiet."""
    return incident.quiet_until is not None and now < incident.quiet_until


def quiet_until(incident: Incident) -> datetime | None:
    """From when the end of an incident may page; None: at once, as when somebody has closed it."""
    return None if incident.closed_at else incident.quiet_until


def _known_severity(incident: Incident) -> Severity | None:
    """The most urgent severity that somebody knows it has, from a page or from its own; None if nobody knows
    of it."""
    known = [incident.paged_severity, incident.seen.severity if incident.seen else None]
    return min((severity for severity in known if severity), key=URGENCY.__getitem__, default=None)


def _update_due(
    incident: Incident, targets: Sequence[str], policy: IncidentPolicy, now: datetime
) -> DuePage | None:
    """The update on an incident that is worse: not too soon after the last page, but for whoever knows
    nothing yet."""
    last = incident.last_page_at or incident.began_at
    if not now - policy.update_every < last <= now:
        return DuePage(PageKind.UPDATE, tuple(targets))
    untold = tuple(target for target in targets if target not in incident.told)
    return DuePage(PageKind.UPDATE, untold, only_untold=True) if untold else None


def is_worse(incident: Incident, measured: Sequence[Alert], policy: IncidentPolicy) -> bool:
    """Whether an alert has at least twice the value that was paged or that the desk saw, or another entity
    has come into it since; not while no alert has a value of now."""
    seen = incident.seen
    known = {*incident.paged_entities, *(seen.entities if seen else ())}
    doubled = any(_has_doubled(incident, alert) for alert in measured)
    return doubled or bool(measured and policy.narrow(incident.lead_entities) - known)


def _has_doubled(incident: Incident, alert: Alert) -> bool:
    """Whether the alert has twice each value of it that somebody knows."""
    seen = incident.seen.values if incident.seen else {}
    known = [values[alert.id] for values in (incident.paged_values, seen) if alert.id in values]
    return bool(known) and all(_is_doubled(alert.value, value) for value in known)


def _is_doubled(value: float, paged: float) -> bool:
    """Whether a value lies twice as far from 0, on the same side: mean scores are below it."""
    return paged != 0 and value / paged >= WORSE


def paged(incident: Incident, due: DuePage, firing: Sequence[Alert], now: datetime) -> Incident:
    """The incident after a page that shows these of its alerts."""
    incident = replace(
        incident,
        paged_number=incident.paged_number + 1,
        told=tuple(dict.fromkeys((*incident.told, *due.targets))),
    )
    if due.only_untold:
        return incident
    severities = [alert.severity for alert in firing] + [incident.paged_severity or incident.severity]
    return replace(
        incident,
        last_page_at=now,
        paged_severity=min(severities, key=URGENCY.__getitem__),
        paged_value=max(map(_ratio, firing), default=incident.paged_value),
        paged_values=_valued(incident.paged_values, firing),
        paged_entities=incident.lead_entities,
    )


def _ratio(alert: Alert) -> float:
    return alert.value / alert.threshold if alert.threshold else 0.0
