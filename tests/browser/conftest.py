"""Fixtures: a browser, a filled database to copy, and the web application over it on a real port."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser
from pydantic import SecretStr

from alerts.rules.rule_file import RuleFile
from monitor.web.desk import Desk
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.browser.chromium import Visitor, chromium
from tests.browser.newsroom import Newsroom
from tests.browser.predictions import TOPICS, InventedLabels
from tests.conftest import need
from tests.desk_parts import desk_over, serving


class Open(Protocol):
    """Opens a window; what it met must be nothing at the end of the test."""

    def __call__(self, base: str, **options: Any) -> Visitor: ...


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with ExitStack() as stack:
        yield need(lambda: stack.enter_context(chromium()))


@pytest.fixture
def open_window(browser: Browser) -> Iterator[Open]:
    """Windows that are closed at the end; in none of them anything may have gone wrong."""
    visitors: list[Visitor] = []

    def open_(base: str, **options: Any) -> Visitor:
        visitors.append(Visitor.of(browser, base, **options))
        return visitors[-1]

    yield open_
    faults = [fault for visitor in visitors for fault in visitor.faults]
    for visitor in visitors:
        visitor.close()
    assert faults == []


@pytest.fixture(scope="session")
def labels() -> InventedLabels:
    return InventedLabels()


@dataclass(frozen=True)
class Filled:
    """A database with a newsroom's day that ends `at`."""

    file: Path
    at: datetime


@pytest.fixture(scope="session")
def filled(
    browser: Browser, labels: InventedLabels, upgraded_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Filled:
    """The day, to copy.  Only where there is a browser: it takes a while."""
    folder = tmp_path_factory.mktemp("newsroom")
    file = Path(shutil.copy(upgraded_file, folder / "day.db"))
    now = datetime.now(UTC)
    store = open_store(file)
    Newsroom(store, folder, labels, now).day()
    store.engine.dispose()
    return Filled(file, now)


@pytest.fixture
def site(filled: Filled, labels: InventedLabels, tmp_path: Path) -> Iterator[Site]:
    """The pages of a day."""
    yield from _site(filled.file, filled.at, labels, tmp_path)


@pytest.fixture
def empty_site(upgraded_file: Path, labels: InventedLabels, tmp_path: Path) -> Iterator[Site]:
    """The pages of a monitor that has read nothing yet."""
    yield from _site(upgraded_file, datetime.now(UTC), labels, tmp_path)


def open_store(file: Path) -> Store:
    return Store(database.connect(DatabaseSettings(url=SecretStr(f"sqlite:///{file}"))), 60)


def _site(file: Path, now: datetime, labels: InventedLabels, folder: Path) -> Iterator[Site]:
    own = Path(shutil.copy(file, folder / "desk.db"))
    store = open_store(own)
    newsroom = Newsroom(store, folder, labels, now)
    with serving(desk_of(newsroom)) as url:
        yield Site(url, newsroom, own)
    store.engine.dispose()


def desk_of(newsroom: Newsroom, **parts: Any) -> Desk:
    """A desk with the rules and the topics of a newsroom, at its time."""
    rule_file = RuleFile(newsroom.rules, TOPICS)
    return desk_over(newsroom.store, newsroom.clock, rule_file=rule_file, topics=TOPICS, **parts)
