"""The pages of incidents, and the older ones of alerts."""

from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.alert_pages import AlertPages, Elsewhere
from monitor.web.answers import PAGE_HEADERS, AnyRequest
from monitor.web.desk import Desk, last_segment


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of these pages."""
    pages = AlertPages(desk.episodes, desk.store, desk.clock, desk.prefix)

    @get("/incidents", include_in_schema=False)
    async def incidents(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Incidents"})

    @get("/incidents/{rest:path}", include_in_schema=False)
    async def incident(request: AnyRequest) -> Response[bytes]:
        id_ = last_segment(request, "/incidents/")
        return await desk.page(request, "incident.html", lambda: pages.incident_values(id_))

    @get("/alerts", include_in_schema=False)
    async def alerts(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "alerts.html", pages.alerts_values)

    @get("/alerts/{rest:path}", include_in_schema=False)
    async def alert(request: AnyRequest) -> Response[Any]:
        id_ = last_segment(request, "/alerts/")
        found: Elsewhere | dict[str, Any] = await desk.read(lambda: pages.alert_values(id_))
        if isinstance(found, Elsewhere):
            return Response(b"", status_code=302, headers=PAGE_HEADERS | {"Location": found.path})
        values = found
        return await desk.page(request, "alert.html", lambda: values)

    return [incidents, incident, alerts, alert]
