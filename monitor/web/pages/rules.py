"""The pages of the rules."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""

    @get("/rules", include_in_schema=False)
    async def rules(request: AnyRequest) -> Response[bytes]:
        return await desk.page(request, "soon.html", lambda: {"heading": "Rules"})

    return [rules]
