"""`monitor backfill entities`, and the names of entities that the monitor stores."""

import logging
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from models.document_classifier import DocumentClassifier
from models.entities.entity import Entity, EntityKind
from models.entities.gazetteer import Gazetteer
from monitor.bench.stand_in import StandIn
from monitor.cli.main import main
from monitor.runtime.tasks.entity_names import EntityNames
from stream.domain.documents import Prediction
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.recount import recount
from stream.storage.retention import purge
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import (
    ALL_TIMES,
    NOW,
    classified,
    events,
    sums_by_entity,
    write,
    write_thirty,
)


class Searching(StandIn):
    """Finds the entities of the stand-in in texts that have labels."""

    def with_entities(self, inputs: Any, predictions: Any) -> list[Prediction]:
        found = self.classify(inputs)
        return [
            Prediction(old.model, old.lang, old.topic, old.sentiment, old.score, entities=new.entities)
            for old, new in zip(predictions, found, strict=True)
        ]


@pytest.fixture
def configured(database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_DATABASE__URL", database_settings.url.get_secret_value())
    monkeypatch.setattr(DocumentClassifier, "load", lambda *_arguments, **_options: Searching("g-2"))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["backfill", "entities", *words])


@pytest.mark.usefixtures("configured")
def test_stored_documents_are_searched_once_for_each_list(store: Store) -> None:
    write_thirty(store)
    since = ("--since", "2026-03-01T11:00:30", "--until", "2026-03-02")
    assert run(*since, "--dry-run").stdout == "7 documents would be searched for the entities of list g-2\n"
    result = run(*since)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("7 documents searched for the entities of list g-2 in 0.")
    assert run("--since", "2026-01-01").stdout.startswith("23 documents searched")
    assert run("--since", "2026-01-01").stdout.startswith("0 documents searched")
    assert sums_by_entity(store) and events(store) and recount(store, ALL_TIMES) == 0
    soon = datetime.now(UTC) + timedelta(minutes=3)
    write(store, classified("by a clock that is ahead", 40, at=soon))
    assert run("--since", "2026-01-01").stdout.startswith("1 documents searched")


@pytest.mark.usefixtures("configured")
def test_texts_that_were_erased_are_left_and_counted(store: Store) -> None:
    write_thirty(store)
    purge(store, NOW.replace(year=2027), NOW)
    lines = run("--since", "2026-01-01").stdout.splitlines()
    assert lines[0].startswith("0 documents searched")
    assert lines[1] == "30 documents keep the entities they have, since their texts were erased"


def test_a_time_range_must_not_be_empty() -> None:
    result = run("--since", "2026-03-02", "--until", "2026-03-01")
    assert result.exit_code == 2 and "--until must be after --since" in result.stderr


class Listed:
    """A classifier with a list of one entity."""

    def __init__(self, version: str, name: str) -> None:
        self.use(version, name)

    def use(self, version: str, name: str) -> None:
        entity = Entity("cb:FED", EntityKind.CENTRAL_BANK, name, "美联储")
        self.gazetteer = Gazetteer(version, MappingProxyType({"cb:FED": entity}), MappingProxyType({}))


def test_names_are_stored_at_the_start_and_with_a_new_list(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    classifier: Any = Listed("g-1", "Fed")
    names = EntityNames(store=store, classifier=classifier)

    def stored() -> list[Any]:
        with database.reading(store.engine) as connection:
            return list(map(tuple, connection.execute(select(schema.entities))))

    for _ in range(2):
        names.run_once()
    assert stored() == [("cb:FED", "central_bank", "Fed", "美联储")]
    classifier.use("g-2", "Federal Reserve")
    names.run_once()
    EntityNames(store=store, classifier=classifier).run_once()
    assert stored() == [("cb:FED", "central_bank", "Federal Reserve", "美联储")]
    assert len([record for record in caplog.records if "stored the names" in record.message]) == 2
