"""The page of the watchlists."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""

    @get("/watchlists", include_in_schema=False)
    async def watchlists(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Watchlists"})

    return [watchlists]
