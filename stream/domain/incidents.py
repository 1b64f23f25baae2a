"""An incident: the alerts of one event, and the pages that tell of it.

An alert that fires joins the open incident of the same stories or entities, or begins one
(`alerts.incidents`).  An incident pages when it begins, when it grows and when it ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from stream.domain.alerts import Severity
from stream.domain.incident_actions import Verdict

# An incident keeps so many stories, the latest, and so many leading entities and alerts, the first.
MOST_STORIES, MOST_LEAD_ENTITIES, MOST_ALERTS = 500, 50, 200
LONGEST_TITLE = 80
# A page keeps digests of so many alerts.
MOST_ALERT_INPUTS = 50
# So many negative documents of an alert's window are read, those published last.
MOST_DOCUMENTS = 5000


class PageKind(StrEnum):
    """What a page tells of its incident, by the name that the database and messages use."""

    BEGIN = "begin"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class SeenByDesk:
    """How bad an incident was when somebody acknowledged it or kept it quiet: what is worse is news to them.

    `values` are those of its alerts, `entities` its leading ones.
    """

    severity: Severity
    values: Mapping[str, float]
    entities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """One event, from its first alert to its calm: a row of the table `incidents`.

    `id` is in everything that is sent about it, and never changes.  `title` says who and what, as it was when
    it began, and so are the links and labels by which receivers know it.  `severity` is the most urgent of
    its alerts so far.  `lead_entities` are those that at least half of the voices of one of its alerts are
    about, `stories` those that its alerts were about, and `alerts` the ids of its episodes; all in the order
    in which they came, and bounded.  An incident that `stands_alone` takes no second alert.

    `calm_since` is when the last of its alerts ceased to fire, None while one fires; `ended_at` is None while
    it is open.  `paged_number` is the number of its last page, 0 before the first; `last_page_at`,
    `paged_severity` and `paged_value` (how many times its threshold the largest of its values was) are of
    that page, and `paged_values` are the values of its alerts then, or when they joined later.
    `paged_entities` are the leading entities that it told of.  `told` are the receivers of its pages.

    `acknowledged_at` and `acknowledged_by` say who took it on, and `escalated_at` when it went to further
    receivers since nobody had.  `assigned_to` is who it was handed to.  Until `quiet_until` it pages nobody.
    `closed_at`, `closed_by` and `verdict` are of whoever closed it.  `seen` is what the desk has seen of it,
    None before it was acknowledged or kept quiet, and `actions` is the number of its last action.
    """

    id: str
    began_at: datetime
    severity: Severity
    title: str
    lead_entities: tuple[str, ...] = ()
    stories: tuple[int, ...] = ()
    alerts: tuple[str, ...] = ()
    stands_alone: bool = False
    calm_since: datetime | None = None
    ended_at: datetime | None = None
    last_page_at: datetime | None = None
    paged_number: int = 0
    paged_value: float = 0.0
    paged_severity: Severity | None = None
    paged_values: Mapping[str, float] = field(default_factory=dict)
    paged_entities: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    escalated_at: datetime | None = None
    assigned_to: str | None = None
    quiet_until: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    verdict: Verdict | None = None
    seen: SeenByDesk | None = None
    actions: int = 0

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def over_since(self) -> datetime | None:
        """When its calm began; None while it is open.  People are told this time: `ended_at` is when the calm
        had lasted long enough."""
        if self.ended_at is None:
            return None
        return max(self.calm_since or self.ended_at, self.began_at)

    @property
    def state(self) -> str:
        """What people call its state: open, calm, closed or over."""
        if self.closed_at is not None:
            return "closed"
        if self.ended_at is not None:
            return "over"
        return "calm" if self.calm_since else "open"


def page_key(incident: str, kind: PageKind, number: int) -> str:
    """The key of a page, by which a receiver recognises a repeat."""
    return f"{incident}:{kind}:{number}"


@dataclass(frozen=True, slots=True)
class PageDocument:
    """A negative document in the window of an alert: what incidents and pages are made from.

    `version` is the number of its changes so far (`document_events`).  `score` is from -1 to 1, towards the
    entity if the alert is about one.  `story`, `origin` (who said it first), `is_voice` and `copy_of` are of
    its story assignment, None before it has one.  `entities` are those that it is about, the most relevant
    first.
    """

    key: str
    version: int
    kind: str
    source: str
    published_at: datetime
    received_at: datetime
    topic: str
    score: float
    author: str | None = None
    model: str = ""
    gazetteer: str | None = None
    story: int | None = None
    origin: str | None = None
    is_voice: bool | None = None
    copy_of: str | None = None
    entities: tuple[str, ...] = ()

    @property
    def counts_as_voice(self) -> bool:
        """Whether it speaks for itself; one that has no story yet does."""
        return self.is_voice is not False


@dataclass(frozen=True, slots=True)
class Headline:
    """What stands for a story: its central headline, and who was the first to tell it, and when."""

    story: int
    text: str
    source: str
    first_seen_at: datetime
    first_seen_by: str


@dataclass(frozen=True, slots=True)
class StoryBegun:
    """A story that began in some time, and how many voices and documents it has."""

    headline: Headline
    voices: int
    documents: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known of the database when it was read.

    `known_at` is by its own clock.  `offsets` are the next offsets of the Kafka partitions, by
    "topic/partition", and `story_seq` is the last sequence of a story assignment, None without one: they tell
    exactly which documents, and which of their stories, were known.
    """

    known_at: datetime
    offsets: Mapping[str, int] | None = None
    story_seq: int | None = None


@dataclass(frozen=True, slots=True)
class AlertInputs:
    """What a page says about one alert, and a digest of what that was computed from.

    `rule_digest` is that of the rule as it was evaluated, and `rule_fields` its settings.  The rule counted
    `count` in the window, [start, end), and expected `usual`; unless it `has_value`, `value` is that of an
    earlier window.  `documents` is the sha256, in hex, over the sorted pairs of key and version of the `n`
    negative documents in the window; the version is the number of rows of the document in `document_events`
    by then.  `stories` is the same over key, story and whether it is a voice.  Both are None if the rule
    shows no documents, or if there are too many.
    """

    alert: str
    rule: str
    rule_digest: str
    start: datetime
    end: datetime
    value: float
    documents: str | None = None
    n: int = 0
    topic: str = ""
    entity: str | None = None
    count: int = 0
    usual: float | None = None
    has_value: bool = True
    stories: str | None = None
    rule_fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PageInputs:
    """What a page was made from, so that it can be computed again.

    All of it was read at one Moment.  `models` are the versions of the models that labelled the documents,
    and `gazetteer` that of the list of entities.
    """

    known_at: datetime
    alerts: tuple[AlertInputs, ...] = ()
    models: tuple[str, ...] = ()
    gazetteer: str | None = None
    story_seq: int | None = None
    offsets: Mapping[str, int] | None = None

    @property
    def moment(self) -> Moment:
        return Moment(self.known_at, self.offsets, self.story_seq)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of an incident, sent to however many receivers: a row of the table `pages`.

    `number` counts the pages of the incident from 1.  `message` is the JSON as it was made; receivers with
    small budgets get less of it.
    """

    key: str
    incident: str
    kind: PageKind
    number: int
    at: datetime
    message: Mapping[str, Any]
    inputs: PageInputs
