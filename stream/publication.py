"""When a document was published, and how exactly that is known.

Feeds stamp to the second, with a date alone, or not at all.  A date becomes midnight, and a text without a
time gets that of its Kafka message, so that reading it again gives the same.  Both say so in their precision,
since a day's worth of texts at 00:00 is no surge.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from stream.domain.documents import EPOCH, Precision
from stream.domain.errors import DeadLetterReason, Rejected

ZonedTime = Annotated[datetime, msgspec.Meta(tz=True)]
UNKNOWN_TIMESTAMP = -1
# Looking up a member of an enum takes as long as the rest of what an exact time needs.
EXACT = Precision.EXACT
DATE = re.compile(r"\s*(\d{4}-\d{2}-\d{2})(Z|[+-]\d{2}:?\d{2})?\s*", re.IGNORECASE)
NULL = b"null"
# The zone furthest ahead of UTC: a date can be a day ahead there, and a local time that claims to be UTC.
FURTHEST_ZONE = timedelta(hours=14)
ZONE_STEP, TRAVEL_TIME = timedelta(minutes=30), timedelta(minutes=10)
LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PublicationReader:
    """`max_ahead` is how far in the future a time may be.  A text stamped midnight sharp, in its own offset,
    that arrives more than `midnight_delay` later has only a date."""

    max_ahead: timedelta
    midnight_delay: timedelta

    def read(
        self, sent: datetime | None, declared: Precision | None, now: datetime, timestamp: int
    ) -> tuple[datetime, Precision]:
        """When a document was published (aware UTC), and how exactly that is known: from the time and the
        precision in its message, and its Kafka timestamp (milliseconds since 1970).  Raises Rejected.
        """
        if sent is None:
            at, precision = _first_seen(timestamp), Precision.SEEN
        else:
            try:
                at, precision = sent.astimezone(UTC), EXACT
            except OverflowError as error:
                detail = f"published_at {sent} is out of range"
                raise Rejected(DeadLetterReason.INVALID_TIME, detail) from error
            is_midnight = not (sent.hour or sent.minute or sent.second or sent.microsecond)
            if declared is not None or is_midnight:
                at, precision = self._inexact(at, declared, now, timestamp)
        if at > now + self.max_ahead:
            raise Rejected(
                DeadLetterReason.FAR_FUTURE, f"published_at {at.isoformat()} is {_ahead(at - now)}"
            )
        return at, precision

    def _inexact(
        self, at: datetime, declared: Precision | None, now: datetime, timestamp: int
    ) -> tuple[datetime, Precision]:
        """The same for a time at midnight sharp, or with a precision that the feed declares."""
        arrived = arrival(timestamp)
        if declared is None:
            has_date_only = arrived is None or arrived - at > self.midnight_delay
            return at, Precision.DAY if has_date_only else Precision.EXACT
        if declared is Precision.DAY and timedelta(0) < at - (arrived or now) <= FURTHEST_ZONE:
            # Further east the day has begun.
            return arrived or now, Precision.SEEN
        return at, declared


def _first_seen(timestamp: int) -> datetime:
    arrived = arrival(timestamp)
    if arrived is None:
        detail = "no published_at, and the Kafka message has no timestamp either"
        raise Rejected(DeadLetterReason.MISSING_FIELD, detail)
    return arrived


def arrival(timestamp: int) -> datetime | None:
    """The time of a Kafka timestamp; None if the message has none, or it is out of range."""
    if timestamp < 0:
        return None
    try:
        return EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return None


def read_time(raw: msgspec.Raw) -> tuple[datetime | None, Precision | None]:
    """A time in JSON of any type, and its precision if that is plain.

    None stands for null and for an empty text.  Raises Rejected for what is no time.
    """
    value = bytes(raw)
    if value == NULL:
        return None, None
    text: str | None = None
    try:
        text = msgspec.json.decode(raw, type=str)
        if not text.strip():
            return None, None
        if date := DATE.fullmatch(text):
            return datetime.fromisoformat(f"{date[1]}T00:00:00{(date[2] or 'Z').upper()}"), Precision.DAY
        return msgspec.convert(text.strip(), ZonedTime), None
    except (ValueError, RecursionError) as error:
        shown = value[:LONGEST_SHOWN].decode("utf-8", "replace")
        detail = f"published_at {shown} is not an RFC 3339 time with an offset, such as Z or +08:00: {error}"
        raise Rejected(DeadLetterReason.INVALID_TIME, detail) from error


def _ahead(ahead: timedelta) -> str:
    """How far a time is ahead, and what may be the reason."""
    steps = round((ahead + TRAVEL_TIME / 2) / ZONE_STEP)
    is_zone = steps > 0 and abs(ahead + TRAVEL_TIME / 2 - steps * ZONE_STEP) <= TRAVEL_TIME
    if is_zone and steps * ZONE_STEP <= FURTHEST_ZONE:
        hours = steps * ZONE_STEP / timedelta(hours=1)
        return f"{hours:g} h ahead of the clock: local time with Z?"
    return f"{ahead - ahead % timedelta(seconds=1)} ahead of the clock"
