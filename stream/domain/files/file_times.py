"""The times that files hold: RFC 3339, local times, RFC 2822, numbers since 1970, days of Excel.

A time is never guessed.  A local time needs a zone, and a number that may be a day of Excel is no time in
1970.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# From here on a number is in seconds, milliseconds, microseconds, nanoseconds since 1970; each reaches the
# next one in the year 5138.  A smaller one is no time since 1973, and may be a day of Excel.
SMALLEST_SECONDS, SMALLEST_MILLISECONDS = 10**8, 10**11
SMALLEST_MICROSECONDS, SMALLEST_NANOSECONDS, TOO_LARGE = 10**14, 10**17, 10**20
# Excel counts days from here; its day 60, a 29 February 1900 that never was, is long past.
EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 (days of Excel are local)
EXCEL_DAYS = range(20_000, 110_000)  # from 1954 to 2201
# A date, and perhaps a time of day, in digits alone: no number of seconds since 1970 that makes sense.
COMPACT = re.compile(
    r"(?P<date>(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
    r"(?P<time>(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?P<milliseconds>(?<=\d{14})\d{3})?"
)
# No time is longer, and the time that the patterns take grows with the square of the length.
MAX_CHARACTERS = 100
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
# A year, a month and a day, then perhaps a time of day, then perhaps a zone.
DATE_AND_TIME = re.compile(
    r"(?P<year>\d{4})\s*[-/.年]\s*(?P<month>\d{1,2})\s*[-/.月]\s*(?P<day>\d{1,2})日?"
    r"(?:\s*\(?(?:周|週|星期)[一二三四五六日天]\)?)?"
    r"(?:[T\s]*(?P<half>上午|下午)?\s*(?P<hour>\d{1,2})[:时時点點](?P<minute>\d{1,2})分?"
    r"(?::?(?P<second>\d{1,2})(?:[.,](?P<fraction>\d+))?秒?)?\s*(?P<meridiem>[AP]M)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
RFC_2822 = re.compile(
    r"(?:[A-Z][a-z]{2},?\s+)?\d{1,2}\s+[A-Z][a-z]{2}\s+\d{4}\s+\d{1,2}:\d{2}(?::\d{2})?"
    r"(?:\s+(?P<zone>[+-]\d{4}|[A-Z]{1,5}))?(?:\s*\(.*\))?"
)
# As C writes it, and with a zone as Twitter and Weibo do.
CTIME = re.compile(
    r"[A-Z][a-z]{2}\s+(?P<month>[A-Z][a-z]{2})\s+(?P<day>\d{1,2})\s+(?P<time>\d{2}:\d{2}:\d{2})"
    r"(?:\s+(?P<zone>[+-]\d{4}|UTC|GMT))?\s+(?P<year>\d{4})"
)
# The names of zones that RFC 2822 knows, without CST, which is Chinese time as often as American.
KNOWN_ZONES = frozenset({"UT", "UTC", "GMT", "Z", "EST", "EDT", "CDT", "MST", "MDT", "PST", "PDT"})
FIXED_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How the times of a file are to be read.

    `zone` is that of local times; None if they are to be refused.  With `excel_days`, a number is a day of
    Excel.
    """

    zone: tzinfo | None = None
    excel_days: bool = False


@dataclass(frozen=True, slots=True)
class FileTime:
    """A time in UTC; `is_day` if the file has only its date."""

    at: datetime
    is_day: bool = False


def parse_zone(name: str) -> tzinfo:
    """The zone with an IANA name, or an offset such as +08:00.  Raises ValueError."""
    if offset := FIXED_OFFSET.fullmatch(name):
        delta = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    try:
        if offset:
            return timezone(-delta if offset[1] == "-" else delta)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; name one such as Asia/Shanghai, or +08:00") from error


def parse_time(value: object, times: TimeFormat) -> FileTime:
    """The time in a field of a file.  Raises ValueError, which says what helps."""
    try:
        if isinstance(value, bool):
            raise ValueError("neither a text nor a number")
        if isinstance(value, int | float):
            return _number(value, times)
        if isinstance(value, str):
            return _text(value, times)
    except OverflowError as error:
        raise ValueError("out of range") from error
    raise ValueError("neither a text nor a number")


def _text(value: str, times: TimeFormat) -> FileTime:
    value = value.strip()
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS} characters: no time is as long")
    try:
        # The usual form, with the quickest parser.
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return FileTime(at.astimezone(UTC))
    except ValueError:
        pass
    text = unicodedata.normalize("NFKC", value).strip()
    if compact := COMPACT.fullmatch(text):
        return _compact(compact, times)
    if NUMBER.fullmatch(text):
        return _number(float(text) if "." in text else int(text), times)
    if match := DATE_AND_TIME.fullmatch(text):
        return _date_and_time(match, times)
    if match := RFC_2822.fullmatch(text):
        return _rfc_2822(text, match["zone"], times)
    if match := CTIME.fullmatch(text):
        rfc_2822 = f"{match['day']} {match['month']} {match['year']} {match['time']} {match['zone'] or ''}"
        return _rfc_2822(rfc_2822.strip(), match["zone"], times)
    raise ValueError("not a time that is read: write it as 2026-03-01T09:30:00Z")


def _number(value: int | float, times: TimeFormat) -> FileTime:
    if times.excel_days:
        if not EXCEL_DAYS.start <= value < EXCEL_DAYS.stop:
            raise ValueError("no day of Excel between 1954 and 2201")
        # To the second: a day of Excel is a float, and its last digits are noise.
        at = EXCEL_EPOCH + timedelta(seconds=round(value * 86_400))
        return _local(at, times, is_day=value == int(value))
    if isinstance(value, int) and (compact := COMPACT.fullmatch(str(value)[:20])):
        return _compact(compact, times)
    size = abs(value)
    for smallest, unit in (
        (SMALLEST_NANOSECONDS, 10**9),
        (SMALLEST_MICROSECONDS, 10**6),
        (SMALLEST_MILLISECONDS, 10**3),
        (SMALLEST_SECONDS, 1),
    ):
        if smallest <= size < TOO_LARGE:
            seconds = value / unit if isinstance(value, float) else value // unit
            rest = 0 if isinstance(value, float) else value % unit * 10**6 // unit
            return FileTime(datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest))
    if EXCEL_DAYS.start <= value < EXCEL_DAYS.stop:
        raise ValueError("no time since 1970, but it may be a day of Excel: --excel-days reads it as one")
    raise ValueError("not a number of seconds, milliseconds, microseconds or nanoseconds since 1970")


def _compact(match: re.Match[str], times: TimeFormat) -> FileTime:
    day = date.fromisoformat(match["date"])
    at = datetime.combine(day, time.fromisoformat(match["time"]) if match["time"] else time())
    at += timedelta(milliseconds=int(match["milliseconds"] or 0))
    return _local(at, times, is_day=match["time"] is None)


def _date_and_time(match: re.Match[str], times: TimeFormat) -> FileTime:
    hour, half = int(match["hour"] or 0), match["half"] or (match["meridiem"] or "").upper()
    if half and not 1 <= hour <= 12:
        raise ValueError(f"{hour} is no hour of a clock with 12")
    if half:
        hour = hour % 12 + (12 if half in ("下午", "PM") else 0)
    at = datetime(  # noqa: DTZ001 (its zone follows)
        int(match["year"]),
        int(match["month"]),
        int(match["day"]),
        hour,
        int(match["minute"] or 0),
        int(match["second"] or 0),
        int((match["fraction"] or "").ljust(6, "0")[:6]),
    )
    zone = (match["zone"] or "").upper()
    if not zone:
        return _local(at, times, is_day=match["hour"] is None)
    if zone in ("Z", "UTC", "GMT"):
        return FileTime(at.replace(tzinfo=UTC), is_day=match["hour"] is None)
    return FileTime(at.replace(tzinfo=parse_zone(zone if len(zone) > 3 else f"{zone}:00")).astimezone(UTC))


def _rfc_2822(text: str, zone: str | None, times: TimeFormat) -> FileTime:
    if zone and zone.isalpha() and zone not in KNOWN_ZONES:
        raise ValueError(f"the zone {zone} has several meanings or none: write its offset, such as +0800")
    at = parsedate_to_datetime(text)
    if at.tzinfo is None and zone is not None:
        at = at.replace(tzinfo=UTC)  # -0000: UTC, and the sender's own zone is not known
    return _local(at, times) if at.tzinfo is None else FileTime(at.astimezone(UTC))


def _local(at: datetime, times: TimeFormat, *, is_day: bool = False) -> FileTime:
    """A date may do without a zone: it says no more than the day."""
    if times.zone is None and not is_day:
        raise ValueError("a local time without a zone: name the zone with --timezone, such as Asia/Shanghai")
    return FileTime(at.replace(tzinfo=times.zone or UTC).astimezone(UTC), is_day)
