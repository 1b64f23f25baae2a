"""A desk over a real database, and its pages over real HTTP, for tests of pages and of the API."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from alerts.rules.rule_file import RuleFile
from monitor.runtime.http import Endpoint
from monitor.runtime.settings import Settings
from monitor.web.access.logins import Logins
from monitor.web.app import desk_routes
from monitor.web.desk import PAGE_THREADS, Desk
from monitor.web.threads import Threads
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.settings import DatabaseSettings

TOPICS = ("Earnings", "Macro")


def new_store(folder: Path, window_seconds: int = 60) -> Store:
    """A store over a new SQLite file with this version's schema."""
    path = folder / "desk.db"
    path.write_bytes(_new_database())
    settings = DatabaseSettings.model_validate({"url": f"sqlite:///{path}"})
    return Store(database.connect(settings), window_seconds)


@cache
def _new_database() -> bytes:
    """A SQLite file with this version's schema, which takes a second to make."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        database.upgrade(DatabaseSettings.model_validate({"url": f"sqlite:///{path}"}))
        return path.read_bytes()


def desk_over(store: Store, clock: Callable[[], datetime], **parts: Any) -> Desk:
    """A desk of the shipped rules, without a classifier; `parts` replace what it is made of."""
    settings = parts.pop("settings", Settings())
    made = {
        "settings": settings,
        "store": store,
        "episodes": SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts"),
        "rule_file": RuleFile(settings.alerts.rules),
        "mute_file": None,
        "topics": TOPICS,
        "event_types": (),
        "clock": clock,
        "threads": Threads(PAGE_THREADS, 10),
        "classifier": None,
        "logins": Logins(settings.http, store.engine, clock),
    }
    return Desk(**made | parts)


def page_at(path: str, store: Store, clock: Callable[[], datetime]) -> str:
    """The HTML of a page over a database; one that leads elsewhere is followed."""
    with serving(desk_over(store, clock)) as url:
        answer = httpx.get(f"{url}{path}", follow_redirects=True, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.text


@contextmanager
def serving(desk: Desk, port: int = 0) -> Iterator[str]:
    """The base URL where the desk's pages are served meanwhile."""
    http = desk.settings.http.model_copy(update={"port": port})
    endpoint = Endpoint(http, CollectorRegistry(), list)
    try:
        endpoint.open(desk_routes(desk), desk.live.close, desk.logins)
        yield endpoint.url
    finally:
        endpoint.close()
