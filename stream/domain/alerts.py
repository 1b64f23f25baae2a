"""What an alert is: its evidence, its episode, a transition of it, a page that asks to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """A document as evidence shows it; `words` did most for its sentiment."""

    source: str
    id: str
    published_at: datetime
    content: str
    score: float
    words: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of one rule on one topic, from pending to resolved.

    `id` is the key under which everything about the episode is sent; a repeat carries the same one.
    `value`, `threshold`, `n`, `uncertainty` and `usual` (what the baseline leads to expect, where there is
    one) are those of the latest evaluation with data.  `evidence` and `sources` (negative texts of each) are
    those of the moment it fired; `message` is what the rule's template makes of it.
    """

    id: str
    rule: str
    topic: str
    severity: str
    state: str
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


@dataclass(frozen=True, slots=True)
class Transition:
    """An episode that came into another state: a row to audit, and `message` as an event."""

    alert: Alert
    before: str | None
    at: datetime
    message: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page for one receiver: the same `key` never twice, those of a `lane` in order, and none before its
    time."""

    target: str
    key: str
    lane: str
    message: Mapping[str, object]
    not_before: datetime
