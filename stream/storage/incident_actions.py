"""What people did with incidents, in SQL: each action once, with who and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from stream.domain.alerts import OPEN_STATES, Alert
from stream.domain.errors import IncidentMissing
from stream.domain.incident_actions import Action, ActionKind, ActionRequest, Verdict
from stream.domain.incidents import MOST_ALERTS, Incident
from stream.storage import schema
from stream.storage.alerts import alert_of_row
from stream.storage.audit import AuditEntry, add_audit
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.incidents import DESK_NAMES, incident_row, read_incidents
from stream.storage.outbox import hold_pages, withdraw_pages

# A page shows so many actions of an incident, the latest; all are stored.
MOST_ACTIONS = 500


@dataclass(frozen=True, slots=True)
class Work:
    """An incident when somebody acts on it: its open alerts, and what was done since the actor looked."""

    incident: Incident
    alerts: Sequence[Alert]
    since: Sequence[Action]


@dataclass(frozen=True, slots=True)
class Done:
    """An action, and the incident after it.  It is `repeated` if the same request was carried out before."""

    incident: Incident
    action: Action
    repeated: bool = False


# Decides whether an action is possible, and what becomes of the incident.  What it raises ends the
# transaction.
Decide = Callable[[Work, ActionRequest, datetime], Done]


class IncidentActions:
    """The actions on incidents over SQL.  Every method raises StoreUnavailable if the database is away."""

    def __init__(self, store: Store, decide: Decide) -> None:
        self._engine, self._decide = store.engine, decide

    def act(self, incident: str, request: ActionRequest, now: datetime) -> Done:
        """Carry out a request, or find that it was carried out before.

        The incident is locked meanwhile, so that of two people who act at once one is the first, and the
        other learns it.  Raises IncidentMissing, what `decide` raises, and StoreRefused.
        """
        with writing(self._engine) as connection:
            before = _locked(connection, incident)
            again = _action_with_key(connection, incident, request.key)
            if again is not None:
                return Done(before, again, repeated=True)
            done = self._decide(_work(connection, before, request), request, now)
            _save(connection, before, done)
            _stop_pages(connection, done, now)
            return done

    def of(self, incident: str) -> list[Action]:
        """The latest actions of an incident, the oldest first."""
        table = schema.incident_actions
        query = select(table).where(table.c.incident == incident).order_by(table.c.number.desc())
        with reading(self._engine) as connection:
            return read_actions(connection, query.limit(MOST_ACTIONS))[::-1]


def read_actions(connection: Connection, query: Any) -> list[Action]:
    """The actions that a query on all columns of their table finds."""
    return [_action(dict(row._mapping)) for row in connection.execute(query)]


def _locked(connection: Connection, incident: str) -> Incident:
    table = schema.incidents
    found = read_incidents(connection, select(table).where(table.c.id == incident).with_for_update())
    if not found:
        raise IncidentMissing(f"there is no incident {incident}")
    return found[0]


def _action_with_key(connection: Connection, incident: str, key: str) -> Action | None:
    table = schema.incident_actions
    query = select(table).where(table.c.incident == incident, table.c.key == key)
    return next(iter(read_actions(connection, query)), None)


def _work(connection: Connection, incident: Incident, request: ActionRequest) -> Work:
    alerts, actions = schema.alerts, schema.incident_actions
    is_open = select(alerts).where(alerts.c.incident == incident.id, alerts.c.state.in_(OPEN_STATES))
    found = [alert_of_row(row) for row in connection.execute(is_open.limit(MOST_ALERTS))]
    if request.expected is None:
        return Work(incident, found, ())
    later = select(actions).where(actions.c.incident == incident.id, actions.c.number > request.expected)
    return Work(incident, found, read_actions(connection, later.order_by(actions.c.number)))


def _save(connection: Connection, before: Incident, done: Done) -> None:
    action, row = done.action, incident_row(done.incident)
    values = {field.name: getattr(action, field.name) for field in fields(Action)}
    connection.execute(insert(schema.incident_actions).values(**values))
    add_audit(connection, _audit_entry(action))
    changes = {name: row[name] for name in DESK_NAMES}
    connection.execute(update(schema.incidents).where(schema.incidents.c.id == before.id).values(**changes))


def _audit_entry(action: Action) -> AuditEntry:
    said = (action.assignee, action.until and action.until.isoformat(), action.verdict, action.text)
    detail = "; ".join(str(each) for each in said if each)
    return AuditEntry(action.at, action.actor, f"incident.{action.kind}", action.incident, detail)


def _stop_pages(connection: Connection, done: Done, now: datetime) -> None:
    """Pages that wait are not sent to people who know, and not before the quiet is over."""
    if done.action.kind in (ActionKind.ACKNOWLEDGE, ActionKind.CLOSE):
        withdraw_pages(connection, done.incident.id, now)
    elif done.action.kind is ActionKind.QUIET and done.action.until is not None:
        hold_pages(connection, done.incident.id, done.action.until)


def _action(row: dict[str, Any]) -> Action:
    verdict = row["verdict"]
    return Action(**row | {"kind": ActionKind(row["kind"]), "verdict": verdict and Verdict(verdict)})
