"""Silences of a Prometheus Alertmanager (API version 2): which of them acknowledge an incident, and which
tell it what the desk said.

What the desk keeps quiet is a silence there until its time.  What it has acknowledged is one too, so that
Alertmanager does not repeat it; that is lifted when the incident gets worse.
"""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from pydantic import SecretStr

from alerts.delivery.alertmanager import INCIDENT
from alerts.delivery.answers import Attempt, explanation
from alerts.delivery.post import Answer, AnswerTooLong, delete, get, post, quotes_url
from alerts.errors import SilencesUnavailable
from alerts.incidents.joining import URGENCY, is_quiet
from stream.domain.documents import printable
from stream.domain.incident_actions import LONGEST_COMMENT, LONGEST_NAME, ActionKind, ActionRequest
from stream.domain.incidents import Incident

SILENCES, SILENCE = "/api/v2/silences", "/api/v2/silence/"
# Who made the silences that the monitor wrote.
OWN = "sentiment-monitor"
# The silence of an acknowledged incident is renewed when half of this is left: if the monitor dies, it ends.
RENEWED_FOR = timedelta(hours=4)
# Alertmanager keeps milliseconds.
ROUNDED = timedelta(seconds=1)
# All of them come, since filters other than by equality find nothing in Alertmanager 0.25: some 16,000.
MOST_BYTES = 8_000_000
ACTIVE = ("active", "pending")


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    """What a label must be: equal to `value`, or matching it as a regular expression."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def as_sent(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "isRegex": self.is_regex,
            "isEqual": self.is_equal,
        }


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence as Alertmanager has it, or as it shall have it: `id` is empty before it does."""

    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    id: str = ""

    @property
    def incident(self) -> str | None:
        """The incident that it names by its id."""
        return next((m.value for m in self.matchers if m.name == INCIDENT and _is_exact(m)), None)

    @property
    def is_own(self) -> bool:
        return self.created_by == OWN

    def as_sent(self) -> dict[str, Any]:
        return {
            **({"id": self.id} if self.id else {}),
            "matchers": [matcher.as_sent() for matcher in self.matchers],
            "startsAt": self.starts_at.isoformat(),
            "endsAt": self.ends_at.isoformat(),
            "createdBy": self.created_by,
            "comment": self.comment,
        }


def read_silences(body: bytes) -> list[Silence]:
    """The silences of an answer that are or will be in force.  Raises ValueError if it is something else."""
    try:
        rows = json.loads(body)
        return [_silence(row) for row in rows if row["status"]["state"] in ACTIVE]
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"the list of silences cannot be read: {type(error).__name__} {error}") from error


def _silence(row: Mapping[str, Any]) -> Silence:
    matchers = tuple(
        sorted(
            Matcher(str(m["name"]), str(m["value"]), bool(m["isRegex"]), bool(m.get("isEqual", True)))
            for m in row["matchers"]
        )
    )
    return Silence(
        matchers,
        datetime.fromisoformat(row["startsAt"]).astimezone(UTC),
        datetime.fromisoformat(row["endsAt"]).astimezone(UTC),
        str(row["createdBy"]),
        str(row["comment"]),
        str(row["id"]),
    )


def _is_exact(matcher: Matcher) -> bool:
    return matcher.is_equal and not matcher.is_regex


def matches_exactly(silence: Silence, incident: str, labels: Sequence[Mapping[str, str]]) -> bool:
    """Whether somebody silenced this incident, and it alone: the silence names it, and matches all that
    Alertmanager knows of it; `labels` are those of each of its alerts there.

    A silence of more than the incident is a mute, and says nothing about it.
    """
    names_it = silence.incident == incident and all(map(_is_exact, silence.matchers))
    whole = all(each.get(m.name, "") == m.value for each in labels for m in silence.matchers)
    return names_it and bool(labels) and whole


def acknowledgement(silence: Silence, now: datetime) -> ActionRequest | None:
    """What a silence that matches an incident exactly says: its author has taken it on; None before it
    begins."""
    if silence.is_own or not silence.starts_at <= now < silence.ends_at:
        return None
    author = printable(silence.created_by).strip()[:LONGEST_NAME] or "Alertmanager"
    key = f"silence:{silence.id}"
    text = f"by a silence in Alertmanager: {silence.comment}"[:LONGEST_COMMENT]
    return ActionRequest(ActionKind.ACKNOWLEDGE, key, author, text=text)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A silence that Alertmanager shall have; its end may differ by `slack`."""

    silence: Silence
    slack: timedelta = ROUNDED

    def is_like(self, other: Silence) -> bool:
        return other.is_own and other.matchers == self.silence.matchers

    def is_met_by(self, other: Silence) -> bool:
        return self.is_like(other) and abs(other.ends_at - self.silence.ends_at) <= self.slack


def wanted_silences(incident: Incident, link: str, now: datetime) -> list[Wanted]:
    """The silences that tell Alertmanager what the desk said of an incident; `link` is that of its page."""
    if not incident.is_open or incident.closed_at is not None:
        return []
    named = Matcher(INCIDENT, incident.id)
    wanted = []
    if incident.quiet_until is not None and is_quiet(incident, now):
        comment = f"kept quiet on the desk's page {link}".rstrip()
        wanted.append(Wanted(Silence((named,), now, incident.quiet_until, OWN, comment)))
    if incident.acknowledged_at is not None and not _paged_since(incident, incident.acknowledged_at):
        comment = f"acknowledged by {incident.acknowledged_by} {link}".rstrip()
        silence = Silence((named, _not_more_urgent(incident)), now, now + RENEWED_FOR, OWN, comment)
        wanted.append(Wanted(silence, RENEWED_FOR / 2))
    return wanted


def _paged_since(incident: Incident, since: datetime) -> bool:
    """Whether it got worse after somebody had acknowledged it."""
    return incident.last_page_at is not None and incident.last_page_at > since


def _not_more_urgent(incident: Incident) -> Matcher:
    """Matches the severities that are not more urgent than what was acknowledged."""
    known = URGENCY[incident.seen.severity if incident.seen else incident.severity]
    severities = "|".join(severity for severity, urgency in URGENCY.items() if urgency >= known)
    return Matcher("severity", severities, is_regex=True)


@dataclass(frozen=True, slots=True)
class Changes:
    """What has to be written to Alertmanager: silences to put there, and ids of silences that end."""

    put: Sequence[Silence]
    expire: Sequence[str]


def changes(silences: Sequence[Silence], wanted: Sequence[Wanted], incidents: Container[str]) -> Changes:
    """From the silences that there are to the wanted ones; `incidents` are the monitor's own.

    Silences of other monitors at the same Alertmanager stay as they are.
    """
    put = []
    for each in wanted:
        like = [silence.id for silence in silences if each.is_like(silence)]
        if not any(map(each.is_met_by, silences)):
            put.append(replace(each.silence, id=like[0] if like else ""))
    over = [
        silence.id
        for silence in silences
        if silence.is_own
        and silence.incident in incidents
        and not any(each.is_like(silence) for each in wanted)
    ]
    return Changes(put, over)


class AlertmanagerSilences:
    """Reads and writes the silences of one Alertmanager; a request takes `seconds` at most.

    Every method raises SilencesUnavailable, whose text has no part of the URL, which may hold a secret.
    """

    def __init__(self, url: SecretStr, seconds: float) -> None:
        self._url, self._seconds = url.get_secret_value().rstrip("/"), seconds

    def read(self) -> list[Silence]:
        """Those in force."""
        url = self._url + SILENCES
        answer = self._attempt(lambda: get(url, self._seconds, MOST_BYTES, direct=False))
        try:
            return read_silences(answer.body)
        except ValueError as error:
            raise SilencesUnavailable(str(error)) from error

    def put(self, silence: Silence) -> None:
        """Make a silence, or change the one with its id."""
        body = msgspec.json.encode(silence.as_sent())
        self._attempt(lambda: post(self._url + SILENCES, body, self._seconds))

    def expire(self, id_: str) -> None:
        """End a silence."""
        self._attempt(lambda: delete(self._url + SILENCE + quote(id_, safe=""), self._seconds))

    def _attempt(self, request: Callable[[], Answer]) -> Answer:
        try:
            answer = request()
        except TimeoutError as error:
            raise SilencesUnavailable(f"no complete answer within {self._seconds:g} s") from error
        except AnswerTooLong as error:
            raise SilencesUnavailable(f"the silences have more than {MOST_BYTES} bytes") from error
        except Exception as error:
            said = "" if quotes_url(error) else explanation(str(error).encode(), self._url)
            raise SilencesUnavailable(f"{type(error).__name__}{said}") from error
        if not answer.is_success:
            raise SilencesUnavailable(Attempt.of_answer(answer, self._url).answered)
        return answer
