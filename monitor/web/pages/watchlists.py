"""The page of the watchlists: which entities are in each, and changing that."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from alerts.errors import RuleError
from alerts.rules.watched_entities import MOST_ENTITIES, WATCHLIST
from alerts.rules.watchlist_edit import FileChange, with_watchlist
from alerts.rules.watchlists import LONGEST_NAME
from monitor.web.access.users import Role, requires
from monitor.web.answers import PAGE_HEADERS, AnyRequest
from monitor.web.desk import Desk
from monitor.web.errors import BadRequest, Conflict
from monitor.web.rule_files import RuleFiles, digest, read_text
from stream.storage.audit import AuditEntry, write_audit

SEPARATORS = re.compile(r"[\s,;]+")
LONGEST_FORM = 100_000


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    page = WatchlistPage(desk)

    @get("/watchlists", include_in_schema=False)
    async def watchlists(request: AnyRequest) -> Response[bytes]:
        saved = request.query_params.get("saved", "")
        return await desk.page(request, "watchlists.html", lambda: page.values(saved=saved))

    @post("/watchlists", guards=[requires(Role.ADMIN)], include_in_schema=False)
    async def save(request: AnyRequest) -> Response[bytes]:
        form = {key: str(value) for key, value in dict(await request.form()).items()}
        problem = await desk.read(lambda: page.save(form, request.user.name))
        if not problem:
            address = f"{desk.prefix}/watchlists?saved=yes"
            return Response(b"", status_code=303, headers=PAGE_HEADERS | {"Location": address})
        answer = await desk.page(request, "watchlists.html", lambda: page.values(problem, form))
        answer.status_code = 409
        return answer

    return [watchlists, save]


@dataclass(frozen=True)
class WatchlistRow:
    """A watchlist, its entities with their names, and the rules that watch it."""

    name: str
    entities: Sequence[tuple[str, str]]
    rules: Sequence[str]
    seen: str

    @property
    def ids(self) -> str:
        """One a line, as they are written in the form."""
        return "\n".join(id_ for id_, _ in self.entities)


class WatchlistPage:
    """What the page shows, and what its forms do."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._files = desk, RuleFiles(desk.rule_file)

    def values(
        self, problem: str = "", form: Mapping[str, str] | None = None, saved: str = ""
    ) -> dict[str, object]:
        """What the page shows; `problem` is why a form could not be carried out.  Raises StoreUnavailable."""
        read = self._files.read()
        names = self._desk.store.reads.entity_names(
            sorted({id_ for ids in read.watchlists.values() for id_ in ids})
        )
        rows = []
        for name, ids in read.watchlists.items():
            entities = [(id_, names.get(id_, "")) for id_ in ids]
            watching = [
                rule.name
                for rule in read.rules
                if rule.entities is not None and rule.entities.text == f"{WATCHLIST}{name}"
            ]
            rows.append(WatchlistRow(name, entities, watching, digest("\n".join(ids))))
        return {
            "file": read,
            "rows": rows,
            "problem": problem,
            "form": form or {},
            "saved": saved == "yes",
            "read_only": self._files.why_read_only(read.path),
            "admin": Role.ADMIN,
            "nothing_seen": digest(""),
            "gauges": self._desk.settings.alerts.watchlist,
        }

    def save(self, form: Mapping[str, str], user: str) -> str:
        """Put the entities of a form into a watchlist; why that could not be, empty if it was done.

        Raises StoreUnavailable.
        """
        read, name = self._files.read(), form.get("name", "").strip()
        before = read.watchlists.get(name)
        if problem := read.problem or _problem_of(form, name, before):
            return problem
        ids = written_ids(form.get("entities", ""))
        if before is not None and list(before) == ids:
            return "the watchlist has these entities already"
        try:
            change = self._change(name, ids)
            self._files.save(change)
        except (RuleError, BadRequest, Conflict) as error:
            return str(error)
        except OSError as error:
            return f"the watchlists cannot be read: {error.strerror or error}"
        entry = AuditEntry(self._desk.clock(), user, "watchlist.save", name, change_text(before or (), ids))
        write_audit(self._desk.store.engine, entry)
        return ""

    def _change(self, name: str, ids: Sequence[str]) -> FileChange:
        return with_watchlist(self._files.path, name, ids, read_text)


def _problem_of(form: Mapping[str, Any], name: str, before: Sequence[str] | None) -> str:
    """What is wrong with a form, before anything is looked at more closely; empty if nothing is."""
    if not 0 < len(name) <= LONGEST_NAME:
        return f"a watchlist has a name of 1 to {LONGEST_NAME} characters"
    if len(form.get("entities", "")) > LONGEST_FORM:
        return f"a watchlist has at most {MOST_ENTITIES:,} entities"
    if form.get("seen", "") != digest("\n".join(before or ())):
        return f"the watchlist {name} was changed since you looked: here it is as it is now"
    return ""


def written_ids(text: str) -> list[str]:
    """The ids in a form, each once, in the order in which they were written."""
    return list(dict.fromkeys(filter(None, SEPARATORS.split(text))))


def change_text(before: Sequence[str], after: Sequence[str]) -> str:
    """What was put in and taken out, in words."""
    added, removed = [id_ for id_ in after if id_ not in before], [id_ for id_ in before if id_ not in after]
    parts = [f"{what} {', '.join(ids)}" for what, ids in (("added", added), ("removed", removed)) if ids]
    return "; ".join(parts) or "put in another order"
