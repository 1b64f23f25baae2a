"""How fresh the stored data are: when texts came last, how many a second, and how far behind they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from stream.domain.documents import HEARTBEAT_SOURCE, Precision
from stream.storage import schema
from stream.storage.database import reading

# The rate is that of so long a time.
RATE_WINDOW = timedelta(seconds=30)
# The delay is the median of so many texts, those that came last.
DELAY_TEXTS = 40
# Without a text for so long, data are called old.
SILENCE = timedelta(minutes=15)
# Texts that take so long from their publication to the database are called late.
LATE = timedelta(minutes=5)


@dataclass(frozen=True)
class Freshness:
    """The state of the data at `at`.

    `per_second` counts the texts received lately.  `delay` is the median time from publication to the
    database of the latest texts whose time of publication is exact; None without any.  `stories_behind` is
    how long a text has waited for its story.
    """

    at: datetime
    last_received: datetime | None
    per_second: float
    delay: timedelta | None
    stories_behind: timedelta

    @property
    def silence(self) -> timedelta | None:
        """Since when no text came; None if none ever did."""
        return None if self.last_received is None else max(self.at - self.last_received, timedelta(0))

    @property
    def is_late(self) -> bool:
        """Whether what the pages show is old."""
        return self.is_silent or (self.behind or timedelta(0)) > LATE

    @property
    def is_silent(self) -> bool:
        """Whether texts have stopped coming."""
        return self.silence is None or self.silence > SILENCE

    @property
    def behind(self) -> timedelta | None:
        """How old the latest texts were when they were stored, or how long one has waited for its story."""
        return None if self.delay is None else max(self.delay, self.stories_behind)

    @property
    def text(self) -> str:
        """The state in a few words, such as `2.1 texts/s, 4 s behind`."""
        if self.silence is None:
            return "No text yet"
        if self.silence > RATE_WINDOW:
            return f"No text for {short_duration(self.silence)}"
        behind = "" if self.behind is None else f", {short_duration(self.behind)} behind"
        return f"{self.per_second:.2g} texts/s{behind}"


def short_duration(duration: timedelta) -> str:
    """In one unit, rounded down: 4 s, 12 min, 3 h, 2 days."""
    seconds = int(max(duration.total_seconds(), 0))
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def read_freshness(engine: Engine, now: datetime) -> Freshness:
    """The freshness now, from a few steps of indexes.  Raises StoreUnavailable."""
    with reading(engine) as connection:
        latest = _latest(connection)
        waiting = schema.story_inputs.c
        oldest = connection.scalar(select(func.min(waiting.received_at)).where(waiting.sequence.is_(None)))
        return Freshness(
            at=now,
            last_received=latest[0].received_at if latest else None,
            per_second=_count_since(connection, now - RATE_WINDOW) / RATE_WINDOW.total_seconds(),
            delay=_delay(latest),
            stories_behind=max(now - oldest, timedelta(0)) if oldest else timedelta(0),
        )


def _latest(connection: Connection) -> Sequence[Any]:
    table = schema.documents.c
    query = select(table.received_at, table.published_at, table.published_precision)
    query = query.where(table.source != HEARTBEAT_SOURCE).order_by(table.received_at.desc())
    rows: Sequence[Any] = connection.execute(query.limit(DELAY_TEXTS)).all()
    return rows


def _delay(latest: Sequence[Any]) -> timedelta | None:
    delays = [
        (row.received_at - row.published_at).total_seconds()
        for row in latest
        if row.published_precision == Precision.EXACT
    ]
    return timedelta(seconds=max(median(delays), 0)) if delays else None


def _count_since(connection: Connection, since: datetime) -> int:
    table = schema.documents.c
    query = select(func.count()).where(table.received_at >= since, table.source != HEARTBEAT_SOURCE)
    return int(connection.scalar(query) or 0)
