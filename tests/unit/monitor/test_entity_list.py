"""The house's file of entities is read again when it changes."""

import os

import pytest
from prometheus_client import CollectorRegistry

from models.entities.gazetteer import Gazetteer
from models.entities.house_file import HouseFile
from models.entities.linker import Linker
from models.entities.metrics import EntityMetrics
from monitor.runtime.tasks.entity_list import EntityList
from stream.domain.documents import TextInput

ADDED = "add: [{id: XLON:NGB, kind: company, name: Northgate Bank}]\n"
TEXT = TextInput("Northgate Bank cuts its dividend")


class Classifier:
    """What a classifier links with."""

    def __init__(self, linker: Linker) -> None:
        self.linker, self.used = linker, 0

    @property
    def gazetteer(self) -> Gazetteer:
        return self.linker.gazetteer

    def use(self, linker: Linker) -> None:
        self.linker, self.used = linker, self.used + 1


class Watched:
    def __init__(self, path) -> None:
        self.path, self.registry, self.changes = path, CollectorRegistry(), 0
        self.classifier = Classifier(Linker(Gazetteer.load(path)))
        metrics = EntityMetrics(self.registry)
        self.task = EntityList(file=HouseFile(path), classifier=self.classifier, metrics=metrics)
        self.task.run_once()

    def write(self, text: str) -> None:
        """A change that the clock of the file system cannot hide."""
        self.path.write_text(text)
        self.changes += 1
        os.utime(self.path, (self.changes, self.changes))

    @property
    def usable(self) -> float | None:
        return self.registry.get_sample_value("sentiment_entity_list_usable")

    @property
    def version(self) -> str:
        family = next(family for family in self.registry.collect() if family.name == "sentiment_entity_list")
        return family.samples[0].labels["version"]

    def finds(self) -> list[str]:
        return [link.entity for link in self.classifier.linker.link(TEXT)]


@pytest.fixture
def watched(tmp_path):
    path = tmp_path / "entities.yaml"
    path.write_text("")
    return Watched(path)


def test_a_changed_file_is_used_when_it_looks_the_same_twice(watched):
    assert (watched.finds(), watched.classifier.used) == ([], 0)
    before = watched.version
    watched.write(ADDED)
    watched.task.run_once()
    assert watched.finds() == []
    watched.task.run_once()
    assert watched.finds() == ["XLON:NGB"]
    assert watched.version == watched.classifier.gazetteer.version != before
    watched.task.run_once()
    assert watched.classifier.used == 1


def test_a_file_with_errors_keeps_the_list_and_is_told_once(watched, caplog):
    watched.write(ADDED)
    for _ in range(2):
        watched.task.run_once()
    watched.write("remove: [XNAS:APPL]\n")
    for _ in range(4):
        watched.task.run_once()
    assert watched.finds() == ["XLON:NGB"]
    assert watched.usable == 0
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert f"{watched.path}:1: remove 1: unknown id 'XNAS:APPL'" in told[0]


def test_a_mended_file_is_used(watched):
    watched.write("remove: [")
    for _ in range(2):
        watched.task.run_once()
    assert watched.usable == 0
    watched.write(ADDED)
    for _ in range(2):
        watched.task.run_once()
    assert (watched.usable, watched.finds()) == (1, ["XLON:NGB"])


def test_a_file_that_is_gone_keeps_the_list(watched):
    watched.write(ADDED)
    for _ in range(2):
        watched.task.run_once()
    watched.path.unlink()
    for _ in range(2):
        watched.task.run_once()
    assert (watched.usable, watched.finds()) == (0, ["XLON:NGB"])


def test_a_file_that_says_the_same_builds_nothing(watched):
    watched.write("# a comment\n")
    for _ in range(2):
        watched.task.run_once()
    assert (watched.usable, watched.classifier.used) == (1, 0)


def test_whatever_goes_wrong_with_a_file_ends_no_monitor(watched, monkeypatch, caplog):
    def fail(_linker: Linker) -> None:
        raise MemoryError

    watched.write(ADDED)
    with monkeypatch.context() as patched:
        patched.setattr(Linker, "load", fail)
        for _ in range(3):
            watched.task.run_once()
    assert (watched.usable, watched.classifier.used) == (0, 0)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    watched.write(f"# again\n{ADDED}")
    for _ in range(2):
        watched.task.run_once()
    assert (watched.usable, watched.finds()) == (1, ["XLON:NGB"])
