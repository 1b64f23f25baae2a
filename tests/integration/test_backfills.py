"""A backfill of entities that is killed at any statement, and two that run beside the live stream."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from pydantic import SecretStr
from sqlalchemy import func, select

from stream.domain.documents import TextInput
from stream.storage import backfill, database, schema
from stream.storage.batches import Store
from stream.storage.documents import document_of_row
from stream.storage.recount import recount
from stream.storage.settings import DatabaseSettings
from tests.conftest import ROOT
from tests.integration.backfills import ALL_TIMES, LIST, search
from tests.unit.stream.samples import NEWS_1, about, classified, events, mention, sums_by_entity, write
from tools import stored_years

DOCUMENTS = 480


@pytest.fixture(params=["sqlite", "postgresql"])
def years(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An upgraded database of two years, half of them purged."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    stored_years.make(url, DOCUMENTS)
    settings = DatabaseSettings(url=SecretStr(url))
    database.upgrade(settings)
    store = Store(database.connect(settings), 60)
    yield store
    store.engine.dispose()


def assert_complete(store: Store) -> None:
    """Every text that is not erased has the entities of the list, once, and every sum is right."""
    table, mentions = schema.documents, schema.mentions
    version = LIST.gazetteer.version
    with database.reading(store.engine) as connection:
        rows = list(connection.execute(select(table).where(table.c.title != "")))
        stored: dict[str, set[str]] = {}
        for row in connection.execute(select(mentions)):
            stored.setdefault(row.key, set()).add(row.entity)
    assert rows and {row.gazetteer for row in rows} == {version}
    for row in rows:
        (found,) = LIST.classify([document_of_row(row).text_input])
        assert stored.pop(row.key, set()) == {each.entity for each in found.entities}
    assert stored == {}, "an erased text has no mention"
    assert recount(store, ALL_TIMES) == 0
    changed = [row.key for row in events(store) if row.cause == "entities"]
    assert len(changed) == len(set(changed)) > DOCUMENTS // 4, "one event for each document that changed"


def test_a_kill_at_any_statement_leaves_what_the_next_run_finishes(years: Store) -> None:
    url = years.engine.url.render_as_string(hide_password=False)
    words = [sys.executable, "-m", "tests.integration.backfills", url, "1"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    assert_complete(years)


def test_two_runs_beside_the_live_stream_count_everything_once(
    years: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "CHUNK", 16)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            search(years)
        except BaseException as error:
            failures.append(error)

    runs = [threading.Thread(target=run) for _ in range(2)]
    for thread in runs:
        thread.start()
    for number in range(60):
        at = ALL_TIMES.start.replace(year=2025, month=6, day=1 + number % 28)
        item = about(classified(f"live {number}", number, NEWS_1, at=at), mention("XNAS:LIVE"))
        write(years, structs.replace(item, prediction=structs.replace(item.prediction, gazetteer="live")))
    for thread in runs:
        thread.join(120)
    assert failures == []
    search(years)  # what arrived last
    assert_complete(years)
    assert "XNAS:LIVE" not in sums_by_entity(years)
    with database.reading(years.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(schema.documents)) >= DOCUMENTS + 60


def test_the_stand_in_finds_entities_in_these_texts() -> None:
    (found,) = LIST.classify(
        [TextInput("Microsoft and Tesla reports results that the market did not expect")]
    )
    assert found.entities
