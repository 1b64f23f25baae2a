"""The command line as a script or a person calls it."""

import json
import logging
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alerts.settings import SHIPPED_RULES
from models.settings import SHIPPED_WEIGHTS
from monitor.cli import train
from monitor.cli.main import COMMANDS, main
from tests.parts import free_port


def call(*words: str, stdin: str | bytes | None = None, **environ: str) -> Result:
    clean = {"MONITOR_CONFIG": None, **environ}
    return CliRunner().invoke(main, list(words), input=stdin, env=clean, catch_exceptions=False)


def commands() -> list[tuple[str, ...]]:
    return [
        (),
        *[(name,) for name in COMMANDS],
        ("topics", "create"),
        ("db", "upgrade"),
        ("models", "promote"),
        ("rules", "check"),
        ("alerts", "test"),
        ("offsets", "rewind"),
    ]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    result = call(*words, "--help")
    assert result.exit_code == 0
    assert len(result.output) > 100
    if "Commands:" not in result.output:
        assert "Examples:" in result.output


def answers(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_classify_answers_every_line_in_order_by_its_contract() -> None:
    lines = [
        "Alderbrook Foods shares plunge 20% after profit warning",
        '{"id": "b", "title": "Brightmoor Energy posts record profit", "text": "Outlook raised."}',
        "トヨタの株価が下落した",
        '{"id": 7, "text": "Oil climbs 3% as producers extend output cuts", "other": 1}',
        "",
    ]
    result = call("classify", "--json", "-", stdin="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.stderr
    answered = answers(result)
    assert [a["id"] for a in answered] == [None, "b", None, "7", None]
    assert [a["status"] for a in answered] == ["ok", "ok", "unsupported", "ok", "unsupported"]
    assert [a["sentiment"] and a["sentiment"]["label"] for a in answered[:3]] == [
        "negative",
        "positive",
        None,
    ]
    keys = {"id", "lang", "topic", "sentiment", "score", "probabilities", "evidence", "status", "model"}
    keys |= {"certain", "windows", "entities", "gazetteer", "events", "judged_by"}
    assert [a["certain"] for a in answered] == [True, True, False, True, False]
    for answer in answered:
        assert answer.keys() == keys
    assert answered[2]["lang"] == "ja" and answered[2]["topic"] is None and answered[2]["score"] is None
    titled = "Brightmoor Energy posts record profit\nOutlook raised."
    for text, answer in ((lines[0], answered[0]), (titled, answered[1])):
        assert answer["evidence"]
        for span in answer["evidence"]:
            assert span.keys() == {"task", "text", "start", "end", "weight"}
            assert text[span["start"] : span["end"]] == span["text"]
    probabilities = answered[0]["probabilities"]
    assert answered[0]["sentiment"]["probability"] == max(probabilities["sentiment"].values())
    assert answered[0]["topic"]["probability"] == probabilities["topic"][answered[0]["topic"]["label"]]


def test_an_unreadable_line_is_reported_and_the_other_lines_are_answered() -> None:
    lines = ["Shares rise", '{"text": ', '{"id": "x"}', '{"text": 5}', "Shares fall"]
    result = call("classify", "--json", "-", stdin="\n".join(lines))
    assert result.exit_code == 1
    answered = answers(result)
    assert [a["status"] for a in answered] == ["ok", "unsupported", "unsupported", "unsupported", "ok"]
    assert "-:2: not JSON" in result.stderr
    assert "-:3: text or title is required" in result.stderr
    assert "-:4: text must be a text, not 5" in result.stderr


def test_invalid_utf_8_affects_only_its_own_line() -> None:
    result = call("classify", "--json", "-", stdin=b"Shares \xff rise\nShares fall\n")
    assert result.exit_code == 1
    broken, whole = answers(result)
    assert "-:1: not UTF-8" in result.stderr and broken["status"] == "unsupported"
    assert whole["sentiment"]["label"] == "negative"


def test_without_json_the_answer_is_plain_text() -> None:
    result = call("classify", "-", stdin="Alderbrook Foods shares plunge 20% after profit warning\n")
    assert result.stdout.startswith("negative 0.")


def test_a_label_below_its_threshold_is_shown_as_uncertain() -> None:
    result = call("classify", "-", stdin="Shares\n", MONITOR_MODELS__CERTAIN_FROM="1")
    assert result.stdout.rstrip().endswith("uncertain")
    result = call("classify", "--json", "-", stdin="Shares\n", MONITOR_MODELS__CERTAIN_FROM="1")
    (answer,) = answers(result)
    assert (answer["status"], answer["certain"]) == ("ok", False)
    assert answer["sentiment"]["label"]


def test_explain_gives_each_word_a_weight_and_escapes_the_text(tmp_path: Path) -> None:
    text = "Brightmoor <b>soars</b> on record profit while Alderbrook plunges"
    page = tmp_path / "why.html"
    result = call(
        "explain", "--json", "--html", str(page), "--target", "Alderbrook", "--target", "Nobody", text
    )
    (answer,) = answers(result)
    assert answer["method"] == "integrated"
    reads_as = text.replace("<b>", "").replace("</b>", "")
    assert "".join(word["text"] for word in answer["words"]) == reads_as.replace(" ", "")
    assert answer["targets"]["Alderbrook"]["sentiment"]["label"] == "negative"
    assert answer["targets"]["Nobody"]["sentiment"] is None
    assert "<b>soars" not in page.read_text() and "soars" in page.read_text()
    shown = call("explain", "--method", "attention", text)
    assert text in shown.stdout.replace("\n", " ")


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_explain_shows_weights_wherever_its_output_goes(colours: dict[str, str]) -> None:
    shown = call("explain", "--method", "attention", "Alderbrook Foods shares plunge 20%", **colours).stdout
    weights, changes = shown.splitlines()[2:4]
    assert "plunge +1.00" in weights and weights.startswith("weights: ")
    assert "plunge -0." in changes and changes.startswith("change without the word: ")
    assert "Alderbrook" not in weights and "20%" not in weights


def test_explain_finds_a_name_whatever_stands_between_its_letters() -> None:
    text = "Harrow &amp; <b>Pike</b> soars while Al\u00adder\u00adbrook plunges"
    result = call("explain", "--json", "--target", "Harrow & Pike", "--target", "Alderbrook", text)
    (answer,) = answers(result)
    assert answer["targets"]["Harrow & Pike"]["sentiment"]["label"] == "positive"
    assert answer["targets"]["Alderbrook"]["sentiment"]["label"] == "negative"


def test_explain_gives_no_sentiment_towards_names_in_chinese_and_says_why(tmp_path: Path) -> None:
    page, text = tmp_path / "why.html", "苹果利润大增，股价涨停"
    result = call("explain", "--json", "--html", str(page), "--target", "苹果", text)
    (answer,) = answers(result)
    target = answer["targets"]["苹果"]
    reason = f"{answer['prediction']['model']} was not trained for the sentiment towards names in 'zh' texts"
    assert (target["sentiment"], target["status"], target["error"]) == (None, "unsupported", reason)
    assert answer["prediction"]["sentiment"]["label"] == "positive"
    shown = call("explain", "--method", "attention", "--target", "苹果", text).stdout
    assert shown.splitlines()[1] == text, "every character once"
    assert f"苹果: no label: {reason}" in " ".join(shown.split())
    assert "was not trained for the sentiment towards names" in page.read_text()


def test_house_rows_become_a_version_that_can_be_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SECONDS_BETWEEN_LINES", 0.05)
    rows = [
        {"text": f"{company} {said}", "mood": mood}
        for company in ("Acme", "Brightmoor", "Alderbrook", "Northgate", "Kestrel", "Orwell", "Tamar", "Vesta")
        for said, mood in (
            ("wins a large order from the navy", "positive"), ("loses its largest customer", "negative"),
            ("moves its office to Leeds", "neutral"), ("pays a special dividend", "positive"),
            ("recalls ten thousand cars", "negative"), ("names a new head of marketing", "neutral"),
        )
    ]  # fmt: skip
    file, registry = tmp_path / "rows.jsonl", tmp_path / "registry"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    result = call(
        "train", "--json", "--train", str(file), "--valid", str(file), "--map", "sentiment=mood",
        "--epochs", "1", "--registry", str(registry),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (summary,) = answers(result)
    assert summary["leaks"] == len(rows)
    assert "nearly repeat training rows" in result.stderr
    assert re.search(r"^epoch 1, [\d.]+ rows/s, loss [\d.]+: \d+ of \d+, .* so far$", result.stderr, re.M)
    version = summary["version"]
    assert call("models", "promote", version, "--registry", str(registry)).exit_code == 0
    listed = call("models", "list", "--registry", str(registry)).stdout
    assert listed.startswith(f"* {version}")
    assert version in call("models", "show", version, "--registry", str(registry)).stdout
    page = tmp_path / "report.html"
    scored = call(
        "evaluate", "--json", "--checks", "--html", str(page), "--against", str(registry / version),
        "--map", "sentiment=mood", str(file), MONITOR_MODELS__WEIGHTS=str(registry),
    )  # fmt: skip
    (report,) = answers(scored)
    (task,) = report["files"][str(file)]
    assert task["accuracy"] > 0.8
    (comparison,) = report["comparisons"][str(file)]
    assert (comparison["only_first"], comparison["only_second"], comparison["p_value"]) == (0, 0, 1.0)
    assert {check["name"] for check in report["robustness"]["en"]["flips"]} >= {"company", "typo", "all"}
    assert "<svg" in page.read_text() and "<script" not in page.read_text()


def test_an_invalid_setting_exits_with_2_and_prints_one_line() -> None:
    result = call("topics", "create", MONITOR_KAFKA__PARTITIONS="none")
    assert result.exit_code == 2
    assert "MONITOR_KAFKA__PARTITIONS: 'none' is not allowed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_broker_exits_with_1_and_prints_one_line(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text("{}")
    address = f"127.0.0.1:{free_port()}"
    for words in (("topics", "create"), ("feed", str(file))):
        result = call(*words, MONITOR_KAFKA__BOOTSTRAP_SERVERS=address)
        assert result.exit_code == 1
        assert f"no broker answers at {address}" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--speed", "fast"), "a number above 0, or max"),
        (("--speed", "-1"), "a number above 0, or max"),
        (("--map", "title"), "FIELD=COLUMN was expected"),
        (("--map", "headline=title"), "no field 'headline'; allowed: id, source"),
        (("--kind", "rumour"), "'news', 'comment'"),
    ],
)
def test_wrong_options_of_feed_are_explained(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text("{}")
    result = call("feed", str(file), *words)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_settings_are_shown_without_secrets() -> None:
    url = "postgresql+psycopg://me:hunter2@db/x"
    result = call("settings", "--json", MONITOR_DATABASE__URL=url)
    assert json.loads(result.stdout)["database.url"] == "(secret)"
    assert "hunter2" not in call("settings", MONITOR_DATABASE__URL=url).output


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry whose promoted version is the shipped model."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "house").symlink_to(SHIPPED_WEIGHTS, target_is_directory=True)
    (folder / "current").write_text("house\n")
    return folder


def test_every_command_that_reads_the_model_accepts_a_registry(registry: Path, tmp_path: Path) -> None:
    environ = {"MONITOR_MODELS__WEIGHTS": str(registry), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    checked = call("rules", "check", str(SHIPPED_RULES), **environ)
    assert checked.exit_code == 0, checked.stderr
    findings = {
        finding["check"]: finding for finding in json.loads(call("doctor", "--json", **environ).stdout)
    }
    assert logging.getLogger("stream").isEnabledFor(logging.WARNING), "only the doctor itself logs nothing"
    assert (findings["model"]["ok"], findings["rules"]["ok"]) == (True, True)
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        '{"published_at": "2026-03-01T00:00:00Z", "title": "Shares plunge after a profit warning"}\n'
    )
    tested = call("backtest", "--json", "--data", str(texts), **environ)
    assert tested.exit_code == 0, tested.stderr
    shown = json.loads(call("settings", "--json", **environ).stdout)
    assert shown["models.weights"] == str(registry)


def test_a_model_that_is_missing_is_one_finding_of_the_doctor(tmp_path: Path) -> None:
    result = call("doctor", "--json", MONITOR_MODELS__WEIGHTS=str(tmp_path / "none"))
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert not findings["model"]["ok"] and "is not a trained classifier" in findings["model"]["detail"]


def test_a_registry_without_a_promoted_version_fails_the_doctor_and_not_the_database(registry: Path) -> None:
    (registry / "current").unlink()
    environ = {"MONITOR_MODELS__WEIGHTS": str(registry)}
    findings = {
        finding["check"]: finding for finding in json.loads(call("doctor", "--json", **environ).stdout)
    }
    assert "nothing promoted: monitor models promote VERSION" in findings["model"]["detail"]
    assert (findings["settings"]["ok"], findings["model"]["ok"], findings["rules"]["ok"]) == (
        True,
        False,
        False,
    )
    database = f"sqlite:///{registry / 'monitor.db'}"
    assert call("db", "upgrade", **environ, MONITOR_DATABASE__URL=database).exit_code == 0
    checked = call("rules", "check", str(SHIPPED_RULES), **environ)
    assert checked.exit_code == 1
    assert "nothing promoted" in checked.stderr


def test_run_reports_that_its_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = call("run", MONITOR_HTTP__PORT=port)
    assert result.exit_code == 2
    assert f"http.port: {port} on 127.0.0.1 cannot be used" in result.stderr
