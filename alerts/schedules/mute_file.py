"""The file of planned mutes: YAML in, mutes out, and errors that name file, line and mute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from alerts.detectors.base import ALL_TOPICS, Names, Text
from alerts.errors import MuteError, RuleError
from alerts.rules.rule_file import fingerprint
from alerts.rules.rule_yaml import as_data, compose, did_you_mean, field_message, line_at, repeated_key_errors
from alerts.rules.watched_entities import ResolveEntity, any_entity, checked_ids
from alerts.schedules.local_times import first_at, over_at
from alerts.schedules.mutes import EVER, Mute, Mutes, Recurrence
from stream.domain.alerts import Alert
from stream.domain.files.small_files import shorten_text, show_value
from stream.domain.sums import TimeRange

MOST_MUTES = 1000
# How many errors of a file are shown.
MOST_ERRORS = 20
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
RECURRING = ("times", "weekdays", "days_of_month", "months")


def parse_times(value: object) -> object:
    """The two times of the day of a text such as 22:00-02:00.  Raises ValueError."""
    try:
        start, end = (time.fromisoformat(part.strip()) for part in str(value).split("-"))
    except ValueError as error:
        raise ValueError("write two times of the day: 22:00-02:00") from error
    if start.tzinfo or end.tzinfo:
        raise ValueError("times of the day have no offset: name a timezone")
    return start, end


def parse_moment(value: object) -> object:
    """The time that a text such as 2026-12-05 22:00 means.  Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise ValueError("write a time such as 2026-12-05 22:00 or 2026-12-05T22:00:00+01:00") from error


Moment = Annotated[AwareDatetime | NaiveDatetime, BeforeValidator(parse_moment)]


@dataclass(frozen=True)
class KnownNames:
    """What mutes may name: the topics and rules (empty: any) and the entities; and the time zone of mutes
    that name none."""

    topics: Sequence[str] = ()
    rules: Sequence[str] = ()
    time_zone: str = "UTC"
    resolve: ResolveEntity = any_entity

    def unknown(self, names: Sequence[str], known: Sequence[str]) -> list[str]:
        """What is wrong with the names that are not known."""
        unknown = [name for name in names if known and name not in known]
        return [f"{show_value(name)}{did_you_mean(name, known)}" for name in unknown]


class MuteEntry(BaseModel):
    """One entry of the file of mutes, as people write it.

    `reason` says why, for those who wonder about the quiet.  `rules`, `topics` and `entities` are what it is
    for; without them, everything.  It holds from `from` until `until`, or recurs at `times` of the days that
    `weekdays`, `days_of_month` (-1 is the last) and `months` allow, all by the clocks of `timezone`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(min_length=1, max_length=100)
    reason: Text = Field(min_length=1)
    rules: Names = ()
    topics: Names = ()
    entities: Names = ()
    begins: Moment | None = Field(None, alias="from")
    ends: Moment | None = Field(None, alias="until")
    times: Annotated[tuple[time, time], BeforeValidator(parse_times)] | None = None
    weekdays: tuple[Weekday, ...] = Field((), max_length=7)
    days_of_month: tuple[Annotated[int, Field(ge=-31, le=31)], ...] = Field((), max_length=62)
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field((), max_length=12)
    timezone: str | None = Field(None, max_length=100)

    @property
    def recurs(self) -> bool:
        return any(getattr(self, name) for name in RECURRING)

    def mute(self, time_zone: str) -> Mute:
        """The mute that it means.  Raises ValueError."""
        zone = ZoneInfo(self.timezone or time_zone)
        bounds = TimeRange(
            EVER.start if self.begins is None else _instant(self.begins, zone, first_at),
            EVER.end if self.ends is None else _instant(self.ends, zone, over_at),
        )
        if bounds.start >= bounds.end:
            raise ValueError("until must be later than from")
        start, end = self.times or (time(), time())
        recurrence = Recurrence(
            zone,
            start,
            end,
            tuple(map(WEEKDAYS.index, self.weekdays)),
            self.days_of_month,
            self.months,
        )
        return Mute(
            self.name,
            self.reason,
            bounds,
            recurrence if self.recurs else None,
            self.rules,
            self.topics,
            self.entities,
        )

    @field_validator("rules", "topics")
    @classmethod
    def _names_are_known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = _known(info)
        allowed = known.rules if info.field_name == "rules" else known.topics and (*known.topics, ALL_TOPICS)
        if problems := known.unknown(names, allowed):
            raise ValueError(f"unknown: {', '.join(problems)}; known: {', '.join(allowed)}")
        return names

    @field_validator("entities")
    @classmethod
    def _entities_are_known(cls, ids: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return checked_ids(ids, _known(info).resolve)

    @field_validator("days_of_month")
    @classmethod
    def _no_day_is_0(cls, days: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in days:
            raise ValueError("days are 1 to 31, or -1 for the last day of the month to -31")
        return days

    @field_validator("timezone")
    @classmethod
    def _time_zone_exists(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (OSError, LookupError, ValueError) as error:
                raise ValueError("there is no such time zone; use a name such as America/New_York") from error
        return name

    @model_validator(mode="after")
    def _times_are_complete(self) -> "MuteEntry":
        if not self.recurs and (self.begins is None or self.ends is None):
            raise ValueError(
                f"a mute needs from and until, or what recurs: {', '.join(RECURRING)}; one without an end "
                "would hide alerts for ever"
            )
        if self.topics and self.entities:
            raise ValueError("an alert is on a topic or about an entity: leave topics or entities out")
        return self


def _instant(moment: datetime, zone: ZoneInfo, read: Callable[[datetime, ZoneInfo], datetime]) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else read(moment, zone)


def _known(info: ValidationInfo) -> KnownNames:
    return info.context if isinstance(info.context, KnownNames) else KnownNames()


def load_mutes(path: Path, known: KnownNames) -> Mutes:
    """The mutes of a file.

    Raises MuteError, and nothing else whatever the file holds: a running monitor reads it.  It has the errors
    of the file, a line each: file, line, mute, what is wrong.
    """
    try:
        return _load_mutes(path, known)
    except MuteError:
        raise
    except RuleError as error:  # what reads YAML for rule files says what is wrong with it
        raise MuteError(str(error)) from error
    except OSError as error:
        raise MuteError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        reason = shorten_text(str(error))
        raise MuteError(f"{path}: cannot be used: {type(error).__name__}: {reason}") from error


def _load_mutes(path: Path, known: KnownNames) -> Mutes:
    root = compose(path)
    errors = repeated_key_errors(path, root)
    found: dict[str, Mute] = {}
    for node in _entries(path, root):
        entry = as_data(path, node)
        name = entry.get("name", "(unnamed)") if isinstance(entry, dict) else "(unnamed)"
        mute, problems = _parse(entry, known)
        if mute is not None and mute.name in found:
            problems = [(("name",), "the name is taken")]
        elif mute is not None:
            found[mute.name] = mute
        errors += [f"{path}:{line_at(node, at)}: mute {show_value(name)}: {text}" for at, text in problems]
    if errors:
        rest = [f"{path}: and {len(errors) - MOST_ERRORS} more errors"] if len(errors) > MOST_ERRORS else []
        raise MuteError("\n".join([*errors[:MOST_ERRORS], *rest]))
    return Mutes(tuple(found.values()))


def _parse(entry: object, known: KnownNames) -> tuple[Mute | None, Sequence[tuple[Sequence[object], str]]]:
    """The mute that an entry means, or the location of each key that is wrong, and what is wrong with it."""
    if not isinstance(entry, dict):
        return None, [((), "expected a mapping with name, reason and times")]
    try:
        return MuteEntry.model_validate(entry, context=known).mute(known.time_zone), []
    except ValidationError as error:
        return None, [(detail["loc"], field_message(MuteEntry, detail)) for detail in error.errors()]
    except ValueError as error:
        return None, [(("until",), str(error))]


def _entries(path: Path, root: yaml.Node | None) -> Sequence[yaml.Node]:
    """The entries of a file; an empty list is no error: nothing is muted.  Raises MuteError."""
    if isinstance(root, yaml.MappingNode):
        keys = {str(key.value): value for key, value in root.value}
        mutes = keys.pop("mutes", None)
        if keys:
            raise MuteError(f"{path}:1: unknown key {show_value(next(iter(keys)))}; allowed: mutes")
        if isinstance(mutes, yaml.SequenceNode):
            if len(mutes.value) > MOST_MUTES:
                raise MuteError(f"{path}:1: {len(mutes.value):,} mutes; at most {MOST_MUTES:,} are allowed")
            return list(mutes.value)
    raise MuteError(f"{path}:1: expected a mapping with the key `mutes`, a list")


class MuteFile:
    """The mutes of a file, read again when it changes; a file with errors leaves the previous ones.

    A change is read when the file looks the same twice in a row: one that is being written may be valid
    halfway, with mutes missing.
    """

    def __init__(self, path: Path, known: KnownNames) -> None:
        """Raises MuteError."""
        self.path = path
        self._load = partial(load_mutes, path, known)
        self._seen = fingerprint(path)
        self._read: tuple[int, ...] | None = self._seen
        self.mutes = self._load()

    def is_muted(self, alert: Alert, now: datetime) -> bool:
        """Whether a mute, of those that were read last, keeps the alert quiet now."""
        return self.mutes.of(alert, now) is not None

    def expire(self) -> None:
        """Read the file at the next `changed`, whether it changed or not; from any thread."""
        self._read = None

    def changed(self) -> bool:
        """Whether the file was read again.  Raises MuteError, once for each change with errors."""
        before, self._seen = self._seen, fingerprint(self.path)
        if self._seen != before or self._seen == self._read:
            return False
        self._read = self._seen
        self.mutes = self._load()
        return True
