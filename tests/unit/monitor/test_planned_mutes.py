"""Planned mutes in a monitor: whom they keep quiet, when pages follow, and what the commands show."""

import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.schedules.mute_file import KnownNames, MuteFile
from monitor.cli.main import main
from monitor.runtime.tasks.alert_evaluation import AlertEvaluation, EvaluationWatch, MoodGauges
from stream.domain.alerts import PageRequest
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from stream.storage.leases import Lease

MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
RULE = "{name: gloom, type: threshold, watch: negative_share, threshold: 0.6, topics: all, window: 30m, min_documents: 5}"
MUTE = "mutes:\n  - name: move\n    reason: The wire moves.\n    from: 2026-03-02 12:00\n    until: 2026-03-02 12:10\n"


def bad_news(count: int) -> list[Text]:
    return [
        Text(str(n), "wire", "news", NOW - n * MINUTE, f"loss {n}", "Markets", "negative", -9000)
        for n in range(count)
    ]


class KeptRequests(MemoryStore):
    """A store in memory that keeps the pages that were requested."""

    def __init__(self, texts: Sequence[Text]) -> None:
        super().__init__(texts)
        self.requests: list[PageRequest] = []

    def save(self, changed, dropped, transitions, page_requests, now, *more) -> None:  # type: ignore[no-untyped-def,override]
        super().save(changed, dropped, transitions, page_requests, now, *more)
        self.requests += page_requests


class Muted:
    """A monitor that evaluates one rule, with a file of mutes."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.rules, self.mutes = folder / "rules.yaml", folder / "mutes.yaml"
        self.rules.write_text(f"rules:\n  - {RULE}\n")
        self.mutes.write_text(MUTE)
        self.changes, self.now = 0, NOW
        self.memory, self.metrics = KeptRequests(bad_news(20)), AlertMetrics()
        rule_file, mute_file = RuleFile(self.rules), MuteFile(self.mutes, KnownNames())
        lease = Lease(store, "alerts", "one:1", 20)
        self.evaluation = AlertEvaluation(
            rule_file=rule_file,
            evaluator=AlertEvaluator(
                rules=rule_file.rules,
                topics=("Markets",),
                reader=self.memory,
                episodes=self.memory,
                delivery=PageRouter(["webhook:desk"]),
                window_width=store.width,
                metrics=self.metrics,
                is_muted=mute_file.is_muted,
            ),
            lease=lease,
            watch=EvaluationWatch(store=store, lease=lease, overdue_seconds=120),
            mood=MoodGauges(store.reads, StreamMetrics(), store.width),
            metrics=self.metrics,
            clock=lambda: self.now,
            mute_file=mute_file,
        )

    def after(self, minutes: float) -> int:
        """How many pages were requested by then."""
        self.now += minutes * MINUTE
        self.evaluation.run_once()
        return len(self.memory.requests)

    def write(self, text: str) -> None:
        """A change that the clock of the file system cannot hide, read at the second look."""
        self.mutes.write_text(text)
        self.changes += 1
        os.utime(self.mutes, (self.changes, self.changes))
        self.evaluation.run_once()
        self.evaluation.run_once()

    def metric(self, name: str) -> float:
        (family,) = getattr(self.metrics, name).collect()
        return float(family.samples[0].value)


@pytest.fixture
def monitor(store: Store, tmp_path: Path) -> Muted:
    return Muted(store, tmp_path)


def test_a_muted_alert_is_stored_and_counted_and_pages_when_the_mute_ends(monitor: Muted) -> None:
    assert monitor.after(0) == 0
    (alert,) = monitor.memory.open_alerts()
    assert (alert.rule, alert.state, alert.fired_at) == ("gloom", "firing", NOW)
    assert monitor.metric("muted") == 1
    assert monitor.after(9) == 0
    assert monitor.after(1) == 1
    assert monitor.metric("muted") == 0
    assert monitor.after(1) == 1, "it pages once"


def test_an_alert_that_ends_in_its_mute_never_pages(monitor: Muted) -> None:
    monitor.mutes.write_text(MUTE.replace("12:10", "23:00"))
    monitor.evaluation.run_once()
    assert monitor.after(1) == 0
    good = [
        Text(f"good{n}", "wire", "news", NOW + 30 * MINUTE + n * MINUTE, "gain", "Markets", "positive", 9000)
        for n in range(40)
    ]
    alerts, incidents = monitor.memory.alerts, monitor.memory.incidents
    MemoryStore.__init__(monitor.memory, [*monitor.memory.texts, *good])
    monitor.memory.alerts, monitor.memory.incidents = alerts, incidents
    for _ in range(20):
        assert monitor.after(10) == 0
    assert monitor.memory.open_alerts() == []
    assert monitor.memory.open_incidents() == []
    assert monitor.after(11 * 60) == 0


def test_a_mute_that_is_taken_away_lets_the_alert_page(monitor: Muted) -> None:
    assert monitor.after(0) == 0
    monitor.write("mutes: []\n")
    assert monitor.after(0) == 1


def test_a_file_with_errors_keeps_the_mutes_and_says_so(
    monitor: Muted, caplog: pytest.LogCaptureFixture
) -> None:
    assert monitor.after(0) == 0
    with caplog.at_level(logging.INFO):
        monitor.write(MUTE.replace("reason", "season"))
        assert monitor.after(1) == 0
    assert monitor.metric("rules_usable") == 0
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"{monitor.mutes}:3: mute 'move': unknown key 'season'" in errors[0]
    monitor.write(MUTE)
    assert monitor.metric("rules_usable") == 1


def run(folder: Path, *arguments: str, text: str = MUTE) -> Result:
    """`monitor mutes` with a settings file that names a file of mutes and rules."""
    (folder / "mutes.yaml").write_text(text)
    (folder / "rules.yaml").write_text(f"rules:\n  - {RULE}\n")
    config = folder / "monitor.toml"
    config.write_text(
        f'[alerts]\nmutes = "{folder}/mutes.yaml"\nrules = "{folder}/rules.yaml"\ntime_zone = "Europe/Berlin"\n'
    )
    return CliRunner().invoke(main, ["mutes", *arguments, "-c", str(config)])


WEEKENDS = "  - name: weekends\n    reason: r\n    weekdays: [saturday, sunday]\n    rules: [gloom]\n"


def test_the_list_has_what_is_muted_now_and_next(tmp_path: Path) -> None:
    shown = run(tmp_path, "list", "--at", "2026-03-02T11:05:00Z", text=MUTE + WEEKENDS)
    assert shown.exit_code == 0, shown.output
    _, now, following = (line.split("  ") for line in shown.output.splitlines())
    assert [cell.strip() for cell in now if cell] == [
        "move", "muted now", "2026-03-02 12:00 CET", "2026-03-02 12:10 CET", "everything", "The wire moves.",
    ]  # fmt: skip
    assert [cell.strip() for cell in following if cell][:5] == [
        "weekends", "planned", "2026-03-07 00:00 CET", "2026-03-09 00:00 CET", "rules gloom",
    ]  # fmt: skip


def test_the_list_for_scripts_has_times_in_utc(tmp_path: Path) -> None:
    shown = run(tmp_path, "list", "--json", "--at", "2026-03-03", text=MUTE + WEEKENDS)
    weekends, move = json.loads(shown.output)
    assert weekends["start"] == "2026-03-06T23:00:00Z"
    assert (weekends["muted"], weekends["rules"]) == (False, ["gloom"])
    assert (move["name"], move["start"], move["end"]) == ("move", None, None)


def test_without_a_file_the_list_says_that_nothing_is_muted() -> None:
    shown = CliRunner().invoke(main, ["mutes", "list"])
    assert shown.exit_code == 2
    assert "alerts.mutes names no file, so nothing is muted" in shown.output


def test_a_check_knows_the_rules_of_the_settings(tmp_path: Path) -> None:
    assert "2 mutes" in run(tmp_path, "check", str(tmp_path / "mutes.yaml"), text=MUTE + WEEKENDS).output
    wrong = run(
        tmp_path, "check", str(tmp_path / "mutes.yaml"), text=MUTE + WEEKENDS.replace("gloom", "glom")
    )
    assert wrong.exit_code == 1
    assert (
        "mutes.yaml:9: mute 'weekends': rules is ['glom']: unknown: 'glom' (did you mean 'gloom'?)"
        in wrong.output
    )
