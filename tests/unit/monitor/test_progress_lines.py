"""Long commands say how far they are, as lines, where their output is no terminal."""

import io
import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.cli import options
from monitor.cli.main import main
from monitor.cli.options import counting, progress, show_progress
from monitor.cli.progress_lines import ProgressLines, Unit, duration, plain_lines
from stream.storage.batches import Store
from tests.unit.stream.samples import classified, write


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_has_done_of_total_rate_and_time_left() -> None:
    clock = Clock()
    lines = ProgressLines("reading", Unit.ITEMS, clock)
    clock.now += 7
    assert lines.line() == "reading: 7 s so far"
    lines.update(0, 5000, "classifying")
    clock.now += 5
    lines.update(1200, 5000, "classifying")
    assert lines.line() == "classifying: 1200 of 5000, 240/s, 16 s left, 12 s so far"
    clock.now += 15.8
    lines.update(5000, 5000, "classifying")
    assert lines.line() == "classifying: 5000 of 5000, 240/s, 28 s so far"


def test_a_new_stage_has_a_rate_of_its_own_and_a_changing_note_is_none() -> None:
    clock = Clock()
    lines = ProgressLines("reading", Unit.ITEMS, clock)
    for step in range(1, 101):
        clock.now += 1
        lines.update(step, 400, f"epoch 1 loss {1 / step:.3f}")
    assert lines.line() == "epoch 1 loss 0.010: 100 of 400, 1/s, 5 min left, 2 min so far"
    lines.update(0, 50, "scoring")
    clock.now += 1
    lines.update(25, 50, "scoring")
    assert "25 of 50, 25/s, 1 s left" in lines.line()
    lines.update(10, 50, "scoring again")
    clock.now += 1
    lines.update(20, 50, "scoring again")
    assert "20 of 50, 10/s, 3 s left" in lines.line()


def test_bytes_and_shares_are_shown_as_such_and_an_unknown_total_is_left_out() -> None:
    clock = Clock()
    lines = ProgressLines("feeding", Unit.BYTES, clock)
    lines.update(0, 10e6, "feeding")
    clock.now += 2
    lines.update(5e6, 10e6, "feeding")
    assert lines.line() == "feeding: 5.0 MB of 10.0 MB, 2.5 MB/s, 2 s left, 2 s so far"
    shares = ProgressLines("testing", Unit.SHARE, clock)
    shares.update(0, 1.0, "testing rules.yaml")
    clock.now += 30
    shares.update(0.25, 1.0, "testing rules.yaml")
    assert shares.line() == "testing rules.yaml: 25 %, 90 s left, 30 s so far"
    unknown = ProgressLines("reading", Unit.ITEMS, clock)
    clock.now += 10
    unknown.update(30, None, "reading")
    assert unknown.line() == "reading: 30, 3/s, 10 s so far"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99.4, "99 s"), (600, "10 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_come_also_while_nothing_moves_and_end_with_the_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with plain_lines("waiting", Unit.ITEMS, 0.02) as update:
        update(3, 9, "waiting")
        time.sleep(0.3)
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) > 3 and all(line.startswith("waiting: 3 of 9") for line in printed)
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_short_task_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("purging", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_what_is_read_from_a_pipe_prints_no_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "SECONDS_BETWEEN_LINES", 0.01)
    with progress(Path("-"), "classifying") as advance:
        advance(100)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("classifying") as update:
        update(1, 4, "classifying")
    assert "25%" in terminal.getvalue() and "so far" not in terminal.getvalue()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "SECONDS_BETWEEN_LINES", 0.01)


def call(*words: str, **environ: str) -> list[str]:
    """Run a command; the lines on its standard error."""
    result = CliRunner().invoke(main, words, env={"MONITOR_CONFIG": None, **environ}, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "so far" not in result.stdout
    return result.stderr.splitlines()


@pytest.mark.usefixtures("often")
def test_relabel_purge_and_upgrade_print_how_far_they_are(store: Store) -> None:
    old = datetime.now(UTC) - timedelta(days=200)
    write(store, *[classified(f"id{number}", number, at=old) for number in range(700)])
    url = store.engine.url.render_as_string(hide_password=False)
    environ = {"MONITOR_DATABASE__URL": url, "MONITOR_STREAM__PUBLISH_PREDICTIONS": "false"}
    relabelled = call("relabel", **environ)
    assert any(re.match(r"classifying: \d+ of 700, ", line) for line in relabelled), relabelled
    assert any("700 of 700" in line or "512 of 700" in line for line in relabelled), relabelled
    assert any(line.startswith("upgrading: ") for line in call("db", "upgrade", **environ))
    assert any(line.startswith("purging: ") for line in call("purge", "--older-than", "1", **environ))


@pytest.mark.usefixtures("often")
def test_backtest_prints_how_far_it_is(tmp_path: Path) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    rows = [
        {
            "text": f"Profit of the group {'falls' if number % 2 else 'rises'} by {number} percent",
            "published_at": (start + timedelta(hours=number)).isoformat(),
        }
        for number in range(120)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tested = call("backtest", "--data", str(file), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert any(re.match(r"(classifying|testing .*): \d+ %", line) for line in tested), tested
