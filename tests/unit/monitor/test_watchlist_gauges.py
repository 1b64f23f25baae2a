"""The gauges of the entities of alerts.watchlist, counted from SQL."""

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from alerts.errors import RuleError
from alerts.rules.rule_file import RuleFile
from alerts.rules.watchlists import MOST_WITH_GAUGES
from monitor.cli.main import main
from monitor.runtime.tasks.alert_evaluation import MoodGauges
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from tests.unit.stream.samples import NOW, about, classified, mention, write

RULES = "rules:\n  - {name: share, type: threshold, watch: negative_share, threshold: 0.6}\nwatchlists:\n"


def shown(registry: CollectorRegistry) -> dict[str, float]:
    """The series about entities, by their text."""
    lines = generate_latest(registry).decode().splitlines()
    series = [line.rpartition(" ") for line in lines if line.startswith("sentiment_entity_")]
    return {name.removeprefix("sentiment_entity_"): float(value) for name, _, value in series}


def rule_file(folder: Path, *lists: str, watchlist: str) -> RuleFile:
    path = folder / "rules.yaml"
    path.write_text(RULES + "".join(f"  {one}\n" for one in lists))
    return RuleFile(path, watchlist=watchlist)


def test_the_gauges_have_what_sql_counts_about_the_entities_of_the_watchlist_and_no_others(
    store: Store,
) -> None:
    write(
        store,
        about(classified("a", 0), mention("XNAS:AAPL", -0.5), mention("cb:FED", 0.25)),
        about(classified("b", 1), mention("XNAS:AAPL", 0.0), mention("XNYS:GE", -0.5)),
        about(classified("weak", 2), mention("XNAS:AAPL", -0.9, relevance=19)),
        about(classified("old", 3, at=NOW - timedelta(hours=3)), mention("XNAS:AAPL", -0.9)),
    )
    registry, watched = CollectorRegistry(), ["XNAS:AAPL", "cb:FED", "XPAR:MC"]
    gauges = MoodGauges(store.reads, StreamMetrics(registry), timedelta(minutes=15), lambda: tuple(watched))
    assert shown(registry) == {}
    gauges.show(NOW + timedelta(minutes=1))
    news = {name: value for name, value in shown(registry).items() if 'kind="news"' in name}
    assert news == {
        'documents{entity="XNAS:AAPL",kind="news"}': 2, 'documents{entity="cb:FED",kind="news"}': 1,
        'documents{entity="XPAR:MC",kind="news"}': 0,
        'negative_documents{entity="XNAS:AAPL",kind="news"}': 1,
        'negative_documents{entity="cb:FED",kind="news"}': 0,
        'negative_documents{entity="XPAR:MC",kind="news"}': 0,
        'mean_score{entity="XNAS:AAPL",kind="news"}': -0.25, 'mean_score{entity="cb:FED",kind="news"}': 0.25,
    }  # fmt: skip
    watched[:] = ["cb:FED"]
    gauges.show(NOW + timedelta(minutes=40))
    assert shown(registry) == {
        f'{name}{{entity="cb:FED",kind="{kind}"}}': 0
        for name in ("documents", "negative_documents") for kind in ("news", "comment")
    }  # fmt: skip
    gauges.hide()
    assert shown(registry) == {}


def test_the_rule_file_says_which_entities_have_gauges(tmp_path: Path) -> None:
    lists = ("banks: [XNYS:JPM, XNYS:BAC]", "others: [cb:FED]")
    assert rule_file(tmp_path, *lists, watchlist="banks").with_gauges == ("XNYS:JPM", "XNYS:BAC")
    assert rule_file(tmp_path, *lists, watchlist="").with_gauges == ()


def test_a_watchlist_that_is_too_long_for_gauges_or_missing_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    ids = ", ".join(f"XNYS:A{number}" for number in range(MOST_WITH_GAUGES + 1))
    with pytest.raises(RuleError, match="watchlist 'all' has 101 entities; at most 100 can have gauges"):
        rule_file(tmp_path, f"all: [{ids}]", watchlist="all")
    with pytest.raises(
        RuleError, match=r"alerts\.watchlist: there is no watchlist 'bank'.*did you mean 'banks'"
    ):
        rule_file(tmp_path, "banks: [XNYS:JPM]", watchlist="bank")


def test_a_check_of_the_rules_finds_it_before_a_monitor_does(tmp_path: Path) -> None:
    rule_file(tmp_path, "banks: [XNYS:JPM]", watchlist="")
    words = ["rules", "check", str(tmp_path / "rules.yaml")]
    checked = CliRunner().invoke(main, words, env={"MONITOR_ALERTS__WATCHLIST": "bank"})
    assert checked.exit_code == 1 and "did you mean 'banks'" in checked.stderr
    assert CliRunner().invoke(main, words, env={"MONITOR_ALERTS__WATCHLIST": "banks"}).exit_code == 0
