"""Rows of the tables of incidents and their pages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select

from stream.domain.alerts import Severity
from stream.domain.errors import IncidentChanged, LeaseLost
from stream.domain.incident_actions import Verdict
from stream.domain.incidents import Incident, Page, PageInputs, PageKind, SeenByDesk
from stream.storage import schema
from stream.storage.sql import dialect_insert

NAMES = tuple(field.name for field in fields(Incident))
# The fields that are lists in the database.
LISTS = ("lead_entities", "stories", "alerts", "paged_entities", "told")
# The fields that only the desk's actions change: an evaluation that read them before must not put them back.
DESK_NAMES = (
    "acknowledged_at",
    "acknowledged_by",
    "assigned_to",
    "quiet_until",
    "closed_at",
    "closed_by",
    "verdict",
    "seen",
    "actions",
)


def save_incidents(connection: Connection, incidents: Sequence[Incident], pages: Sequence[Page]) -> None:
    """Save changed incidents, and add pages of theirs.

    What the desk said of them stays.  Raises LeaseLost if another monitor paged one of them since it was
    read, IncidentChanged if somebody acted on one: what they said may forbid a page.
    """
    if incidents:
        _check_unchanged(connection, incidents, pages)
        statement = dialect_insert(connection, schema.incidents)
        changes = {name: statement.excluded[name] for name in NAMES if name not in ("id", *DESK_NAMES)}
        upsert = statement.on_conflict_do_update(index_elements=["id"], set_=changes)
        connection.execute(upsert, list(map(incident_row, incidents)))
    if pages:
        connection.execute(schema.pages.insert(), list(map(_page_row, pages)))


def _check_unchanged(connection: Connection, incidents: Sequence[Incident], pages: Sequence[Page]) -> None:
    table, new = schema.incidents, Counter(page.incident for page in pages)
    read = {incident.id: incident for incident in incidents}
    query = select(table.c.id, table.c.paged_number, table.c.actions).where(table.c.id.in_(sorted(read)))
    for id_, number, actions in connection.execute(query.order_by(table.c.id).with_for_update()):
        if number != read[id_].paged_number - new[id_]:
            raise LeaseLost(f"another monitor has sent page {number} of incident {id_} meanwhile")
        if actions != read[id_].actions:
            raise IncidentChanged(f"somebody acted on incident {id_} while the rules were evaluated")


def read_incidents(connection: Connection, query: Select[Any]) -> list[Incident]:
    """The incidents that a query on all columns of their table finds."""
    return [_incident(dict(row._mapping)) for row in connection.execute(query)]


def read_pages(connection: Connection, query: Select[Any]) -> list[Page]:
    """The pages that a query on all columns of their table finds."""
    return [_page(row) for row in connection.execute(query)]


def incident_row(incident: Incident) -> dict[str, Any]:
    """An incident as the columns of its table."""
    row = {name: getattr(incident, name) for name in NAMES} | {
        name: list(getattr(incident, name)) for name in LISTS
    }
    return row | {"seen": incident.seen and _as_json(incident.seen)}


def _incident(row: dict[str, Any]) -> Incident:
    row |= {name: tuple(row[name]) for name in LISTS}
    paged, verdict, seen = row["paged_severity"], row["verdict"], row["seen"]
    return Incident(
        **row
        | {
            "severity": Severity(row["severity"]),
            "paged_severity": paged and Severity(paged),
            "verdict": verdict and Verdict(verdict),
            "seen": seen and msgspec.convert(seen, SeenByDesk),
        }
    )


def _page_row(page: Page) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: getattr(page, field.name) for field in fields(Page)}
    return row | {"message": _as_json(page.message), "inputs": _as_json(page.inputs)}


def _as_json(value: Mapping[str, Any] | PageInputs | SeenByDesk) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _page(row: Any) -> Page:
    inputs = msgspec.convert(row.inputs, PageInputs)
    return Page(row.key, row.incident, PageKind(row.kind), row.number, row.at, row.message, inputs)
