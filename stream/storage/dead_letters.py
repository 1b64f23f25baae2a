"""The dead letters in SQL: finding them, counting them, and noting which were sent again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, func, select, tuple_, update

from stream.domain.errors import LeaseLost
from stream.storage import schema
from stream.storage.database import reading, writing
from stream.storage.leases import Lease

TABLE = schema.dead_letters
IDENTITY = tuple(TABLE.primary_key.columns)


@dataclass(frozen=True, slots=True)
class LetterPosition:
    """Where a dead letter is: TOPIC/PARTITION/OFFSET, and /ELEMENT for a document of an array."""

    topic: str
    partition: int
    offset: int
    element: int | None = None

    @classmethod
    def parse(cls, text: str) -> "LetterPosition":
        """Raises ValueError."""
        topic, *numbers = text.strip().split("/")
        if not topic or len(numbers) not in (2, 3) or not all(number.isdecimal() for number in numbers):
            raise ValueError(
                f"{text!r}: TOPIC/PARTITION/OFFSET was expected, or TOPIC/PARTITION/OFFSET/ELEMENT for a "
                "document of an array, such as news/0/17"
            )
        return cls(topic, *map(int, numbers))

    def __str__(self) -> str:
        numbers = (self.partition, self.offset, *(() if self.element is None else (self.element,)))
        return "/".join([self.topic, *map(str, numbers)])


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as it is stored; `in_array` is None in one of an older version, which did not note it."""

    incarnation: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    item: int
    in_array: bool | None
    key: str | None
    reason: str
    detail: str
    seen_at: datetime
    sent_at: datetime | None
    traceparent: str | None

    @property
    def identity(self) -> tuple[str, str, int, int, int]:
        return self.incarnation, self.kafka_topic, self.kafka_partition, self.kafka_offset, self.item

    @property
    def position(self) -> LetterPosition:
        is_element = self.in_array if self.in_array is not None else self.item > 0
        return LetterPosition(
            self.kafka_topic, self.kafka_partition, self.kafka_offset, self.item if is_element else None
        )


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: all that match every given part.  `since` and `until` are times of refusal."""

    topics: Sequence[str] = ()
    reasons: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    unsent: bool = False

    @property
    def condition(self) -> ColumnElement[bool]:
        return and_(
            True,
            *([TABLE.c.kafka_topic.in_(self.topics)] if self.topics else []),
            *([TABLE.c.reason.in_(self.reasons)] if self.reasons else []),
            *([TABLE.c.seen_at >= self.since] if self.since else []),
            *([TABLE.c.seen_at < self.until] if self.until else []),
            *([TABLE.c.sent_at.is_(None)] if self.unsent else []),
        )


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many dead letters have a reason, how many of them were sent again, and when they were refused."""

    reason: str
    letters: int
    sent: int
    first: datetime
    last: datetime


def count_letters(engine: Engine, wanted: LetterFilter) -> int:
    """How many dead letters match.  Raises StoreUnavailable."""
    with reading(engine) as connection:
        return int(connection.scalar(select(func.count()).select_from(TABLE).where(wanted.condition)) or 0)


def count_by_reason(engine: Engine, wanted: LetterFilter) -> list[ReasonCount]:
    """The counts of the matching dead letters, the most frequent reason first.  Raises StoreUnavailable."""
    seen, n = TABLE.c.seen_at, func.count()
    query = select(TABLE.c.reason, n, func.count(TABLE.c.sent_at), func.min(seen), func.max(seen))
    query = query.where(wanted.condition).group_by(TABLE.c.reason).order_by(n.desc(), TABLE.c.reason)
    with reading(engine) as connection:
        return [ReasonCount(*row) for row in connection.execute(query)]


def latest_letters(engine: Engine, wanted: LetterFilter, limit: int) -> list[StoredLetter]:
    """The dead letters that were refused last, at most `limit`, newest first.  Raises StoreUnavailable."""
    order = [TABLE.c.seen_at.desc(), *(column.desc() for column in IDENTITY)]
    with reading(engine) as connection:
        return _letters(connection.execute(_select(wanted.condition).order_by(*order).limit(limit)))


def letters_at(engine: Engine, position: LetterPosition) -> list[StoredLetter]:
    """The dead letters of a position: several of an array, if no element is named.

    A topic that was made again has its own; those of the incarnation that was refused last are returned.
    Raises StoreUnavailable.
    """
    condition = and_(
        TABLE.c.kafka_topic == position.topic,
        TABLE.c.kafka_partition == position.partition,
        TABLE.c.kafka_offset == position.offset,
        *([TABLE.c.item == position.element] if position.element is not None else []),
    )
    with reading(engine) as connection:
        letters = _letters(connection.execute(_select(condition).order_by(TABLE.c.seen_at.desc())))
    latest = [letter for letter in letters if letter.incarnation == letters[0].incarnation]
    return sorted(latest, key=lambda letter: letter.item)


def in_chunks(engine: Engine, wanted: LetterFilter, size: int) -> Iterator[list[StoredLetter]]:
    """The matching dead letters in the order of their positions, up to `size` at a time.

    Each chunk is read when it is asked for.  Raises StoreUnavailable.
    """
    after: StoredLetter | None = None
    while True:
        condition = wanted.condition
        if after is not None:
            condition = and_(condition, tuple_(*IDENTITY) > after.identity)
        with reading(engine) as connection:
            letters = _letters(connection.execute(_select(condition).order_by(*IDENTITY).limit(size)))
        if not letters:
            return
        yield letters
        after = letters[-1]


def mark_sent(engine: Engine, letters: Sequence[StoredLetter], now: datetime, lease: Lease) -> None:
    """Note that these were sent again.  Raises LeaseLost and StoreUnavailable; nothing is noted then."""
    if not letters:
        return
    with writing(engine) as connection:
        if not lease.renew(connection):
            raise LeaseLost("another `monitor dead-letters send` is running")
        same = tuple_(*IDENTITY).in_([letter.identity for letter in letters])
        connection.execute(update(TABLE).where(same).values(sent_at=now))


def _select(condition: ColumnElement[bool]) -> Any:
    return select(*[TABLE.c[name] for name in StoredLetter.__slots__]).where(condition)


def _letters(rows: Any) -> list[StoredLetter]:
    return [StoredLetter(*row) for row in rows]
