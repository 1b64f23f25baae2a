"""The page of one text: its labels, the words that carried them, whom it is about, and who judged it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.runtime.classifier import Classifier
from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import Overloaded
from monitor.web.marked_text import Piece, pieces
from monitor.web.parameters import one_of
from monitor.web.rendering import path_segment
from stream.domain.documents import TASKS, Span
from stream.domain.errors import InferenceError
from stream.storage.desk.documents import StoredText, Texts

if TYPE_CHECKING:
    from models.inference.explain import Explanation

# So long, in seconds, a request waits while another text is explained.
LONGEST_WAIT = 3.0


class Explainer:
    """Explains texts with the classifier of this process, one at a time: it takes the cores of the stream."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier, self._busy = classifier, threading.Lock()

    def explain(self, text: StoredText, task: str) -> "Explanation":
        """Why a text gets its label for a task now.  Raises Overloaded and InferenceError."""
        if not self._busy.acquire(timeout=LONGEST_WAIT):
            raise Overloaded("another text is being explained; try again in some seconds")
        try:
            return self._classifier.explain(text.document.text_input, task)
        finally:
            self._busy.release()


@dataclass
class TextPage:
    """What the template asks for.  `task` is what an explanation was asked for, empty if none was."""

    text: StoredText
    address: str
    task: str
    explainer: Explainer | None
    error: str = field(default="", init=False)

    @property
    def content(self) -> str:
        return self.text.document.content

    @property
    def pieces(self) -> list[Piece]:
        """The text, with the words that carried its sentiment."""
        return pieces(self.content, self._evidence("sentiment"), self.text.prediction.entities)

    @property
    def topic_words(self) -> list[str]:
        """The words that carried its topic, the strongest first."""
        strongest = sorted(self._evidence("topic"), key=lambda span: (-span.weight, span.start))
        return list(dict.fromkeys(span.text for span in strongest))

    def _evidence(self, task: str) -> Sequence[Span]:
        return [span for span in self.text.prediction.evidence if span.task == task]

    @cached_property
    def explanation(self) -> "Explanation | None":
        """Why it gets its label now; None if nobody asked, or it cannot be told: `error` then says why."""
        if not self.task or self.explainer is None:
            return None
        try:
            return self.explainer.explain(self.text, self.task)
        except InferenceError as error:
            self.error = str(error)
            return None

    @property
    def explained_pieces(self) -> list[Piece]:
        """The text, with the words that speak for the label and against it."""
        return pieces(self.content, self.explanation.words) if self.explanation else []


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    texts = Texts(desk.store.engine)
    explainer = None if desk.classifier is None else Explainer(desk.classifier)

    @get("/texts/{rest:path}", include_in_schema=False)
    async def text(request: AnyRequest) -> Response[bytes]:
        key = last_segment(request, "/texts/")
        task = one_of(request.query_params, "explain", ("", *TASKS), "")
        address = f"{desk.prefix}/texts/{path_segment(key)}"

        def read() -> dict[str, TextPage] | None:
            found = texts.find(key)
            return None if found is None else {"page": TextPage(found, address, task, explainer)}

        return await desk.page(request, "text.html", read)

    return [text]
