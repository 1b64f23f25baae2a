"""What people do with an incident: take it on, hand it over, comment, keep it quiet, close it.

Rows of the table `incident_actions`, which tells who did what and when.  `alerts` decides whether an action
is possible, and what becomes of the incident.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

# In characters.
LONGEST_KEY, LONGEST_NAME, LONGEST_COMMENT = 64, 256, 4000


class ActionKind(StrEnum):
    """What was done, by the name that the database and addresses use."""

    ACKNOWLEDGE = "acknowledge"
    ASSIGN = "assign"
    COMMENT = "comment"
    QUIET = "quiet"
    CLOSE = "close"


class Verdict(StrEnum):
    """What the desk says of an incident when it closes it: that it was right, or what was wrong about it."""

    RIGHT = "right"
    NOT_NEWS = "not-news"
    WRONG_COMPANY = "wrong-company"
    WRONG_MOOD = "wrong-mood"
    OLD = "old"
    TOO_SMALL = "too-small"


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """What somebody wants to do with an incident.

    `key` is made with the form, so that a form that is sent twice is one action.  `expected` is the number of
    the last action that the actor has seen, None if they do not say.  `text` is a comment, of at most
    LONGEST_COMMENT characters; an action may have one besides.  `until` belongs to QUIET, `assignee` to
    ASSIGN, and `verdict` to CLOSE.
    """

    kind: ActionKind
    key: str
    actor: str
    expected: int | None = None
    text: str = ""
    assignee: str | None = None
    until: datetime | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did.  `number` counts the actions of the incident from 1; the rest is of the request."""

    incident: str
    number: int
    key: str
    kind: ActionKind
    actor: str
    at: datetime
    text: str = ""
    assignee: str | None = None
    until: datetime | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class JudgedAlert:
    """An alert of a rule in an incident that paged, and what the desk said of that.

    `voices` and `sources` are the negative voices, None if they are not known, and the number of distinct
    sources when it fired.
    """

    incident: str
    rule: str
    verdict: Verdict | None
    acknowledged: bool
    is_over: bool
    sources: int
    voices: int | None = None

    @property
    def is_right(self) -> bool:
        """Whether the desk said so: by its verdict, or since it took the incident on and called nothing wrong
        until it was over."""
        return self.verdict is Verdict.RIGHT or (self.verdict is None and self.acknowledged and self.is_over)

    @property
    def is_wrong(self) -> bool:
        return self.verdict not in (None, Verdict.RIGHT)
