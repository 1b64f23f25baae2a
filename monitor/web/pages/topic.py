"""The page of a topic."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""

    @get("/topics/{rest:path}", include_in_schema=False)
    async def topic(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Topic"})

    return [topic]
