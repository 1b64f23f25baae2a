"""`/api/v1/stories`."""

from litestar.handlers import HTTPRouteHandler

from monitor.web.desk import Desk


def routes(_desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    return []
