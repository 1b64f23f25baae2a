"""A rule's own words: a sandboxed template, checked when the rule is read."""

from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.message import EXAMPLE, render
from alerts.rules import load_rules

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
        "{{ topic | upper }} at {{ '%.1f' | format(value) }}{% if usual %}, usual {{ usual }}{% endif %}"
    )
    assert render(template, EXAMPLE) == "TOPIC at 1.0, usual 1.0"


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
    ],
)
def test_what_a_template_must_not_do_is_refused_with_file_and_line(template: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be rendered"):
        render(template, EXAMPLE)
    file = tmp_path / "rules.yaml"
    file.write_text(RULE % template)
    with pytest.raises(RuleError, match=r"rules.yaml:7: rule 'gloom': message .*cannot be rendered"):
        load_rules(file)


def test_a_message_has_an_end() -> None:
    assert len(render("{{ 'x' | center(100000) }}", EXAMPLE)) <= 2000
