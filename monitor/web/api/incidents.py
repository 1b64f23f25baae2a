"""`/api/v1/incidents`: what goes on and what went on, and acting on it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from monitor.web.access.users import Role, requires
from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.api.listing import DEFAULT_LIMIT, Cursor, Limit, Listing, Name, listing
from monitor.web.desk import Desk
from monitor.web.incident_forms import request_of
from monitor.web.incident_work import carry_out, incident_actions
from monitor.web.rendering import path_segment
from stream.domain.alerts import Severity
from stream.domain.incident_actions import LONGEST_KEY, Action
from stream.storage.desk.incidents import (
    IncidentFilter,
    ListedIncident,
    Which,
    list_incidents,
    listed_incident,
)

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=LONGEST_KEY,
        description="requests with the same key are one action, however often they are sent",
    ),
]


@dataclass(frozen=True)
class IncidentItem:
    """An incident; `state` is open, calm, closed or over, and `actions` the number of the last action."""

    id: str
    link: str
    title: str
    severity: str
    state: str
    began_at: datetime
    calm_since: datetime | None
    ended_at: datetime | None
    rules: Sequence[str]
    topics: Sequence[str]
    entities: Sequence[str]
    stories: Sequence[int]
    pages: int
    last_page_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    assigned_to: str | None
    quiet_until: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    verdict: str | None
    actions: int


@dataclass(frozen=True)
class ActionItem:
    """What somebody did with an incident."""

    number: int
    kind: str
    by: str
    at: datetime
    comment: str
    assignee: str | None
    quiet_until: datetime | None
    verdict: str | None


@dataclass(frozen=True)
class OneIncident:
    """An incident, and what was done with it, the oldest first."""

    incident: IncidentItem
    actions: Sequence[ActionItem]


@dataclass(frozen=True)
class ActionBody:
    """What an action needs: `assignee` to assign, `comment` to comment, `quiet` (minutes, or a time with its
    offset; empty: no longer) to keep quiet, `verdict` to close.  `expected` is the number of the last action
    that is known: if somebody changed the incident since, the answer is 409."""

    comment: str = ""
    assignee: str = ""
    quiet: str = ""
    verdict: str = ""
    expected: int | None = None


@dataclass(frozen=True)
class Acted:
    """The incident after an action; `repeated` if the same request was carried out before."""

    incident: IncidentItem
    action: ActionItem
    repeated: bool


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    actions = incident_actions(desk.store)

    @get("/api/v1/incidents", summary="Incidents, those that began last first")
    async def incidents(
        which: FromQuery[Which] = Which.ALL,
        rule: Name = None,
        topic: Name = None,
        entity: Name = None,
        severity: FromQuery[Severity | None] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Listing[IncidentItem]:
        wanted = IncidentFilter(which, rule or None, topic or None, entity or None, severity)
        after = cursors.decode(cursor, tuple[datetime, str]) if cursor else None
        found = await desk.read(lambda: list_incidents(desk.store, wanted, limit + 1, after))
        items = [_item(each, desk.prefix) for each in found]
        return listing(items, limit, lambda item: (item.began_at, item.id))

    @get("/api/v1/incidents/{id_:str}", summary="One incident, with what was done with it")
    async def incident(id_: FromPath[str]) -> OneIncident:
        def read() -> OneIncident | None:
            found = listed_incident(desk.store, id_)
            if found is None:
                return None
            done = [_action(action) for action in actions.of(id_)]
            return OneIncident(_item(found, desk.prefix), done)

        return await desk.read(read)

    @post(
        "/api/v1/incidents/{id_:str}/{kind:str}",
        guards=[requires(Role.DESK)],
        status_code=200,
        summary="Acknowledge, assign, comment, quiet or close",
    )
    async def act(
        request: AnyRequest,
        id_: FromPath[str],
        kind: FromPath[str],
        data: JSONBody[ActionBody | None] = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Acted:
        now = desk.clock()
        form = asdict(data or ActionBody()) | {"key": idempotency_key}
        wanted = request_of(kind, form, request.user.name, now)

        def carry() -> Acted | None:
            done = carry_out(actions, id_, wanted, now)
            found = listed_incident(desk.store, id_)
            if found is None:
                return None
            return Acted(_item(found, desk.prefix), _action(done.action), done.repeated)

        return await desk.read(carry)

    return [incidents, incident, act]


def _item(listed: ListedIncident, prefix: str) -> IncidentItem:
    incident = listed.incident
    return IncidentItem(
        id=incident.id,
        link=f"{prefix}/incidents/{path_segment(incident.id)}",
        title=incident.title,
        severity=incident.severity,
        state=incident.state,
        began_at=incident.began_at,
        calm_since=incident.calm_since,
        ended_at=incident.ended_at,
        rules=listed.rules,
        topics=listed.topics,
        entities=incident.lead_entities,
        stories=incident.stories,
        pages=incident.paged_number,
        last_page_at=incident.last_page_at,
        acknowledged_at=incident.acknowledged_at,
        acknowledged_by=incident.acknowledged_by,
        assigned_to=incident.assigned_to,
        quiet_until=incident.quiet_until,
        closed_at=incident.closed_at,
        closed_by=incident.closed_by,
        verdict=incident.verdict,
        actions=incident.actions,
    )


def _action(action: Action) -> ActionItem:
    return ActionItem(
        number=action.number,
        kind=action.kind,
        by=action.actor,
        at=action.at,
        comment=action.text,
        assignee=action.assignee,
        quiet_until=action.until,
        verdict=action.verdict,
    )
