"""What the handlers of the desk's pages work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode
from zoneinfo import ZoneInfo

from litestar import Response
from markupsafe import Markup

from alerts.detectors.base import Rule
from alerts.rules.rule_file import RuleFile
from alerts.schedules.mute_file import MuteFile
from monitor.runtime.classifier import Classifier
from monitor.runtime.settings import Settings
from monitor.web.access.logins import Logins
from monitor.web.access.visit import visit_of
from monitor.web.answers import AnyRequest, html_answer, may_compress
from monitor.web.errors import NoSuch
from monitor.web.live import Live, Look
from monitor.web.mood import Moods
from monitor.web.rendering import render
from monitor.web.threads import Threads
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.desk.freshness import read_freshness

T = TypeVar("T")
# Threads that read pages from the database.
PAGE_THREADS = 4
# Browsers are told of changes of incidents that are open or ended so lately.
FOLLOWED = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """One a process.  Every page is read from SQL at each request, so it shows what all monitors did."""

    settings: Settings
    store: Store
    episodes: SqlEpisodeStore
    rule_file: RuleFile
    mute_file: MuteFile | None
    topics: tuple[str, ...]
    event_types: tuple[str, ...]
    clock: Callable[[], datetime]
    threads: Threads
    # Labels texts, where the web application runs with a worker.
    classifier: Classifier | None
    logins: Logins

    @property
    def prefix(self) -> str:
        """The path under which a proxy publishes the monitor: every link begins with it."""
        return self.settings.http.path_prefix

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the rule file as it was read last."""
        return tuple(self.rule_file.rules)

    @cached_property
    def live(self) -> Live:
        """What tells the browsers that listen of changes."""
        return Live(self._look, self.threads, self.clock)

    @cached_property
    def moods(self) -> Moods:
        """Moods over time; what they keep of the stream is kept once."""
        return Moods(self.store, ZoneInfo(self.settings.alerts.time_zone))

    def _look(self) -> Look:
        now = self.clock()
        followed = self.episodes.followed_incidents(now - FOLLOWED)
        return Look(read_freshness(self.store.engine, now), {each.id: each for each in followed})

    async def page(
        self, request: AnyRequest, template: str, read: Callable[[], Mapping[str, object] | None]
    ) -> Response[bytes]:
        """The page of a template, with the values that `read` gives, in a thread; 404 if that gives None.

        With `?fragment=NAME` the answer is the block of that name alone, which replaces it in a page that is
        open.  Raises NoSuch, StoreUnavailable and Overloaded, which become pages too.
        """
        fragment, compress = request.query_params.get("fragment"), may_compress(request)

        def make() -> Response[bytes]:
            values = read()
            if values is None:
                raise NoSuch("there is nothing at this address; it may have been purged")
            html = render(template, fragment, **self._common(request) | dict(values))
            return html_answer(html, compress=compress)

        return await self.threads.run(make)

    def _common(self, request: AnyRequest) -> dict[str, Any]:
        """What every template may use.

        `live` gives the attributes of an element that is fetched again when one of some events comes over the
        live stream: `mood`, `incident` or `status`.  Its content is the block of the same name.
        """
        asked = [(name, value) for name, value in request.query_params.multi_items() if name != "fragment"]

        def live(name: str, events: str) -> Markup:
            triggers = ", ".join(f"desk:{each} from:body throttle:2s" for each in events.split())
            address = "?" + urlencode([*asked, ("fragment", name)])
            attributes = Markup('id="{}" hx-get="{}" hx-trigger="{}" hx-swap="innerHTML"')
            return attributes.format(name, address, triggers)

        return {
            "prefix": self.prefix,
            "path": request.scope["path"],
            "user": request.user,
            "csrf": visit_of(request).csrf,
            "can_log_out": self.logins.has_sessions,
            "now": self.clock(),
            "live": live,
        }

    async def read(self, function: Callable[[], T | None]) -> T:
        """What a function that reads SQL returns, in a thread, for the API.

        Raises NoSuch if that is None, StoreUnavailable and Overloaded.
        """
        found = await self.threads.run(function)
        if found is None:
            raise NoSuch("no such item")
        return found


def last_segment(request: AnyRequest, start: str) -> str:
    """The id behind the start of a path, such as `/entities/`.

    It is taken from the raw path, percent-encoded: an id may have any character, also a slash.
    """
    raw: str = request.scope["raw_path"].decode("ascii")
    return unquote(raw.lstrip("/").removeprefix(start.lstrip("/")))
