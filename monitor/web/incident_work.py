"""The desk's actions on incidents, as the pages and the API carry them out."""

from datetime import datetime

from alerts.errors import ActionOutdated, ActionRefused
from alerts.incidents.actions import act
from monitor.web.errors import BadRequest, Conflict, NoSuch
from stream.domain.errors import IncidentMissing
from stream.domain.incident_actions import ActionRequest
from stream.storage.batches import Store
from stream.storage.incident_actions import Done, IncidentActions, Work


def incident_actions(store: Store) -> IncidentActions:
    """The actions over SQL, decided by `alerts`."""
    return IncidentActions(store, _decide)


def _decide(work: Work, request: ActionRequest, now: datetime) -> Done:
    return Done(*act(work.incident, work.alerts, work.since, request, now))


def carry_out(actions: IncidentActions, incident: str, request: ActionRequest, now: datetime) -> Done:
    """Carry out a request.  Raises NoSuch, BadRequest, Conflict if somebody else was first, StoreUnavailable
    and StoreRefused."""
    if "\0" in incident:  # PostgreSQL stores none
        raise NoSuch("no such incident")
    try:
        return actions.act(incident, request, now)
    except IncidentMissing as error:
        raise NoSuch("no such incident") from error
    except ActionOutdated as error:
        raise Conflict(str(error)) from error
    except ActionRefused as error:
        raise BadRequest(str(error)) from error
