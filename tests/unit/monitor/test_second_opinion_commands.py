"""What commands say of a second opinion: `classify`, `explain` and `doctor`, with two small models as a pair."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.network.info import Routing, read_info
from monitor.cli.main import main
from monitor.runtime.classifier import latest_model
from monitor.runtime.settings import load_as_set
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.unit.models.test_second_opinion import copy_model
from tests.unit.stream.samples import classified, write


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_model(tmp_path_factory.mktemp("large") / "large", "large", contrary=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that wants a second opinion on what is denied, asked or supposed."""
    route = Routing({"unreal": 1.0}, 0.5)
    return copy_model(tmp_path_factory.mktemp("small") / "small", "small", routing=route)


def run(*words: str, **environ: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(main, words, env=environ, catch_exceptions=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_classify_says_which_model_labelled_each_text(large: Path, small: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text(
        "Shares plunge after huge loss\nIs it running out of cash, or not?\n!!\n", encoding="utf-8"
    )
    own, big = read_info(small).version, read_info(large).version
    weights = {"MONITOR_MODELS__WEIGHTS": str(small)}
    for mode, expected in (("all", [big, big]), ("auto", [own, big]), ("off", [own, own])):
        setting = mode if mode == "off" else f"{mode}:{large}"
        *rows, nothing = run(
            "classify", "--json", str(texts), MONITOR_MODELS__SECOND_OPINION=setting, **weights
        )
        assert [row["judged_by"] for row in rows] == expected
        (model,) = {str(row["model"]) for row in (*rows, nothing)}
        assert model == own if mode == "off" else model.startswith(f"{own}+{big}+{mode}")
        assert nothing["judged_by"] == model


def test_explain_looks_into_the_model_that_labelled_the_text(large: Path, small: Path) -> None:
    setting = {"MONITOR_MODELS__SECOND_OPINION": f"auto:{large}", "MONITOR_MODELS__WEIGHTS": str(small)}
    text = "Is it running out of cash, or not?"
    (explained,) = run("explain", "--json", "--method", "attention", text, **setting)
    prediction = explained["prediction"]
    assert isinstance(prediction, dict)
    assert prediction["judged_by"] == read_info(large).version
    words = explained["words"]
    assert isinstance(words, list)
    evidence = {span["text"] for span in prediction["evidence"] if span["task"] == "sentiment"}
    assert evidence <= {word["text"] for word in words}


def findings(tmp_path: Path, **environ: str) -> dict[str, tuple[bool, str]]:
    url = {"MONITOR_DATABASE__URL": f"sqlite:///{tmp_path / 'test.db'}"}
    done = CliRunner().invoke(main, ["doctor", "--json"], env=url | environ, catch_exceptions=False)
    return {row["check"]: (row["ok"], row["detail"]) for row in json.loads(done.stdout)}


def test_doctor_says_which_texts_get_a_second_opinion(tmp_path: Path) -> None:
    large = copy_model(tmp_path / "large", "large")
    settings = DatabaseSettings.model_validate({"url": f"sqlite:///{tmp_path / 'test.db'}"})
    database.upgrade(settings)
    found = findings(tmp_path, MONITOR_MODELS__SECOND_OPINION="off")
    assert found["second opinion"] == (True, "off: models.second_opinion is off")
    found = findings(tmp_path, MONITOR_MODELS__SECOND_OPINION=f"all:{large}")
    ok, detail = found["second opinion"]
    assert ok and detail.startswith(f"all, by {read_info(large).version}: ")
    assert "+all on cpu in" in found["model"][1]
    found = findings(tmp_path, MONITOR_MODELS__SECOND_OPINION=str(tmp_path / "nowhere"))
    assert not found["second opinion"][0] and "models.second_opinion is" in found["second opinion"][1]
    assert not found["model"][0]


def test_a_monitor_asks_its_database_whose_labels_it_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    settings = load_as_set(None, {"MONITOR_DATABASE__URL": url})
    assert latest_model(settings) is None
    database.upgrade(settings.database)
    assert latest_model(settings) is None
    store = Store(database.connect(settings.database), 60)
    write(store, classified("a", 0, at=datetime.now(UTC)))
    store.engine.dispose()
    assert latest_model(settings) == "m-1"
    nowhere = load_as_set(None, {"MONITOR_DATABASE__URL": "postgresql+psycopg://127.0.0.1:1/x"})
    assert latest_model(nowhere) is None
