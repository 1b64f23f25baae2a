"""The page of an entity, and the list in which one is searched."""

from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.api.entities import active_entities
from monitor.web.desk import Desk, last_segment
from monitor.web.parameters import text_of
from monitor.web.rendering import path_segment
from monitor.web.subject_page import SubjectPage, View
from stream.storage.desk.entities import Entities
from stream.storage.desk.stories import Stories

LISTED, HOURS, LONGEST_WORDS = 100, 24, 100


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of these pages."""
    stories, entities = Stories(desk.store.engine), Entities(desk.store.engine)

    @get("/entities", include_in_schema=False)
    async def search(request: AnyRequest) -> Response[bytes]:
        words = text_of(request.query_params, "q", LONGEST_WORDS)

        def read() -> dict[str, Any]:
            found = active_entities(desk, entities, words, HOURS)
            return {
                "words": words or "",
                "entities": found[:LISTED],
                "more": len(found) - LISTED,
                "hours": HOURS,
            }

        return await desk.page(request, "entities.html", read)

    @get("/entities/{rest:path}", include_in_schema=False)
    async def entity(request: AnyRequest) -> Response[bytes]:
        id_ = last_segment(request, "/entities/")
        view = View.of(request, f"{desk.prefix}/entities/{path_segment(id_)}")
        now = desk.clock()

        def read() -> dict[str, SubjectPage] | None:
            found = entities.find(id_)
            if found is None:
                return None
            return {"page": SubjectPage(found.name, view, now, desk.moods, stories, entity=found)}

        return await desk.page(request, "subject.html", read)

    return [search, entity]
