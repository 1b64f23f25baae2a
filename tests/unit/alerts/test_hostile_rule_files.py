"""A rule file that a running monitor reads can neither end it nor keep it waiting, whatever it holds."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.delivery.pages import PageRouter
from alerts.delivery.template import EXAMPLE, render
from alerts.detectors.base import Observation, SubjectWindow
from alerts.detectors.threshold import ThresholdRule
from alerts.errors import RuleError
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile, load_rules
from stream.domain.errors import StoreUnavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GOOD = "rules:\n  - {name: good, type: threshold, watch: mean_score, threshold: -0.3}\n"
SECONDS = 10.0  # far more than any of them takes, for a machine that is busy


def with_field(text: str) -> str:
    return f"rules:\n  - name: bad\n    type: threshold\n    watch: mean_score\n    threshold: -0.3\n    {text}\n"


def bomb() -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(levels)


HOSTILE = {
    "a tag that fails": ("rules:\n  - name: !!bool x\n", r":2: tags such as 'tag:yaml.org,2002:bool' are not allowed"),
    "an empty number": ("rules:\n  - name: !!int \"\"\n", ":2: tags such as"),
    "a tag of its own": ("rules: !mine []\n", ":1: tags such as '!mine'"),
    "the non-specific tag": ("rules:\n  - ! {name: x}\n", ":2: tags such as '!'"),
    "a set": ("rules: !!set {a, b}\n", ":1: tags such as"),
    "deep nesting": ("rules: " + "[" * 100_000, ":1: nested more than 20 deep"),
    "deep nesting in blocks": ("rules:\n" + "".join(" " * i + "-\n" for i in range(1, 500)), ": nested more than 20"),
    "an alias bomb": (bomb(), ":1: anchors and aliases are not allowed"),
    "an alias to itself": ("rules: &r [*r]\n", ":1: anchors and aliases"),
    "a merge": (with_field("<<: {window: 5m}"), ":6: merge keys"),
    "a huge file": ("#" * 1_000_001, "cannot be read: longer than 1,000,000 bytes"),
    "a huge value": (with_field(f"runbook: {'x' * 20_000}"), ":6: a value of 20,000 characters"),
    "a number of many digits": (with_field(f"min_documents: {'9' * 9000}"), ": a value cannot be read: Exceeds the limit"),
    "a hexadecimal number of many digits": (with_field(f"window: 0x{'f' * 9000}"), "a number that is too long to show"),
    "a number in base sixty": (with_field(f"window: {':'.join(['59'] * 3000)}"), ":6: rule 'bad': window is a number that"),
    "a NUL": (with_field('sources: ["a\\0"]'), ":6: a value with a NUL character"),
    "half a surrogate pair": (with_field('labels: {team: "\\ud800"}'), ":6: not YAML: found invalid Unicode"),
    "an infinite number": (with_field("threshold: .inf"), ":5: rule 'bad': threshold is inf"),
    "too many names": (with_field(f"sources: [{', '.join(f's{i}' for i in range(2000))}]"), ":6: rule 'bad': sources is"),
    "too many rules": ("rules:\n" + "  - {}\n" * 2000, ":1: 2,000 rules; at most 1,000"),
    "hundreds of errors": ("rules:\n" + "  - {name: x, type: y}\n" * 900, "and 880 more errors"),
    "a long type": (f"rules:\n  - {{name: x, type: {'y' * 5000}}}\n", r"type is 'yyy"),
    "a key that is a list": ("rules:\n  - {[a, b]: 1}\n", ":2: a value cannot be read"),
    "a plain equals sign": ("rules:\n  - {name: =}\n", ":2: a value cannot be read"),
    "two documents": (GOOD + "---\n" + GOOD, ":3: not YAML"),
    "a control character": ("rules: \x07\n", "not YAML"),
    "a template that computes": (with_field("message: \"{{ 1|int|round(400000000,'ceil') }}\""), ":6: rule 'bad': message is"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_a_short_error_that_comes_soon(case: str, tmp_path: Path) -> None:
    text, message = HOSTILE[case]
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    before = time.monotonic()
    with pytest.raises(RuleError) as caught:
        load_rules(path, ("IPO",))
    assert time.monotonic() - before < SECONDS
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 20_000


def test_a_binary_file_and_what_is_no_regular_file_are_refused_without_waiting(tmp_path: Path) -> None:
    binary, fifo, loop = tmp_path / "binary", tmp_path / "fifo", tmp_path / "loop"
    binary.write_bytes(bytes(range(256)))
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    for path, message in (
        (binary, "not UTF-8"),
        (fifo, "not a regular file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "not a regular file"),
        (loop, "Too many levels"),
        (tmp_path / "gone", "No such file"),
    ):
        with pytest.raises(RuleError, match=message):
            load_rules(path)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert [rule.name for rule in load_rules(path)] == ["good"]


def changes(file: RuleFile) -> bool:
    """A change counts when the file looks the same twice."""
    file.changed()
    return file.changed()


@pytest.mark.parametrize("case", HOSTILE)
def test_the_rules_that_are_loaded_stay(case: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    file = RuleFile(path, ("IPO",))
    path.write_text(HOSTILE[case][0], encoding="utf-8")
    with pytest.raises(RuleError):
        changes(file)
    assert [rule.name for rule in file.rules] == ["good"]
    assert not changes(file), "an error is told once"
    path.write_text(GOOD + "  - {name: more, type: volume_surge}\n")
    assert changes(file)
    assert [rule.name for rule in file.rules] == ["good", "more"]


def test_the_rules_stay_when_the_file_vanishes_or_becomes_a_folder_or_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    file = RuleFile(path)
    path.unlink()
    with pytest.raises(RuleError, match="No such file"):
        changes(file)
    path.mkdir()
    with pytest.raises(RuleError, match="Is a directory"):
        changes(file)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(RuleError, match="not a regular file"):
        changes(file)
    assert [rule.name for rule in file.rules] == ["good"]


def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD + "  - {name: more, type: volume_surge}\n")
    file = RuleFile(path)
    path.write_text("")
    assert not file.changed()
    path.write_text(GOOD)
    assert not file.changed()
    with path.open("a") as writer:
        writer.write("  - {name: other, type: volume_surge}\n")
    assert not file.changed()
    assert file.changed()
    assert [rule.name for rule in file.rules] == ["good", "other"]


class FailingRule(ThresholdRule):
    """A rule that fails on what it sees."""

    def observe(self, topic: str, window: SubjectWindow) -> Observation:
        raise OverflowError("int too large to convert to float")


class GoneStore(MemoryStore):
    def sums(self, *_: object) -> Sequence[object]:  # type: ignore[override]
        raise StoreUnavailable("gone")


def evaluator(store: MemoryStore) -> AlertEvaluator:
    fields = {"type": "threshold", "watch": "mean_score", "threshold": -0.3}
    return AlertEvaluator(
        rules=[
            FailingRule.model_validate(fields | {"name": "failing"}),
            ThresholdRule.model_validate(fields | {"name": "good"}),
        ],
        topics=("IPO",),
        reader=store,
        episodes=store,
        delivery=PageRouter(),
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )


def test_a_rule_that_cannot_be_evaluated_is_told_once_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = evaluator(MemoryStore([]))
    for minute in range(3):
        assert rules.evaluate(NOW + minute * MINUTE) == []
    assert rules.failures == {"failing": "OverflowError: int too large to convert to float"}
    assert [record.getMessage() for record in caplog.records] == [
        "rule failing cannot be evaluated, the others go on: OverflowError: int too large to convert to float"
    ]


def test_a_database_that_is_away_is_no_failure_of_a_rule() -> None:
    rules = evaluator(GoneStore([]))
    with pytest.raises(StoreUnavailable):
        rules.evaluate(NOW)
    assert rules.failures == {}


SLOW = [
    "{{ 1|int|round(400000000,'ceil') }}",
    "{{ value | round(precision=400000000) }}",
    "{{ value | round(-400000000) }}",
    "{{ value | round(n) }}",
    "{{ value | round(*topic) }}",
    "{{ value | round(**topic) }}",
    "{{ 'a' * 10 ** 9 }}",
    "{{ 10 ** 10 ** 9 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ 'a' | replace('a', 'b') }}",
    "{{ '1' | int(0, n) }}",
    "{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}",
    "{{ " + "not " * 900 + "1 }}",
    "{{ " + "1 if n else " * 300 + "1 }}",
    "{{ " + "n * " * 900 + "n }}",
    "{{ (" + "1000000 * " * 300 + "1) | percent }}",
    "{{ value" + " | abs" * 600 + " }}",
    "{{ topic is sameas(topic) }}",
    "{{ '" + "x" * 5000 + "' }}",
    "{% if n %}" * 100 + "{% endif %}" * 100,
    "{% set x = 'x' %}" * 100,
]


@pytest.mark.parametrize("template", SLOW)
def test_a_template_whose_time_is_not_known_to_be_short_is_refused_at_once(template: str) -> None:
    before = time.monotonic()
    with pytest.raises(ValueError, match="cannot be rendered"):
        render(template, EXAMPLE)
    assert time.monotonic() - before < SECONDS


def test_a_long_template_over_long_fields_is_short_and_quick() -> None:
    long = replace(EXAMPLE, summary="ß" * 10_000_000, topic="x" * 1_000_000)
    before = time.monotonic()
    text = render("{{ summary | upper | lower ~ topic }}" + "{{ summary ~ summary | title }}" * 100, long)
    assert time.monotonic() - before < SECONDS
    assert len(text) == 2000


def test_what_people_write_still_renders() -> None:
    template = (
        "{{ value | round(-1) }} {{ usual | default('unknown', true) }} {{ value is divisibleby 2 }} "
        "{{ n | int(0, 16) }} {{ 3 * value + 1 }} {{ topic ~ ' ' ~ state }} {{ value | round(2, 'floor') }}"
    )
    assert render(template, EXAMPLE) == "0.0 1.0 False 1 4.0 topic firing 1.0"
