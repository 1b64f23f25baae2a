"""What the command line says to a typo, a wrong path or an empty database."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import DataError
from models.training.train import check_folder
from monitor.cli.explain import find_name
from tests.unit.monitor.test_cli import call

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for hour in range(30):
            stamp = (START + timedelta(hours=hour)).isoformat()
            row = {"id": str(hour), "title": f"Profit of company {hour} falls", "published_at": stamp}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("clasify", "x"), "No such command 'clasify'. Did you mean 'classify'?"),
        (("db", "upgrad"), "No such command 'upgrad'. Did you mean 'upgrade'?"),
        (("explain", "-5 % after the warning"), "put -- before what begins with a dash"),
        (("classify", "-5 % after the warning"), "put -- before what begins with a dash"),
    ],
)
def test_a_typo_gets_a_suggestion(words: tuple[str, ...], expected: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert expected in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "Loss narrows", "--html"),
        ("evaluate", "{history}", "--html"),
        ("backtest", "--data", "{history}", "--html"),
        ("backtest", "--data", "{history}", "--png"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    words: tuple[str, ...], history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.inference.engine.Engine.load", lambda *_: pytest.fail("the work began"))
    missing = history.parent / "missing" / "page"
    result = call(*(word.format(history=history) for word in words), str(missing))
    assert result.exit_code == 2
    assert f"there is no folder {missing.parent}" in result.stderr
    folder = call(*(word.format(history=history) for word in words), str(history.parent))
    assert folder.exit_code == 2
    assert "is a directory" in folder.stderr


def test_a_backtest_from_after_the_last_text_says_when_that_is(history: Path) -> None:
    result = call("backtest", "--data", str(history), "--from", "2027-01-01")
    assert result.exit_code == 1
    assert "nothing to test: the last text is of 2026-03-03 05:00 UTC, before --from" in result.stderr


@pytest.mark.parametrize(
    "words", [("backtest",), ("purge", "--older-than", "3"), ("relabel", "--from", "2026-01-01")]
)
def test_a_missing_database_is_named_and_not_created(words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    result = call(*words, MONITOR_DATABASE__URL=f"sqlite:///{path}")
    assert result.exit_code == 1
    assert f"there is no database file {path}: run `monitor db upgrade`" in result.stderr
    assert not path.exists()


def test_in_a_pipe_a_page_of_a_backtest_is_one_line(history: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n- {name: a-rule-with-a-name-of-many-words, type: threshold, watch: negative_share,"
        " threshold: 0.5, window: 6h, min_documents: 3, severity: page}\n"
    )
    result = call("backtest", "--data", str(history), "--rules", str(rules))
    assert result.exit_code == 0, result.stderr
    pages = [line for line in result.stdout.splitlines() if "a-rule-with-a-name-of-many-words" in line]
    assert len(pages) == 1
    assert "falls" in pages[0]


def test_rules_check_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom monitor.cli.main import main\n"
        "main(['rules', 'check', 'alerts/rules.yaml'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_settings_as_json_keep_their_types() -> None:
    shown = json.loads(call("settings", "--json", MONITOR_HTTP__PORT="9200").stdout)
    assert shown["http.port"] == 9200
    assert shown["kafka.username"] is None
    assert shown["http.allowed_hosts"] == []
    assert shown["stream.heartbeat_seconds"] == pytest.approx(float(shown["stream.heartbeat_seconds"]))


def test_without_colours_an_explanation_has_its_weights_as_numbers() -> None:
    result = call("explain", "Profit falls at Alder & Sons as costs rise")
    (weights,) = [line for line in result.stdout.splitlines() if line.startswith("weights: ")]
    assert "falls +" in weights


def test_a_model_is_not_trained_into_a_folder_with_other_files(tmp_path: Path) -> None:
    check_folder(tmp_path / "new")
    (tmp_path / "logs").mkdir()
    (tmp_path / "teacher-1.npz").touch()
    check_folder(tmp_path)
    (tmp_path / "model.json").touch()
    with pytest.raises(DataError, match=r"is not empty: it holds model\.json"):
        check_folder(tmp_path)
    (tmp_path / "checkpoint-1.pt").touch()
    check_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Affordable homes, says Ford", "Ford", (23, 27)),
        ("Affordable homes", "Ford", None),
        ("Ford's loss", "ford", (0, 4)),
        ("Golden times for Goldman", "gold", None),
        ("北辰科技业绩大增", "北辰科技", (0, 4)),
        ("A.B (C) falls", "(C)", (4, 7)),
        ("Société Générale climbs", "Général", None),
        ("anything", "", None),
    ],
)
def test_a_name_is_found_as_a_whole_word(text: str, name: str, expected: tuple[int, int] | None) -> None:
    assert find_name(text, name) == expected
