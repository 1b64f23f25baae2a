"""How right a rule's pages are, from what the desk said, and what may be changed in the rule."""

from datetime import timedelta
from typing import Any

import pytest

from alerts.detectors.base import Rule
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.incidents.advice import advise
from alerts.incidents.judgement import Precision, precisions, wilson
from stream.domain.incident_actions import JudgedAlert, Verdict
from tests.unit.alerts.test_incidents import NOW

SINCE = NOW - timedelta(days=60.88)  # two months


def rule(**settings: Any) -> Rule:
    return NegativeSurgeRule.model_validate({"name": "surge", "type": "negative_surge", **settings})


def judged(
    number: int, verdict: Verdict | None = None, *, acknowledged: bool = False, **changes: Any
) -> JudgedAlert:
    fields: dict[str, Any] = {"is_over": True, "sources": 5, "voices": 20, "rule": "surge", **changes}
    return JudgedAlert(f"i{number}", verdict=verdict, acknowledged=acknowledged, **fields)


def wrong(
    n: int, verdict: Verdict = Verdict.TOO_SMALL, start: int = 100, **changes: Any
) -> list[JudgedAlert]:
    return [judged(start + number, verdict, **changes) for number in range(n)]


def right(n: int, **changes: Any) -> list[JudgedAlert]:
    return [judged(number, Verdict.RIGHT, **changes) for number in range(n)]


def advice_of(made: Rule, *alerts: JudgedAlert) -> list[tuple[str, Any, Any]]:
    precision = precisions(alerts, SINCE, NOW).get("surge", Precision("surge", NOW - SINCE))
    return [(each.setting, each.present, each.proposed) for each in advise(made, alerts, precision)]


def test_the_precision_counts_what_was_said_and_says_what_was_not() -> None:
    alerts = [
        *right(4),
        judged(10, acknowledged=True),
        judged(11, acknowledged=True, is_over=False),
        judged(12),
        *wrong(2),
        *wrong(1, Verdict.OLD, 200),
        # An incident with two alerts of one rule counts once, and for each of its rules.
        judged(0, Verdict.RIGHT, voices=9),
        judged(0, Verdict.RIGHT, rule="drift"),
    ]
    found = precisions(alerts, SINCE, NOW)
    surge = found["surge"]
    assert (surge.incidents, surge.right, surge.wrong) == (10, 5, {Verdict.TOO_SMALL: 2, Verdict.OLD: 1})
    assert surge.share == 5 / 8 and surge.wrong_a_month == pytest.approx(1.5)
    assert surge.in_words == "5 of 8 judged incidents were right (35% to 84%), 2 of 10 were not judged"
    assert (found["drift"].incidents, found["drift"].right) == (1, 1)


def test_a_rule_that_nobody_judged_has_no_precision() -> None:
    found = precisions([judged(1)], SINCE, NOW)["surge"]
    assert found.share is None and found.interval is None
    assert found.in_words == "nobody has judged any of its 1 incidents"


@pytest.mark.parametrize(
    ("share", "n", "low", "high"), [(1.0, 1, 0.27, 1.0), (0.0, 10, 0.0, 0.21), (0.5, 1000, 0.474, 0.526)]
)
def test_the_interval_is_wide_for_few_and_within_0_and_1(
    share: float, n: int, low: float, high: float
) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=0.005)


def test_a_larger_number_is_proposed_if_it_spares_the_wrong_alerts_and_keeps_the_right_ones() -> None:
    alerts = [*right(4, voices=15), *wrong(4, voices=6), *wrong(1, start=200, voices=30)]
    assert advice_of(rule(count="voices", min_voices=4), *alerts) == [("min_voices", 4, 7)]
    settings = {"count": "voices", "false_pages_per_month": 9}
    assert advice_of(rule(**settings, min_voices=7), *alerts) == []
    one_small_right = [*alerts, judged(50, Verdict.RIGHT, voices=5)]
    assert advice_of(rule(**settings, min_voices=4), *one_small_right) == []


def test_the_setting_that_spares_most_is_proposed() -> None:
    alerts = [
        *right(3, sources=6, voices=10),
        *wrong(3, sources=2, voices=8),
        *wrong(3, start=200, sources=3),
    ]
    assert advice_of(rule(), *alerts) == [("min_sources", 1, 4)]


def test_nothing_is_proposed_without_enough_verdicts_or_where_a_measure_is_not_known() -> None:
    assert advice_of(rule(), *wrong(2, voices=1)) == []
    unknown = [*right(2, voices=None, sources=1), *wrong(4, voices=1, sources=1)]
    assert [setting for setting, *_ in advice_of(rule(), *unknown)] == ["false_pages_per_month"]


@pytest.mark.parametrize(
    ("verdict", "settings", "proposed"),
    [
        (Verdict.OLD, {"count": "texts"}, ("count", "texts", "voices")),
        (Verdict.OLD, {"count": "voices"}, ("min_novelty", 0, 40)),
        (Verdict.WRONG_COMPANY, {"entities": "each", "min_relevance": 40}, ("min_relevance", 40, 60)),
        (Verdict.WRONG_COMPANY, {}, ("", None, None)),
        (Verdict.WRONG_MOOD, {}, ("", None, None)),
        (Verdict.NOT_NEWS, {}, ("kinds", "[news, comment]", "[news]")),
    ],
)
def test_each_kind_of_wrong_page_calls_for_a_change_of_its_own(
    verdict: Verdict, settings: dict[str, Any], proposed: tuple[str, Any, Any]
) -> None:
    assert advice_of(rule(**settings), *right(2), *wrong(3, verdict)) == [proposed]


def test_where_nothing_else_helps_the_budget_is_made_smaller_if_more_was_wrong() -> None:
    alerts = [*right(2), *wrong(4)]
    assert advice_of(rule(), *alerts) == [("false_pages_per_month", 0.25, 0.03)]
    assert advice_of(rule(false_pages_per_month=4), *alerts) == []
