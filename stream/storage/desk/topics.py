"""What the desk reads about one topic over time: sums, and the times of its alerts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Engine, cast, func, or_, select

from stream.domain.alerts import ENTITY_NAME
from stream.domain.documents import EPOCH
from stream.domain.sums import EVERYTHING, SUM_FIELDS, Aggregate, Selection, TimeRange
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.sql import bucket_number
from stream.storage.windows import sums_source

ALL = "all"
# So many alerts are drawn into one chart, the latest.
MOST_ALERTS = 200


@dataclass(frozen=True, slots=True)
class AlertTime:
    """When an alert fired, and the incident that it belongs to; `until` is None while it fires.

    `title` is that of the incident, empty if there is none.
    """

    id: str
    incident: str | None
    title: str
    rule: str
    severity: str
    subject: str
    since: datetime
    fired_at: datetime
    until: datetime | None
    summary: str


class Topics:
    """Queries over one engine; safe to share between threads.  `width` is the width of the base windows.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine, width: timedelta) -> None:
        self._engine, self._width = engine, width

    def has_texts(self, topic: str) -> bool:
        """Whether any text is on this topic, of whatever time."""
        table = schema.documents.c
        with reading(self._engine) as connection:
            return connection.scalar(select(table.topic).where(table.topic == topic).limit(1)) is not None

    def sums(self, topic: str, time: TimeRange, width: timedelta, selection: Selection) -> list[Aggregate]:
        """The sums over the texts of a topic, or of ALL, in each window of `width` that has any, in order.

        `width` is in whole seconds, a multiple of the base windows; windows are counted from the epoch.
        """
        seconds = int(width.total_seconds())
        source = sums_source(selection, *time, seconds)
        sums = [cast(func.sum(source.c[name]), BigInteger) for name in SUM_FIELDS]
        query = select(bucket_number(source.c.window_start, seconds).label("cell"), *sums)
        if topic != ALL:
            query = query.where(source.c.topic == topic)
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by("cell").order_by("cell")).all()
        return [Aggregate(EPOCH + number * width, topic, ALL, *totals) for number, *totals in rows]

    def live_windows(self, time: TimeRange, width: timedelta) -> list[datetime]:
        """The windows of `width` that have a text on any topic, by their starts, in order; see `sums`."""
        seconds = int(width.total_seconds())
        source = sums_source(EVERYTHING, *time, seconds)
        # Few of the rows differ in their start, and its number takes long to compute.
        starts = select(source.c.window_start).distinct().subquery()
        number = bucket_number(starts.c.window_start, seconds).label("cell")
        with reading(self._engine) as connection:
            numbers = connection.scalars(select(number).distinct().order_by(number))
            return [EPOCH + number * width for number in numbers]

    def alerts(self, topic: str, time: TimeRange) -> list[AlertTime]:
        """The alerts on a topic that fired in a time, at most MOST_ALERTS, the last ones; in order."""
        return self._alerts([schema.alerts.c.topic == topic, schema.alerts.c.entity.is_(None)], time)

    def alerts_about(self, entity: str, time: TimeRange) -> list[AlertTime]:
        """The same of an entity."""
        return self._alerts([schema.alerts.c.entity == entity], time)

    def _alerts(self, about: Sequence[ColumnElement[bool]], time: TimeRange) -> list[AlertTime]:
        table = schema.alerts.c
        is_in_time = (
            table.fired_at < time.end,
            or_(table.resolved_at.is_(None), table.resolved_at >= time.start),
        )
        incidents = schema.incidents.c
        query = select(
            *(table.id, table.incident, table.rule, table.severity, table.topic, table.entity, table.labels),
            *(table.since, table.fired_at, table.resolved_at, table.summary, incidents.title),
        ).select_from(schema.alerts.outerjoin(schema.incidents, incidents.id == table.incident))
        query = query.where(*about, *is_in_time).order_by(table.fired_at.desc(), table.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(MOST_ALERTS)).all()
        return [_alert_time(row) for row in rows[::-1]]


def _alert_time(row: Any) -> AlertTime:
    subject = row.topic if row.entity is None else (row.labels or {}).get(ENTITY_NAME, row.entity)
    return AlertTime(
        row.id,
        row.incident,
        row.title or "",
        row.rule,
        row.severity,
        subject,
        row.since,
        row.fired_at,
        row.resolved_at,
        row.summary,
    )
