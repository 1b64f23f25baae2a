"""The web application on a real port, over a newsroom's database."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from alerts.rules.rule_file import RuleFile
from monitor.runtime.settings import Settings
from monitor.web.desk import Desk
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.browser.newsroom import Newsroom
from tests.browser.predictions import TOPICS, InventedLabels
from tests.desk_parts import desk_over, serving


@dataclass
class Site:
    """The web application over a newsroom's database."""

    url: str
    newsroom: Newsroom
    file: Path

    def take_database_away(self) -> None:
        """From now on nobody can open it: it is in another folder, and a folder is in its place."""
        self.newsroom.store.engine.dispose()
        self.file.rename(self.file.with_suffix(".away"))
        self.file.mkdir()

    def bring_database_back(self) -> None:
        """It is where it was."""
        self.file.rmdir()
        self.file.with_suffix(".away").rename(self.file)


@contextmanager
def serve(
    file: Path, now: datetime, labels: InventedLabels, folder: Path, login: dict[str, str] | None = None
) -> Iterator[Site]:
    """The pages of a copy of a newsroom's database, which it has filled until `now`; `login` are settings of
    `http.login`."""
    own = Path(shutil.copy(file, folder / "desk.db"))
    store = open_store(own)
    newsroom = Newsroom(store, folder, labels, now)
    with serving(desk_of(newsroom, http={"login": login or {}})) as url:
        yield Site(url, newsroom, own)
    store.engine.dispose()


def open_store(file: Path) -> Store:
    """A store over a SQLite file."""
    return Store(database.connect(DatabaseSettings(url=SecretStr(f"sqlite:///{file}"))), 60)


def desk_of(newsroom: Newsroom, http: dict[str, Any] | None = None) -> Desk:
    """A desk with the rules and the topics of a newsroom, at its time; `http` are settings."""
    rule_file = RuleFile(newsroom.rules, TOPICS)
    url = newsroom.store.engine.url.render_as_string(hide_password=False)
    settings = Settings.model_validate({"database": {"url": url}, "http": http or {}})
    return desk_over(newsroom.store, newsroom.clock, rule_file=rule_file, topics=TOPICS, settings=settings)
