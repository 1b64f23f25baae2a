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

from tests.browser.chromium import Visitor, chromium, installed
from tests.browser.newsroom import Newsroom
from tests.browser.predictions import InventedLabels
from tests.browser.site import Site, open_store, serve
from tests.conftest import need


class Open(Protocol):
    """Opens a window; what it met must be nothing at the end of the test."""

    def __call__(self, base: str, **options: Any) -> Visitor: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's browser.  It closes after each file: while it is open, Playwright runs an event loop in
    this thread, and no other test in it can run one."""
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
def filled(labels: InventedLabels, upgraded_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """The day, to copy.  Only where there is a browser: it takes a while."""
    need(installed)
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
    with serve(filled.file, filled.at, labels, tmp_path) as site:
        yield site


@pytest.fixture
def empty_site(upgraded_file: Path, labels: InventedLabels, tmp_path: Path) -> Iterator[Site]:
    """The pages of a monitor that has read nothing yet."""
    with serve(upgraded_file, datetime.now(UTC), labels, tmp_path) as site:
        yield site
