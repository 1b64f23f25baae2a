"""An alert: its states and severities, its evidence, its episode, a change of state, a page to send."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from stream.domain.documents import Precision
from stream.domain.sums import Counted

# The labels of an episode about an entity.
ENTITY, ENTITY_NAME = "entity", "entity_name"


class AlertState(StrEnum):
    """The state of an episode, by the name that the database, messages and metrics use.

    A pending episode waits for its rule's `for`.  It then fires, or is dismissed if the breach ends first.
    A flapping episode fires like any other but takes longer to resolve.
    """

    PENDING = "pending"
    FIRING = "firing"
    FLAPPING = "flapping"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


# The states that page, and the states of episodes that have not ended.
FIRING_STATES = (AlertState.FIRING, AlertState.FLAPPING)
OPEN_STATES = (AlertState.PENDING, *FIRING_STATES)


class Severity(StrEnum):
    """How urgent an alert is: a page leaves during quiet hours too, a ticket or info waits until they end."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """A document shown as evidence; `words` contributed most to its sentiment.

    `key` identifies it (`stream.domain.documents.document_key`).  It is empty in episodes of version 0.2.0.
    `precision` says how exactly `published_at` is known.  `traceparent` is the trace of its message, if that
    named one.  `judged_by` is the model whose labels it has, if there are two.  `events` are the types
    of the events that it reports.  `story`, `novelty` and `is_voice` are those of its StoryAssignment, None
    before it has one, and `copies` is the number of its copies in the alert's window.
    """

    source: str
    id: str
    published_at: datetime
    content: str
    score: float
    words: tuple[str, ...] = ()
    url: str | None = None
    key: str = ""
    precision: Precision = Precision.EXACT
    traceparent: str | None = None
    judged_by: str | None = None
    events: tuple[str, ...] = ()
    story: int | None = None
    novelty: int | None = None
    is_voice: bool | None = None
    copies: int = 0


@dataclass(frozen=True, slots=True)
class StoryCounts:
    """How many texts there are, and how many stories, voices and copies are among them."""

    texts: int
    stories: int
    voices: int
    copies: int


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of one rule on one topic or entity, from pending to resolved.

    `id` is in everything that is sent about the episode.  `value`, `threshold`, `n` (documents),
    `uncertainty` and `usual` (what the baseline expects; None without a baseline) come from the latest
    evaluation with data.  `evidence` and `sources` (negative documents per source) come from the moment it
    fired.  `message` is the rendered template of the rule, empty if the rule has none.  `severity` and
    `labels` are those of the rule at the moment it fired; `labels` is None in episodes of older versions.
    `entity` is the id of the entity that it is about, if its rule watches entities; the labels have its name.
    `counted` says what `n` is a number of: texts, voices or stories.  `texts`, `stories`, `voices` and
    `copies` are the StoryCounts of the moment it fired, of the negative documents if the rule is about those,
    and `stories_text` says so in words; None and empty if stories did not cover the window.
    `incident` is the id of the incident that it belongs to, None before it fires; one that an older version
    paged by itself is an incident of its own id.
    """

    id: str
    rule: str
    topic: str
    severity: Severity
    state: AlertState
    since: datetime
    value: float
    threshold: float
    n: int
    uncertainty: str
    summary: str
    usual: float | None = None
    message: str = ""
    evidence: tuple[EvidenceItem, ...] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    clear_since: datetime | None = None
    labels: Mapping[str, str] | None = None
    entity: str | None = None
    counted: Counted = Counted.TEXTS
    texts: int | None = None
    stories: int | None = None
    voices: int | None = None
    copies: int | None = None
    stories_text: str = ""
    incident: str | None = None

    @property
    def entity_name(self) -> str | None:
        """How a reader knows the entity, as it was when the episode began."""
        return None if self.entity is None else (self.labels or {}).get(ENTITY_NAME, self.entity)

    @property
    def subject(self) -> str:
        """What a reader calls what it is about: the entity, or else the topic."""
        return self.entity_name or self.topic


def entity_labels(entity: str | None, name: str | None) -> dict[str, str]:
    """The labels that name the entity of an episode; none without one."""
    return {} if entity is None else {ENTITY: entity, ENTITY_NAME: name or entity}


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an episode's state: a row of the audit table, and `message` as an event on Kafka."""

    alert: Alert
    before: AlertState | None
    at: datetime
    message: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page for one receiver.

    The same `key` is queued once, pages of one `lane` are sent in order, and none before `not_before`.
    """

    target: str
    key: str
    lane: str
    message: Mapping[str, object]
    not_before: datetime
