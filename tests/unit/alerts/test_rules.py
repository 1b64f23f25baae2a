from datetime import timedelta
from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.rule_file import load_rules
from alerts.rules import ALL, NegativeSurgeRule, ThresholdRule, topics_of
from alerts.settings import SHIPPED_RULES
from monitor.demo.demo import RULES as DEMO_RULES

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
    assert topics_of(share, ("Macro",)) == ("Earnings", "IPO")
    assert topics_of(surge, ("Macro",)) == (ALL,)


@pytest.mark.parametrize("path", [SHIPPED_RULES, DEMO_RULES])
def test_the_shipped_rules_are_valid(path: Path) -> None:
    assert load_rules(path)


BROKEN = [
    ("an unknown key", GOOD.replace("window: 90s", "windw: 90s"), "rules.yaml:6: rule 'share': unknown key 'windw' (did you mean 'window'?)"),
    ("a wrong type", GOOD.replace("type: threshold", "type: treshold"), "rules.yaml:3: rule 'share': type is 'treshold' (did you mean 'threshold'?); allowed: threshold, negative_surge"),
    ("a number as text", GOOD.replace("0.6", "high"), "rules.yaml:5: rule 'share': threshold is 'high'"),
    ("out of range", GOOD.replace("0.6", "60"), "rules.yaml:5: rule 'share': threshold is 60"),
    ("a duration without a unit", GOOD.replace("90s", "90"), "rules.yaml:6: rule 'share': window is 90: a duration"),
    ("for", GOOD.replace("2m", "soon"), "rules.yaml:7: rule 'share': for is 'soon'"),
    ("a missing key", GOOD.replace("    watch: negative_share\n", ""), "rules.yaml:2: rule 'share': watch is required"),
    ("an unknown topic", GOOD.replace("IPO", "Ipo"), "rules.yaml:8: rule 'share': unknown topic 'Ipo'; known: Earnings, IPO"),
    ("a name twice", GOOD.replace("name: surge", "name: share"), "rules.yaml:9: rule 'share': the name is taken"),
    ("thresholds the wrong way round", GOOD.replace("threshold: 0.6", "threshold: 0.6\n    resolve_at: 0.7"), "resolve_at must lie on the calm side"),
    ("no list", "rules: 5", "rules.yaml:1: a mapping with the key `rules`"),
    ("nothing", "", "rules.yaml:1: a mapping with the key `rules`"),
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


@pytest.mark.parametrize(("what", "text", "complaint"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_rule_is_refused_with_file_line_and_rule(
    tmp_path: Path, what: str, text: str, complaint: str
) -> None:
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text, ("Earnings", "IPO"))
    assert complaint in str(caught.value)


def test_every_complaint_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("90s", "90").replace("baseline: 7d", "baseline: 1m")
    with pytest.raises(RuleError) as caught:
        load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 2
    assert "baseline must be longer than window" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"gone\.yaml: cannot be read"):
        load_rules(tmp_path / "gone.yaml")
