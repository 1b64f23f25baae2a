"""`monitor entities unknown`: frequent names without an entity, read from the database in pages."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result

from monitor.cli.main import main
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from stream.storage.texts import text_pages
from tests.unit.stream.samples import NOW, classified, write


@pytest.fixture
def configured(database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_DATABASE__URL", database_settings.url.get_secret_value())


def run(*words: str) -> Result:
    result = CliRunner().invoke(main, ["entities", "unknown", *words])
    assert result.exit_code == 0, result.output
    return result


def write_texts(store: Store) -> None:
    texts = [
        "Zephyrax Robotics Inc. falls",
        "Zephyrax Robotics Inc. rises, $ZZYXQ",
        "Microsoft Corp. rises",
        "Rain",
    ]
    write(
        store,
        *(classified(str(n), n, title=text, at=NOW + timedelta(minutes=n)) for n, text in enumerate(texts)),
    )


@pytest.mark.usefixtures("configured")
def test_frequent_names_without_an_entity_are_listed(store: Store) -> None:
    write_texts(store)
    found = json.loads(run("--since", "2026-01-01", "--json").stdout)
    first = {"name": "Zephyrax Robotics", "sign": "name", "documents": 2, "example": "news:wire:0"}
    second = {"name": "$ZZYXQ", "sign": "cashtag", "documents": 1, "example": "news:wire:1"}
    assert found == [first, second]
    assert json.loads(run("--since", "2026-01-01", "--json", "--limit", "1").stdout) == [first]
    assert json.loads(run("--since", "2026-03-01T12:01:00Z", "--json").stdout)[0]["example"] == "news:wire:1"
    assert "Zephyrax Robotics" in run("--since", "2026-01-01").stdout
    assert json.loads(run("--json").stdout) == []


def test_texts_are_read_in_pages_without_gaps_or_repeats(store: Store) -> None:
    # Equal times, so that pages end in the middle of one.
    write(store, *(classified(str(n), n, at=NOW + timedelta(minutes=n // 4)) for n in range(11)))
    pages = list(text_pages(store.engine, NOW, page=3))
    assert [len(page) for page in pages] == [3, 3, 3, 2]
    assert sorted(row.key for page in pages for row in page) == sorted(f"news:wire:{n}" for n in range(11))
    assert not list(text_pages(store.engine, NOW + timedelta(days=1)))
