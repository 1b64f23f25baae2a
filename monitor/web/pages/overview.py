"""The overview: the market's mood now, what moved, and the open incidents."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""

    @get("/", include_in_schema=False)
    async def overview(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Overview"})

    return [overview]
