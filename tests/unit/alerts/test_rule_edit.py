"""Other numbers in the text of a rule file: everything that people wrote around them stays."""

from pathlib import Path

import pytest

from alerts.detectors.base import Rule
from alerts.errors import RuleError
from alerts.rules.rule_edit import changed_numbers, numbers_of, rule_text, with_numbers
from alerts.rules.rule_file import RuleFile, load_rule_set
from alerts.settings import SHIPPED_RULES

TEXT = """\
# 规则 of the desk 📈
rules:
  - name: "bad news"   # quoted
    type: negative_surge
    window: 15m  # a quarter
    factor: 3
    topics: [Earnings, 宏观]

  # Watches one company.
  - {name: one, type: threshold, watch: mean_score, threshold: -0.5}
  - name: feed
    type: heartbeat
    sources: [wire]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return file


def rule_named(path: Path, name: str, text: str) -> Rule:
    return next(rule for rule in load_rule_set(path, texts={path: text}).rules if rule.name == name)


def test_a_number_is_replaced_where_it_stands_and_comments_stay(path: Path) -> None:
    changed = with_numbers(path, TEXT, "bad news", {"window": "30m", "factor": "4.5"})
    assert changed == TEXT.replace("15m  #", "30m  #").replace("factor: 3", "factor: 4.5")


def test_a_number_that_was_not_written_is_added_behind_the_type(path: Path) -> None:
    changed = with_numbers(path, TEXT, "bad news", {"cool_down": "6h", "for": "5m"})
    before, after = "type: negative_surge\n", "type: negative_surge\n    cool_down: 6h\n    for: 5m\n"
    assert changed == TEXT.replace(before, after)
    assert rule_named(path, "bad news", changed).hold.total_seconds() == 300


def test_a_rule_in_braces_stays_in_braces(path: Path) -> None:
    changed = with_numbers(path, TEXT, "one", {"threshold": "-0.25", "min_documents": "5"})
    expected = "{name: one, type: threshold, min_documents: 5, watch: mean_score, threshold: -0.25}"
    assert expected in changed
    assert rule_named(path, "one", changed).min_documents == 5


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_last_line_without_an_end_gets_one_of_the_same_kind(tmp_path: Path, newline: str) -> None:
    text = newline.join(
        ("rules:", "  - name: a", "    watch: mean_score", "    threshold: 0", "    type: threshold")
    )
    changed = with_numbers(tmp_path / "r.yaml", text, "a", {"window": "1h"})
    assert changed == f"{text}{newline}    window: 1h{newline}"


def test_every_number_of_every_shipped_rule_is_written_as_the_file_would_read_it(tmp_path: Path) -> None:
    """To write each number as it is changes nothing that the rules do."""
    text = SHIPPED_RULES.read_text(encoding="utf-8")
    rules = load_rule_set(SHIPPED_RULES).rules
    for rule in rules:
        numbers = {number.key: number.text for number in numbers_of(rule) if number.text}
        assert changed_numbers(rule, numbers) == {}
        text = with_numbers(SHIPPED_RULES, text, rule.name, numbers)
    assert load_rule_set(SHIPPED_RULES, texts={SHIPPED_RULES: text}).rules == rules


def test_a_rule_on_sources_has_no_numbers_of_documents(path: Path) -> None:
    keys = {number.key for number in numbers_of(rule_named(path, "feed", TEXT))}
    assert "window" in keys
    assert not keys & {"min_documents", "min_voices", "min_relevance"}


@pytest.mark.parametrize(
    "text", ["[1, 2]", "3\n    severity: page", "!!python/name:os.system", "3 # 4", "π", "9" * 40]
)
def test_what_is_no_number_is_refused_before_it_comes_near_the_file(path: Path, text: str) -> None:
    rule = rule_named(path, "bad news", TEXT)
    with pytest.raises(RuleError, match=r"factor is .*: write a number such as 3"):
        changed_numbers(rule, {"factor": text})


def test_a_number_that_the_rule_cannot_have_is_refused_with_file_line_and_rule(path: Path) -> None:
    changed = with_numbers(path, TEXT, "bad news", {"factor": "0.5"})
    with pytest.raises(RuleError, match=r"rules\.yaml:6: rule 'bad news': factor is 0\.5"):
        RuleFile(path).load({path: changed})
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_rule_that_is_gone_is_named(path: Path) -> None:
    with pytest.raises(RuleError, match="no rule 'gone'"):
        with_numbers(path, TEXT, "gone", {"factor": "4"})


def test_the_text_of_a_rule_is_what_can_be_put_in_its_place(path: Path) -> None:
    shown = rule_text(path, TEXT, "bad news")
    assert shown.splitlines()[0] == 'name: "bad news"   # quoted'
    assert shown.splitlines()[-1] == "topics: [Earnings, 宏观]"
