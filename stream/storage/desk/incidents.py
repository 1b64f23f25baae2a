"""Lists of incidents, open and past, and what happened in one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, exists, or_, select, tuple_

from stream.domain.alerts import Severity
from stream.domain.incidents import MOST_ALERTS, Incident
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading
from stream.storage.incidents import read_incidents

# So many changes of alerts are shown of one incident, the latest.
MOST_TRANSITIONS = 500


class Which(StrEnum):
    """Which incidents a list has: those that somebody may have to do something about, the others, or all."""

    OPEN = "open"
    PAST = "past"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """What a list is restricted to.  An incident is of the rules and topics of its alerts, and of the
    entities that they are about or that lead it."""

    which: Which = Which.ALL
    rule: str | None = None
    topic: str | None = None
    entity: str | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class ListedIncident:
    """An incident with the rules and topics of its alerts, and the names of its leading entities that are
    known."""

    incident: Incident
    rules: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A change of the state of one alert of an incident."""

    at: datetime
    rule: str
    topic: str
    entity: str | None
    state: str
    summary: str


# Where a list goes on: when the last incident of the part before began, and its id.
Position = tuple[datetime, str]


def list_incidents(
    store: Store, wanted: IncidentFilter, limit: int, after: Position | None = None
) -> list[ListedIncident]:
    """The incidents of a filter, those that began last first, `limit` at most; they go on after a position.

    Raises StoreUnavailable.
    """
    table = schema.incidents
    query = select(table).where(*_conditions(wanted))
    if after is not None:
        query = query.where(tuple_(table.c.began_at, table.c.id) < after)
    query = query.order_by(table.c.began_at.desc(), table.c.id.desc()).limit(limit)
    with reading(store.engine) as connection:
        return _listed(connection, read_incidents(connection, query))


def listed_incident(store: Store, id_: str) -> ListedIncident | None:
    """The incident with this id, as a list has it; None if there is none.  Raises StoreUnavailable."""
    if "\0" in id_:  # PostgreSQL stores none
        return None
    query = select(schema.incidents).where(schema.incidents.c.id == id_)
    with reading(store.engine) as connection:
        return next(iter(_listed(connection, read_incidents(connection, query))), None)


def alert_changes(store: Store, alerts: Sequence[str]) -> list[AlertChange]:
    """How the states of these alerts changed, the latest changes, the oldest first.

    Raises StoreUnavailable.
    """
    table = schema.alert_transitions
    columns = (table.c.at, table.c.rule, table.c.topic, table.c.entity, table.c.state, table.c.summary)
    query = select(*columns).where(table.c.alert_id.in_(alerts[:MOST_ALERTS]))
    with reading(store.engine) as connection:
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(MOST_TRANSITIONS))
        return [AlertChange(*row) for row in rows][::-1]


def _conditions(wanted: IncidentFilter) -> list[ColumnElement[bool]]:
    table = schema.incidents
    is_open = and_(table.c.ended_at.is_(None), table.c.closed_at.is_(None))
    conditions: list[ColumnElement[bool]] = []
    if wanted.which is Which.OPEN:
        conditions.append(is_open)
    elif wanted.which is Which.PAST:
        conditions.append(or_(table.c.ended_at.is_not(None), table.c.closed_at.is_not(None)))
    if wanted.severity is not None:
        conditions.append(table.c.severity == wanted.severity)
    if wanted.rule is not None:
        conditions.append(_has_alert(schema.alerts.c.rule == wanted.rule))
    if wanted.topic is not None:
        conditions.append(_has_alert(schema.alerts.c.topic == wanted.topic))
    if wanted.entity is not None:
        leads = cast(table.c.lead_entities, Text).contains(json.dumps(wanted.entity), autoescape=True)
        conditions.append(or_(leads, _has_alert(schema.alerts.c.entity == wanted.entity)))
    return conditions


def _has_alert(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(schema.alerts.c.incident == schema.incidents.c.id, condition)


def _listed(connection: Connection, incidents: Sequence[Incident]) -> list[ListedIncident]:
    alerts, entities = schema.alerts.c, schema.entities.c
    query = select(alerts.incident, alerts.rule, alerts.topic).distinct()
    query = query.where(alerts.incident.in_([incident.id for incident in incidents]))
    rows: list[Any] = sorted(connection.execute(query), key=tuple)
    led_by = sorted({entity for incident in incidents for entity in incident.lead_entities})
    named = select(entities.id, entities.name).where(entities.id.in_(led_by))
    names = {row.id: row.name for row in connection.execute(named)}
    return [
        ListedIncident(
            incident,
            tuple(dict.fromkeys(row.rule for row in rows if row.incident == incident.id)),
            tuple(dict.fromkeys(row.topic for row in rows if row.incident == incident.id)),
            tuple(names[entity] for entity in incident.lead_entities if entity in names),
        )
        for incident in incidents
    ]
