"""The page of a topic."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk, last_segment
from monitor.web.rendering import path_segment
from monitor.web.subject_page import SubjectPage, View
from stream.storage.desk.stories import Stories
from stream.storage.desk.topics import Topics


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    stories, topics = Stories(desk.store.engine), Topics(desk.store.engine, desk.store.width)

    @get("/topics/{rest:path}", include_in_schema=False)
    async def topic(request: AnyRequest) -> Response[bytes]:
        name = last_segment(request, "/topics/")
        view = View.of(request, f"{desk.prefix}/topics/{path_segment(name)}")
        page = SubjectPage(name, view, desk.clock(), desk.moods, stories, topic=name)

        def read() -> dict[str, SubjectPage] | None:
            # An older model may have had other topics; PostgreSQL stores no NUL.
            known = name in desk.topics or ("\0" not in name and topics.has_texts(name))
            return {"page": page} if known else None

        return await desk.page(request, "subject.html", read)

    return [topic]
