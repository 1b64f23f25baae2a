"""The page of an entity."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""

    @get("/entities/{rest:path}", include_in_schema=False)
    async def entity(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Entity"})

    return [entity]
