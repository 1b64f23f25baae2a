"""Message templates: sandboxed, and checked when the rule file is read."""

from pathlib import Path

import pytest

from alerts.delivery.template import EXAMPLE, render
from alerts.errors import RuleError
from alerts.rules.rule_file import load_rules

RULE = """
rules:
  - name: gloom
    type: threshold
    watch: mean_score
    threshold: -0.3
    message: "%s"
"""


def test_a_template_knows_the_alerts_fields() -> None:
    template = (
        "{{ topic | upper }} at {{ value | round(1) }}{% if usual %}, usual {{ usual | percent }}{% endif %}"
    )
    assert render(template, EXAMPLE) == "TOPIC at 1.0, usual 100%"


@pytest.mark.parametrize(
    "template",
    [
        "{{ topic.__class__.__mro__ }}",
        "{{ evidence.append(1) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ tropic }}",
        "{{ topic",
        "{{ value / 0 }}",
        "{% include '/etc/passwd' %}",
        "{% set x = 'x' %}{{ x }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ '%01000000000d' | format(1) }}",
        "{{ '%01000000000d' % 1 }}",
        "{% for c in summary %}{% for d in summary %}x{% endfor %}{% endfor %}",
        "{% for a in n %}" * 21 + "{% endfor %}" * 21,
        "{{ topic | center(1000000000) }}",
        "{{ evidence[0].content }}",
    ],
)
def test_a_template_that_is_not_allowed_is_refused_with_file_and_line(template: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be rendered"):
        render(template, EXAMPLE)
    file = tmp_path / "rules.yaml"
    file.write_text(RULE % template)
    with pytest.raises(RuleError, match=r"rules.yaml:7: rule 'gloom': message .*cannot be rendered"):
        load_rules(file)


def test_a_message_is_cut_at_its_limit() -> None:
    assert len(render("{{ topic }}" * 250 + "x" * 1000, EXAMPLE)) == 2000
