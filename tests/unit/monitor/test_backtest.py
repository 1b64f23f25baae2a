"""`monitor backtest`: history in, pages out, as a person or a script calls it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from alerts.settings import SHIPPED_RULES
from monitor.cli.main import main

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = """\
rules:
  - name: mood
    type: mood_shift
    topics: all
    window: 6h
    min_documents: 4
    min_baseline: 3d
    false_pages_per_month: 1
"""
DULL = "The company will hold its annual general meeting on {} March in <b>Leeds</b>"
BAD = "Profit plunges {} percent as R&D orders collapse, <script>alert(1)</script> shares slump"


def headlines(path: Path) -> Path:
    """Ten days of dull news, and a night of bad news on the tenth."""
    rows = [{"when": (START + h * HOUR).timestamp(), "headline": DULL.format(h)} for h in range(0, 240, 2)]
    crash = START + 217 * HOUR
    rows += [{"when": (crash + i * HOUR / 2).timestamp(), "headline": BAD.format(i + 20)} for i in range(10)]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines[:50], "no json", *lines[50:], lines[0], '{"headline": "x"}']) + "\n")
    return path


@pytest.fixture
def backtest(tmp_path: Path) -> Callable[..., Result]:
    data = headlines(tmp_path / "news.jsonl")
    (tmp_path / "rules.yaml").write_text(RULES)

    def call(*words: str) -> Result:
        arguments = ["backtest", "--rules", str(tmp_path / "rules.yaml"), "--data", str(data)]
        arguments += ["--map", "published_at=when,title=headline", *words]
        clean = {"MONITOR_CONFIG": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        return CliRunner().invoke(main, arguments, env=clean, catch_exceptions=False)

    return call


def test_it_reports_when_the_rules_would_have_paged_and_on_which_evidence(
    backtest: Callable[..., Result], tmp_path: Path
) -> None:
    result = backtest("--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    page = answer["pages"][0]
    assert (page["page"], page["number"]) == ("begin", 1) and page["incident"] and page["title"]
    assert [other["page"] for other in answer["pages"][1:]] in ([], ["end"])
    assert {"entities", "stories", "voices", "robustness"} <= page.keys()
    assert answer["documents"] == 130  # the repeat counts once
    assert "news.jsonl:51: not JSON" in result.stderr
    assert "no published_at" in result.stderr
    assert (page["rule"], page["topic"], page["severity"]) == ("mood", "all", "page")
    fired = datetime.fromisoformat(page["fired_at"])
    assert START + 218 * HOUR <= fired <= START + 221 * HOUR
    assert page["value"] > page["threshold"]
    assert page["n"] >= 4
    assert page["evidence"][0]["content"].startswith("Profit plunges")
    assert len(list((tmp_path / "cache" / "sentiment-monitor").glob("*.json"))) == 1
    assert json.loads(backtest("--json").stdout) == answer  # from the cache


def test_known_events_give_delay_recall_and_false_pages(
    backtest: Callable[..., Result], tmp_path: Path
) -> None:
    events = tmp_path / "events.csv"
    events.write_text(
        "name,start,end\nCrash,2026-03-11T01:00:00Z,2026-03-11T12:00:00Z\nOther,2026-03-05T00:00:00Z,\n"
    )
    answer = json.loads(backtest("--json", "--labels", str(events)).stdout)
    assert [event["name"] for event in answer["events"]] == ["Crash", "Other"]
    assert 0 < answer["events"][0]["delay_seconds"] <= 4 * 3600
    assert answer["events"][1]["fired_at"] is None
    assert (answer["recall"], answer["false_pages"]) == (0.5, 0)
    shown = backtest("--labels", str(events)).stdout
    assert "Crash: paged after" in shown
    assert "Other: MISSED" in shown


def test_two_rule_files_are_compared_on_a_page_that_escapes_texts(
    backtest: Callable[..., Result], tmp_path: Path
) -> None:
    strict, page, picture = tmp_path / "strict.yaml", tmp_path / "pages.html", tmp_path / "pages.png"
    strict.write_text(RULES.replace("min_documents: 4", "min_documents: 40"))
    result = backtest("--against", str(strict), "--html", str(page), "--png", str(picture), "--json")
    answer = json.loads(result.stdout)
    begun = [page["incident"] for page in answer["pages"] if page["page"] == "begin"]
    assert (len(begun), len(answer["against"]["pages"])) == (1, 0)
    html = page.read_text()
    assert "R&amp;D orders" in html
    assert "<script>" not in html
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_only_pages_of_the_requested_time_are_reported(backtest: Callable[..., Result]) -> None:
    assert json.loads(backtest("--json", "--to", "2026-03-10").stdout)["pages"] == []
    assert json.loads(backtest("--json", "--from", "2026-03-11T12:00:00Z").stdout)["pages"] == []
    assert backtest("--to", "2020-01-01").exit_code == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,start\nx,soon\n", "events.csv:2: start 'soon': not a time that is read"),
        (
            "name,start,end\nx,2026-03-02T00:00:00Z,2026-03-01T00:00:00Z\n",
            "events.csv:2: the end lies before",
        ),
        ("name,start\n", "events.csv: no events"),
    ],
)
def test_an_invalid_event_is_reported_with_its_line(
    backtest: Callable[..., Result], tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "events.csv").write_text(text)
    result = backtest("--labels", str(tmp_path / "events.csv"))
    assert result.exit_code == 1
    assert complaint in result.output


def test_checking_a_rule_file_suggests_the_right_key(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULES)
    bad.write_text(RULES.replace("topics: all", "topics: [Earning]").replace("window", "windw"))
    checked = CliRunner().invoke(main, ["rules", "check", str(good)], env={"MONITOR_CONFIG": None})
    assert checked.exit_code == 0
    assert "1 rules; by chance alone they fire 1 times a month at most" in checked.output
    checked = CliRunner().invoke(main, ["rules", "check", str(bad)], env={"MONITOR_CONFIG": None})
    assert checked.exit_code == 1
    assert "unknown key 'windw' (did you mean 'window'?)" in checked.output


def test_the_published_schema_is_current_and_accepts_only_valid_rules() -> None:
    schema = json.loads(CliRunner().invoke(main, ["rules", "schema"]).stdout)
    assert schema == json.loads(SHIPPED_RULES.with_suffix(".schema.json").read_text())
    rules = yaml.safe_load(SHIPPED_RULES.read_text())
    jsonschema.validate(rules, schema)
    rules["rules"][0]["windw"] = "5m"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rules, schema)


ENTITY_RULE = """\
rules:
  - {name: who, type: negative_surge, entities: each, window: 30m, min_baseline: 3d}
"""
COMPANIES = ("Nestle", "Toyota", "Lufthansa", "Vodafone", "Siemens", "Danone", "Heineken", "Ericsson")
TROUBLES = (
    "{} shares plunge {}% after profit warning",
    "{} slumps {}% as auditor resigns over missing cash",
    "{} tumbles {}% on fears of insolvency",
    "{} posts record loss and scraps dividend, shares crash {}%",
    "{} stock collapses {}% as lenders cut credit lines",
    "{} plunges {}% after fraud investigation",
)


def test_a_burst_about_one_company_pages_it_by_its_id(tmp_path: Path) -> None:
    """The texts are classified and linked by the shipped model and list of entities."""
    crash = START + 217 * HOUR
    rows = [
        {
            "when": (START + h * HOUR).timestamp(),
            "headline": f"{COMPANIES[h % 8]} holds its annual meeting on {h}",
        }
        for h in range(0, 240, 3)
    ]
    rows += [
        {
            "when": (crash + i * HOUR / 25).timestamp(),
            "headline": TROUBLES[i % len(TROUBLES)].format("Ryanair", 20 + i),
        }
        for i in range(12)
    ]
    data, rules, page = tmp_path / "news.jsonl", tmp_path / "who.yaml", tmp_path / "pages.html"
    data.write_text("\n".join(map(json.dumps, rows)))
    rules.write_text(ENTITY_RULE)
    words = ["backtest", "--rules", str(rules), "--data", str(data), "--html", str(page), "--json"]
    clean = {"MONITOR_CONFIG": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    result = CliRunner().invoke(
        main, [*words, "--map", "published_at=when,title=headline"], env=clean, catch_exceptions=False
    )
    found, *later = json.loads(result.stdout)["pages"]
    assert found["page"] == "begin" and {page["page"] for page in later} <= {"update", "end"}
    (entity,) = found["entities"]
    assert entity == "XNAS:RYAAY"
    assert found["topic"] == "all"
    assert found["summary"].startswith("Ryanair")
    assert all("Ryanair" in item["content"] for item in found["evidence"])
    fired = datetime.fromisoformat(found["fired_at"])
    assert crash <= fired <= crash + HOUR / 2
    assert entity in page.read_text()
