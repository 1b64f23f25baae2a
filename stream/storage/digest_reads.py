"""What the digest of a day reads: its incidents, and what was seen for the first time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Engine, and_, func, or_, select
from sqlalchemy.orm import aliased

from stream.domain.documents import HEARTBEAT_SOURCE
from stream.domain.incidents import Headline, Incident, StoryBegun
from stream.domain.sums import TimeRange, window_start
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.entity_reads import parts_of
from stream.storage.incidents import read_incidents
from stream.storage.sql import within


class DigestReader:
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def incidents(self, time: TimeRange, limit: int) -> tuple[list[Incident], int]:
        """The incidents that were open in the time range, at most so many, those that began last; in order,
        with the number of all."""
        table = schema.incidents
        was_open = (
            table.c.began_at < time.end,
            or_(table.c.ended_at.is_(None), table.c.ended_at >= time.start),
        )
        query = select(table).where(*was_open).order_by(table.c.began_at.desc(), table.c.id)
        with reading(self.engine) as connection:
            count = connection.scalar(select(func.count()).select_from(table).where(*was_open))
            return read_incidents(connection, query.limit(limit))[::-1], int(count or 0)

    def stories_begun(self, time: TimeRange, limit: int) -> list[StoryBegun]:
        """The stories of two voices or more that were first seen in the time range, at most so many, those
        with the most voices first.  Those whose texts were erased are left out."""
        table = schema.stories
        first, central = aliased(schema.documents), aliased(schema.documents)
        text = func.coalesce(func.nullif(central.c.title, ""), central.c.text)
        query = (
            select(table, text.label("text"), central.c.source, first.c.source.label("first_source"))
            .join(first, first.c.key == table.c.first_key)
            .join(central, central.c.key == table.c.central_key)
            .where(within(table.c.first_seen_at, *time), table.c.id > 0)
            .where(table.c.merged_into.is_(None), table.c.voices > 1, text != "")
            .order_by(table.c.voices.desc(), table.c.documents.desc(), table.c.id)
        )
        with reading(self.engine) as connection:
            return [
                StoryBegun(
                    Headline(row.id, row.text, row.source, row.first_seen_at, row.first_source),
                    row.voices,
                    row.documents,
                )
                for row in connection.execute(query.limit(limit))
            ]

    def entities_before(self, entities: Sequence[str], time: datetime) -> set[str]:
        """Which of these entities a document was about that was published before the hour of this time."""
        table, known = schema.entity_aggregates, set[str]()
        day, hour = (window_start(time, timedelta(seconds=width)) for width in (schema.DAY, schema.HOUR))
        before = or_(
            and_(table.c.width == schema.DAY, table.c.window_start < day),
            and_(table.c.width == schema.HOUR, table.c.window_start >= day, table.c.window_start < hour),
        )
        with reading(self.engine) as connection:
            for part in parts_of(entities):
                query = select(table.c.entity).distinct().where(table.c.entity.in_(part), before)
                known |= set(connection.scalars(query))
        return known

    def was_queued(self, key: str, targets: Sequence[str]) -> bool:
        """Whether a page with this key was queued for one of these receivers."""
        table = schema.deliveries
        query = select(table.c.key).where(table.c.key == key, table.c.target.in_(targets)).limit(1)
        with reading(self.engine) as connection:
            return connection.scalar(query) is not None

    def record_begins(self) -> datetime | None:
        """When the first document was published that is no heartbeat; None without any."""
        table = schema.documents
        query = select(table.c.published_at).where(table.c.source != HEARTBEAT_SOURCE)
        with reading(self.engine) as connection:
            first: datetime | None = connection.scalar(query.order_by(table.c.published_at).limit(1))
        return first
