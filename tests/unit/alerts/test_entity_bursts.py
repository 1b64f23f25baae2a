"""Bursts about rare entities in calm months: nearly all page soon, and other pages stay within the budget.

`python -m tools.entity_bursts` does the same for a year and a hundred bursts.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from tools.entity_bursts import Burst, Calm, burst_texts, calm_texts, rare_bursts, run

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("seed", "changes"),
    [
        (1, {}),
        (2, {"length": 10 * MINUTE}),
        (3, {"texts": 25}),
    ],
)
def test_ten_bursts_in_two_months_are_paged_within_half_an_hour(
    seed: int, changes: dict[str, object]
) -> None:
    calm = Calm(days=60, entities=2000, per_day=120.0, seed=seed)
    bursts: list[Burst] = [replace(burst, **changes) for burst in rare_bursts(calm, 10)]  # type: ignore[arg-type]
    rules = [rule for rule in load_rules(SHIPPED_RULES) if rule.name == "entity-surge"]
    outcome = run(rules, [*calm_texts(calm), *burst_texts(bursts, seed)], bursts)
    assert outcome.within(30 * MINUTE) >= 9
    assert len(outcome.others) <= 1  # the budget of two months is half a page
