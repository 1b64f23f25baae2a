"""The pages of incidents: the list, one with what people do about it, and the older ones of alerts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlencode

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from alerts.incidents.joining import is_quiet
from monitor.web.access.users import Role, requires
from monitor.web.alert_pages import AlertPages, Elsewhere
from monitor.web.answers import PAGE_HEADERS, AnyRequest
from monitor.web.api import cursors
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import BadRequest, Conflict
from monitor.web.first_text import first_text
from monitor.web.incident_forms import new_key, quiet_choices, request_of, verdict_choices
from monitor.web.incident_work import carry_out, incident_actions
from monitor.web.parameters import text_of
from monitor.web.rendering import path_segment
from monitor.web.timeline import timeline
from stream.domain.alerts import Severity
from stream.storage.desk.incidents import IncidentFilter, Which, alert_changes, list_incidents
from stream.storage.incident_actions import IncidentActions

LISTED = 50
LONGEST_FILTER = 200


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of these pages."""
    pages = IncidentPages(desk)

    @get("/incidents", include_in_schema=False)
    async def incidents(request: AnyRequest) -> Response[bytes]:
        query = dict(request.query_params)
        return await desk.page(request, "incidents.html", lambda: pages.listed(query))

    @get("/incidents/{rest:path}", include_in_schema=False)
    async def incident(request: AnyRequest) -> Response[bytes]:
        id_ = last_segment(request, "/incidents/")
        return await desk.page(request, "incident.html", lambda: pages.one(id_))

    @post("/incidents/{rest:path}", guards=[requires(Role.DESK)], include_in_schema=False)
    async def act(request: AnyRequest) -> Response[bytes]:
        raw: str = request.scope["raw_path"].decode("ascii")
        id_, kind = raw.removeprefix("/incidents/").rpartition("/")[::2]
        form = dict(await request.form())
        return await pages.act(request, unquote(id_), kind, form)

    @get("/alerts", include_in_schema=False)
    async def alerts(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "alerts.html", pages.alerts.alerts_values)

    @get("/alerts/{rest:path}", include_in_schema=False)
    async def alert(request: AnyRequest) -> Response[Any]:
        id_ = last_segment(request, "/alerts/")
        found: Elsewhere | dict[str, Any] = await desk.read(lambda: pages.alerts.alert_values(id_))
        if isinstance(found, Elsewhere):
            return Response(b"", status_code=302, headers=PAGE_HEADERS | {"Location": found.path})
        values = found
        return await desk.page(request, "alert.html", lambda: values)

    return [incidents, incident, act, alerts, alert]


@dataclass(frozen=True)
class Acted:
    """What became of a form; `problem` is empty if it was carried out."""

    status: int = 303
    problem: str = ""


class IncidentPages:
    """What the pages show, and what their forms do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.alerts = AlertPages(desk.episodes, desk.store, desk.clock, desk.prefix)
        self._actions: IncidentActions = incident_actions(desk.store)

    def listed(self, query: Mapping[str, str]) -> dict[str, object]:
        """What the list shows, with the filter of its address.  Raises BadRequest and StoreUnavailable."""
        wanted, cursor = filter_of(query), query.get("cursor")
        after = cursors.decode(cursor, tuple[datetime, str]) if cursor else None
        found = list_incidents(self._desk.store, wanted, LISTED + 1, after)
        shown = found[:LISTED]
        more = None
        if len(found) > LISTED:
            last = shown[-1].incident
            kept = {name: value for name, value in query.items() if name != "cursor" and value}
            more = urlencode(kept | {"cursor": cursors.encode((last.began_at, last.id))})
        return {
            "wanted": wanted,
            "incidents": shown,
            "more": more,
            "is_first": after is None,
            "rules": sorted(rule.name for rule in self._desk.rules),
            "topics": self._desk.topics,
            "severities": tuple(Severity),
            "is_quiet": is_quiet,
        }

    def one(
        self, id_: str, problem: str = "", form: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """What the page of one incident shows; None if there is none with this id.

        `problem` is why a form could not be carried out, and `form` is that form.  Raises StoreUnavailable.
        """
        values = self.alerts.incident_values(id_)
        if values is None:
            return None
        now, incident = self._desk.clock(), values["incident"]
        changes = alert_changes(self._desk.store, [alert.id for alert in values["alerts"]])
        actions = self._actions.of(incident.id)
        messages = [page.message for page in values["pages"] if page.message]
        page = messages[-1] if messages else None
        headline = page and page.get("headline")
        return values | {
            "page": page,
            "first": first_text(self._desk.store.engine, headline["story"]) if headline else None,
            "paged": values_when_paged(messages),
            "events": timeline(changes, values["pages"], values["deliveries"], actions),
            "quiet": is_quiet(incident, now),
            "quiet_choices": quiet_choices(now, self._desk.settings.alerts.time_zone),
            "verdicts": verdict_choices(),
            "key": new_key(),
            "desk_role": Role.DESK,
            "problem": problem,
            "form": form or {},
        }

    async def act(self, request: AnyRequest, id_: str, kind: str, form: Mapping[str, Any]) -> Response[bytes]:
        """Carry out a form, and go back to the page; or the page with the reason why it was not.

        Raises NoSuch, StoreUnavailable and Overloaded.
        """
        desk, now = self._desk, self._desk.clock()

        def carry() -> Acted:
            try:
                carry_out(self._actions, id_, request_of(kind, form, request.user.name, now), now)
            except Conflict as error:
                return Acted(409, str(error))
            except BadRequest as error:
                return Acted(400, str(error))
            return Acted()

        acted = await desk.read(carry)
        if acted.problem:
            answer = await desk.page(request, "incident.html", lambda: self.one(id_, acted.problem, form))
            answer.status_code = acted.status
            return answer
        back = f"{desk.prefix}/incidents/{path_segment(id_)}"
        return Response(b"", status_code=303, headers=PAGE_HEADERS | {"Location": back})


def values_when_paged(messages: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The value of each alert on the first page that shows it, by the id of the alert."""
    values: dict[str, float] = {}
    for message in messages:
        for seen in message.get("alerts", ()):
            values.setdefault(seen["id"], seen["value"])
    return values


def filter_of(query: Mapping[str, str]) -> IncidentFilter:
    """The filter in the parameters of an address; an empty one filters nothing.  Raises BadRequest."""
    return IncidentFilter(
        _one_of(Which, query.get("which") or Which.ALL, "which"),
        text_of(query, "rule", LONGEST_FILTER),
        text_of(query, "topic", LONGEST_FILTER),
        text_of(query, "entity", LONGEST_FILTER),
        _one_of(Severity, query["severity"], "severity") if query.get("severity") else None,
    )


def _one_of(kind: Callable[[str], Any], value: str, name: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)  # type: ignore[arg-type]
        raise BadRequest(f"{name}: it is one of {known}") from error
