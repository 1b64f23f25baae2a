"""`/api/v1/stream`: what changes, as server-sent events."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from monitor.web.answers import HEADERS, AnyRequest
from monitor.web.desk import Desk

STREAM_HEADERS = HEADERS | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handler."""

    @get(
        "/api/v1/stream",
        summary="What changes, as server-sent events",
        description="`mood`: there are new texts.  `incident`: the incident with this `id` began or "
        "changed.  `status`: how fresh the data are (`text`), and whether they are `late`.",
    )
    async def stream(request: AnyRequest) -> Stream:
        extensions: Any = request.scope["extensions"]
        events = _renewing(desk.live.listen(), extensions["renew_deadline"])
        return Stream(events, media_type="text/event-stream", headers=STREAM_HEADERS)

    return [stream]


async def _renewing(events: AsyncIterator[bytes], renew: Callable[[], None]) -> AsyncIterator[bytes]:
    """The events; each that the client takes moves the deadline of its connection."""
    async for event in events:
        yield event
        renew()
