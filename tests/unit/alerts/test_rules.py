import re
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.baselines.baseline import count_documents, count_negatives
from alerts.detectors.base import ALL_TOPICS
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.detectors.threshold import ThresholdRule
from alerts.errors import RuleError
from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from monitor.demo.demo import RULES as DEMO_RULES

ROOT = Path(__file__).parents[3]
PACKAGES = ("alerts", "stream", "models", "monitor")
GOOD = """\
rules:
  - name: share
    type: threshold
    watch: negative_share
    threshold: 0.6
    window: 90s
    for: 2m
    topics: [Earnings, IPO]
  - name: surge
    type: negative_surge
    topics: all
    baseline: 7d
"""


def load(tmp_path: Path, text: str, topics: tuple[str, ...] = ()) -> object:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return load_rules(path, topics)


def test_rules_are_read_with_durations_and_defaults(tmp_path: Path) -> None:
    share, surge = load(tmp_path, GOOD)  # type: ignore[misc]
    assert isinstance(share, ThresholdRule)
    assert isinstance(surge, NegativeSurgeRule)
    assert (share.window, share.hold) == (timedelta(seconds=90), timedelta(minutes=2))
    assert (share.direction, share.clear_at) == (1, 0.6)
    assert surge.baseline == timedelta(days=7)
    assert share.watched_topics(("Macro",)) == ("Earnings", "IPO")
    assert surge.watched_topics(("Macro",)) == (ALL_TOPICS,)


@pytest.mark.parametrize("path", [SHIPPED_RULES, DEMO_RULES])
def test_the_shipped_rules_are_valid(path: Path) -> None:
    assert load_rules(path)


BROKEN = [
    ("no rule", "rules: []\n", "rules.yaml:1: no rules"),
    ("a key twice", GOOD.replace("window: 90s", "window: 90s\n    window: 1h"), "rules.yaml:7: the key 'window' is there twice"),
    ("all rules twice", GOOD + GOOD, "rules.yaml:13: the key 'rules' is there twice"),
    ("a window of no length", GOOD.replace("window: 90s", "window: 0s"), "rules.yaml:2: rule 'share': window must be longer than 0s"),
    ("an unknown key", GOOD.replace("window: 90s", "windw: 90s"), "rules.yaml:6: rule 'share': unknown key 'windw' (did you mean 'window'?)"),
    ("a wrong type", GOOD.replace("type: threshold", "type: treshold"), "rules.yaml:3: rule 'share': type is 'treshold' (did you mean 'threshold'?); allowed: threshold, negative_surge"),
    ("a word instead of a number", GOOD.replace("0.6", "high"), "rules.yaml:5: rule 'share': threshold is 'high'"),
    ("out of range", GOOD.replace("0.6", "60"), "rules.yaml:5: rule 'share': threshold is 60"),
    ("a duration without a unit", GOOD.replace("90s", "90"), "rules.yaml:6: rule 'share': window is 90: a duration"),
    ("for", GOOD.replace("2m", "soon"), "rules.yaml:7: rule 'share': for is 'soon'"),
    ("a missing key", GOOD.replace("    watch: negative_share\n", ""), "rules.yaml:2: rule 'share': watch is required"),
    ("an unknown topic", GOOD.replace("IPO", "Ipo"), "rules.yaml:8: rule 'share': unknown topic 'Ipo'; known: Earnings, IPO"),
    ("a name twice", GOOD.replace("name: surge", "name: share"), "rules.yaml:9: rule 'share': the name is taken"),
    ("thresholds the wrong way round", GOOD.replace("threshold: 0.6", "threshold: 0.6\n    resolve_at: 0.7"), "resolve_at must lie on the calm side"),
    ("no list", "rules: 5", "rules.yaml:1: expected a mapping with the key `rules`"),
    ("nothing", "", "rules.yaml:1: expected a mapping with the key `rules`"),
    ("another key", "rule: []", "rules.yaml:1: unknown key 'rule'"),
    ("no YAML", "rules:\n  - name: [", "rules.yaml:"),
    ("a tag that would make an object", "rules: [!!python/object/apply:os.system [ls]]", "rules.yaml:1:"),
    ("a duration beyond reason", GOOD.replace("90s", "99999999999999d"), "window is '99999999999999d': at most 366d"),
    ("a topic twice", GOOD.replace("[Earnings, IPO]", "[IPO, IPO]"), "a list that names each topic once"),
    ("no kind at all", GOOD.replace("window: 90s", "kinds: []"), "rules.yaml:6: rule 'share': kinds is []"),
    ("a name that YAML takes for a date", GOOD.replace("name: share", "name: 2024-13-45"), "rules.yaml:2:"),
    ("a key that is no word", "? [a]\n: 1\n", "rules.yaml:1: unknown key"),
    ("a rule that is no mapping", "rules: [5]", "rules.yaml:1: rule '(unnamed)'"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "message"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_rule_is_refused_with_file_line_and_rule(
    tmp_path: Path, what: str, text: str, message: str
) -> None:
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text, ("Earnings", "IPO"))
    assert message in str(caught.value)


def test_every_error_is_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("90s", "90").replace("baseline: 7d", "baseline: 1m")
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 2
    assert "baseline must be longer than window" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"gone\.yaml: cannot be read"):
        load_rules(tmp_path / "gone.yaml")


def test_a_rule_type_is_one_file_and_one_entry_in_the_registry() -> None:
    """No other code knows a rule type by name: it asks every rule for what the base class declares."""
    code = {path: path.read_text() for part in PACKAGES for path in (ROOT / part).rglob("*.py")}
    for name, rule_type in RULE_TYPES.items():
        own = ROOT / "alerts" / "detectors" / f"{name}.py"
        users = {path for path, text in code.items() if re.search(rf"\b{rule_type.__name__}\b", text)}
        assert users == {own, ROOT / "alerts" / "rules" / "registry.py"}
    assert not [path for path, text in code.items() if re.search(r"isinstance\([^()]*Rule\b", text)]


def test_every_rule_type_states_its_own_facts() -> None:
    required = {
        "threshold": {"watch": "mean_score", "threshold": -0.3},
        "heartbeat": {"sources": ["wire"], "for": "0s"},
    }
    rules = {
        name: rule_type.model_validate({"name": "x", "type": name} | required.get(name, {}))
        for name, rule_type in RULE_TYPES.items()
    }

    def named(fact: str) -> set[str]:
        return {name for name, rule in rules.items() if getattr(rule, fact)}

    surges, baselines = {"negative_surge", "volume_surge"}, {"mood_shift", "silence", "slow_drift"}
    assert named("watches_documents") == rules.keys() - {"heartbeat"}
    assert named("has_evidence") == rules.keys() - {"heartbeat", "silence"}
    assert named("can_fire_late") == {"threshold", "mood_shift"} | surges
    assert named("baseline_spec") == named("false_page_budget") == surges | baselines
    assert named("step_length") == {"slow_drift"}
    assert {name: rules[name].baseline_spec.count for name in surges | baselines} == {
        "negative_surge": count_negatives,
        "volume_surge": count_documents,
        "mood_shift": count_negatives,
        "silence": count_documents,
        "slow_drift": count_negatives,
    }
    drift = rules["slow_drift"].baseline_spec
    assert (drift.history, drift.comparison_length) == (timedelta(days=28), timedelta(hours=12))


def test_a_rule_that_waits_cannot_fire_late() -> None:
    rule = RULE_TYPES["volume_surge"].model_validate({"name": "x", "type": "volume_surge", "for": "5m"})
    assert not rule.can_fire_late
