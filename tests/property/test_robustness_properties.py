"""How robust an alert is, compared with what its rule says without every set of its origins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alerts.baselines.baseline import Baseline
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.detectors.base import Rule, SubjectWindow
from alerts.incidents.robustness import Robustness, robustness
from alerts.rules.registry import RULE_TYPES
from stream.domain.sums import Aggregate, TimeRange

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EMPTY = Aggregate(NOW - HOUR, "all", "all")
LENIENT = {"topics": "all", "window": "1h", "min_documents": 2, "false_pages_per_month": 900, "factor": 1.3,
           "resolve_factor": 1.1}  # fmt: skip
RULES: dict[str, dict[str, Any]] = {
    "negative surge": LENIENT | {"type": "negative_surge", "min_negative": 2},
    "volume surge": LENIENT | {"type": "volume_surge"},
    "share of negatives": LENIENT | {"type": "mood_shift", "min_negative": 2},
    "mean score": LENIENT | {"type": "mood_shift", "watch": "mean_score", "min_negative": 1},
    "threshold of the share": {"type": "threshold", "watch": "negative_share", "threshold": 0.4,
                               "topics": "all", "window": "1h", "min_documents": 3},
    "threshold of the mean": {"type": "threshold", "watch": "mean_score", "threshold": -0.2, "topics": "all",
                              "window": "1h", "min_documents": 2},
    "many writers": {"type": "threshold", "watch": "negative_share", "threshold": 0.1, "topics": "all",
                     "window": "1h", "min_documents": 1, "min_sources": 2, "min_authors": 2, "min_voices": 2},
}  # fmt: skip


class Origin:
    """An origin with its documents, each of which is negative or not, and its names."""

    def __init__(self, scores: Sequence[int], sources: frozenset[str], authors: frozenset[str]) -> None:
        negative = [score for score in scores if score < -2000]
        documents = (
            Aggregate.of_document(
                EMPTY.start, "all", "all", "negative" if score < -2000 else "neutral", score
            )
            for score in scores
        )
        self.total = sum(documents, EMPTY)
        self.sources = sources if negative else frozenset[str]()
        self.authors = authors if negative else frozenset[str]()


def rule_of(name: str) -> Rule:
    settings = RULES[name]
    return RULE_TYPES[settings["type"]].model_validate({"name": name, **settings})


@cache
def usual(bursts: bool) -> Expectation:
    """Four weeks with a text an hour, and with many at noon on two of the last days if there are `bursts`."""
    cells = []
    for back in range(28 * 24, 0, -1):
        start = NOW - HOUR - back * HOUR
        n, negative = (1, int(back % 5 == 0))
        if bursts and back in (48, 72):
            n, negative = 6, 4
        cells.append(Aggregate(start, "all", "all", n, 0, n - negative, negative, 0, -2000 * negative,
                               4_000_000 * negative))  # fmt: skip
    live = [TimeRange(cells[0].start, NOW - HOUR)]
    spec = BaselineSpec(28 * DAY, HOUR, lambda cell: cell.n)
    return Expectation(spec, Baseline(cells, live, HOUR), cells)


@cache
def firing_of(name: str, *, bursts: bool) -> Callable[[Aggregate], bool]:
    """What the rule says of any sums.  What is usual does not depend on those of the window."""
    rule = rule_of(name)
    return cache(rule.firing(name, window_of(rule, EMPTY, bursts=bursts)))


def window_of(rule: Rule, total: Aggregate, *, bursts: bool) -> SubjectWindow:
    known = usual(bursts)
    spec = rule.baseline_spec
    expected = known if spec is None else replace(known, spec=replace(known.spec, count=spec.count))
    return SubjectWindow(
        total=total, start=NOW - HOUR, end=NOW, feed_is_live=True, expectation=partial(_same, expected)
    )


def _same(expected: Expectation) -> Expectation:
    return expected


def fires_with(rule: Rule, origins: Sequence[Origin], fires: Callable[[Aggregate], bool]) -> bool:
    """Whether a rule fires on these origins alone, with all that it demands."""
    sources = frozenset[str]().union(*(origin.sources for origin in origins))
    authors = frozenset[str]().union(*(origin.authors for origin in origins))
    negatives = sum(origin.total.negative for origin in origins)
    return (
        fires(sum((origin.total for origin in origins), EMPTY))
        and (rule.min_sources == 1 or len(sources) >= rule.min_sources)
        and len(authors) >= rule.min_authors
        and (rule.min_voices == 1 or negatives >= rule.min_voices)
    )


def by_all_sets(rule: Rule, origins: Sequence[Origin], fires: Callable[[Aggregate], bool]) -> int:
    """Without how many origins the rule fires, whichever they are: asked for every set."""
    for removed in range(1, len(origins) + 1):
        for kept in combinations(origins, len(origins) - removed):
            if not fires_with(rule, kept, fires):
                return removed - 1
    raise AssertionError("a rule fires on nothing")


names = st.frozensets(st.sampled_from("abcde"), min_size=1, max_size=3)
own_texts = st.lists(st.sampled_from([-9000, -7000, -3000, 0, 500, 6000]), min_size=1, max_size=4)
some_origins = st.lists(st.builds(Origin, own_texts, names, names), min_size=1, max_size=7)


@pytest.mark.parametrize("name", RULES)
@given(origins=some_origins, bursts=st.booleans())
def test_an_alert_is_as_robust_as_its_rule_says_without_every_set_of_origins(
    name: str, origins: list[Origin], bursts: bool
) -> None:
    rule, fires = rule_of(name), firing_of(name, bursts=bursts)
    assume(fires_with(rule, origins, fires))
    keys = list(map(str, range(len(origins))))
    found = robustness(
        rule,
        fires,
        dict(zip(keys, (origin.total for origin in origins), strict=True)),
        voices=dict(zip(keys, (origin.total.negative for origin in origins), strict=True)),
        sources=dict(zip(keys, (origin.sources for origin in origins), strict=True)),
        authors=dict(zip(keys, (origin.authors for origin in origins), strict=True)),
    )
    assert found == Robustness(len(origins), by_all_sets(rule, origins, fires))


@pytest.mark.parametrize("name", RULES)
@given(origins=some_origins, bursts=st.booleans())
def test_what_a_rule_says_of_other_sums_is_what_it_observes_of_them(
    name: str, origins: list[Origin], bursts: bool
) -> None:
    rule, total = rule_of(name), sum((origin.total for origin in origins), EMPTY)
    window = window_of(rule, total, bursts=bursts)
    assert firing_of(name, bursts=bursts)(total) == rule.observe(name, window).breached


@given(numbers=st.tuples(*[st.integers(0, 90)] * 4))
@settings(max_examples=20, deadline=None)
def test_of_hundreds_of_origins_of_a_few_kinds_the_answer_is_that_of_all_their_sets(
    numbers: tuple[int, int, int, int],
) -> None:
    kinds = [(1, 1), (3, 3), (4, 2), (2, 0)]  # documents, and how many of them are negative
    parts = [
        Aggregate(EMPTY.start, "all", "all", n, 0, n - negative, negative, 0, 0, 0)
        for (n, negative), number in zip(kinds, numbers, strict=True)
        for _ in range(number)
    ]
    rule, total = rule_of("threshold of the share"), sum(parts, EMPTY)
    fires = rule.firing("it", window_of(rule, EMPTY, bursts=False))
    assume(fires(total))
    # To take neutral texts away never silences it, unless all go.
    taken = np.stack(np.meshgrid(*(np.arange(number + 1) for number in numbers[:3]), indexing="ij"))
    n = total.n - np.tensordot([1, 3, 4], taken, 1)
    negative = total.negative - np.tensordot([1, 3, 2], taken, 1)
    silent = (n < 3) | (negative <= 0.4 * n)
    fewest = int(taken.sum(axis=0)[silent].min())
    found = robustness(rule, fires, {str(index): part for index, part in enumerate(parts)})
    assert found == Robustness(len(parts), fewest - 1)
