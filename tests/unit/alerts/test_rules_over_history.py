"""Backtests: what would have paged, when, and on what evidence."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from alerts.backtest import Page, replay
from alerts.detectors.base import Rule
from alerts.detectors.silence import SilenceRule
from alerts.history.memory_store import Text
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOPICS = ("Earnings", "Markets")


def text(at: datetime, sentiment: str, number: int, source: str = "wire") -> Text:
    score = {"positive": 9000, "neutral": 0, "negative": -9000}[sentiment]
    return Text(
        f"{source}{number}", source, "news", at, f"story {number}", TOPICS[number % 2], sentiment, score
    )


def thin_wire(days: int, seed: int = 1) -> list[Text]:
    """About forty headlines a day, few by night and at weekends, one in six negative."""
    draw = np.random.default_rng(seed)
    texts = []
    for hour in range(days * 24):
        at = START + hour * HOUR
        rate = (3.0 if 8 <= at.hour < 20 else 0.6) * (0.3 if at.weekday() > 4 else 1.0)
        for minute in draw.integers(0, 60, draw.poisson(rate)):
            mood = draw.choice(["negative", "neutral", "positive"], p=[0.17, 0.63, 0.2])
            texts.append(text(at + int(minute) * timedelta(minutes=1), str(mood), len(texts)))
    return texts


def crash(at: datetime, count: int = 12) -> list[Text]:
    """Bad news only, one every half hour."""
    return [text(at + i * HOUR / 2, "negative", 100_000 + i) for i in range(count)]


def shipped(name: str) -> Rule:
    return next(rule for rule in load_rules(SHIPPED_RULES, TOPICS) if rule.name == name)


def times(pages: list[Page]) -> list[datetime]:
    return [page.fired.fired_at or page.fired.since for page in pages]


@pytest.fixture(scope="module")
def calm() -> list[Text]:
    return thin_wire(45)


def test_the_shipped_rules_page_for_a_night_of_bad_news_and_for_nothing_else(calm: list[Text]) -> None:
    at = START + 40 * DAY + 2 * HOUR
    rules = load_rules(SHIPPED_RULES, TOPICS)
    pages = [p for p in replay(rules, TOPICS, calm + crash(at)).alerts if p.fired.severity == "page"]
    assert pages
    assert all(at <= stamp < at + 12 * HOUR for stamp in times(pages))
    first = pages[0].fired
    assert first.fired_at is not None
    assert first.fired_at - at <= 4 * HOUR
    assert first.evidence[0].content.startswith("story 1000")
    assert pages[0].now.state == "resolved"


def test_a_calm_history_pages_nobody(calm: list[Text]) -> None:
    rules = load_rules(SHIPPED_RULES, TOPICS)
    assert [p for p in replay(rules, TOPICS, calm).alerts if p.fired.severity == "page"] == []


def test_texts_before_the_start_are_baseline_only(calm: list[Text]) -> None:
    rules = [shipped("mood-shift")]
    early, late = START + 30 * DAY + 2 * HOUR, START + 40 * DAY + 2 * HOUR
    texts = calm + crash(early) + [text(late + i * HOUR / 2, "negative", 200_000 + i) for i in range(12)]
    whole, part = (
        replay(rules, TOPICS, texts).alerts,
        replay(rules, TOPICS, texts, start=START + 35 * DAY).alerts,
    )
    assert [stamp >= late for stamp in times(whole)] == [False, True]
    assert [stamp >= late for stamp in times(part)] == [True]


def test_a_rule_pages_again_only_after_its_cool_down(calm: list[Text]) -> None:
    first, second = START + 36 * DAY + 2 * HOUR, START + 38 * DAY + 2 * HOUR
    texts = calm + crash(first) + [text(second + i * HOUR / 2, "negative", 200_000 + i) for i in range(12)]
    rule = shipped("mood-shift").model_copy(update={"keep_firing_for": HOUR})
    long = rule.model_copy(update={"cool_down": 5 * DAY})
    assert len(replay([rule], TOPICS, texts).alerts) == 2
    assert len(replay([long], TOPICS, texts).alerts) == 1


def test_one_source_is_not_enough_for_a_rule_that_requires_two(calm: list[Text]) -> None:
    at = START + 40 * DAY + 2 * HOUR
    rule = shipped("mood-shift").model_copy(update={"min_sources": 2, "window": 6 * HOUR})
    alone = [t for t in calm if not at - DAY <= t.published_at < at + DAY] + crash(at)
    assert replay([rule], TOPICS, alone).alerts == []
    second = [text(at + i * HOUR / 2 + HOUR / 4, "negative", 300_000 + i, "paper") for i in range(12)]
    assert len(replay([rule], TOPICS, alone + second).alerts) == 1


def test_a_silent_source_fires_and_resolves_when_it_returns() -> None:
    hours = [h for h in range(20 * 24) if not 17 * 24 <= h < 18 * 24]
    texts = [text(START + h * HOUR, "neutral", h) for h in hours]
    texts += [text(START + h * HOUR + HOUR / 2, "neutral", 1000 + h, "paper") for h in range(20 * 24)]
    rule = silent_wire()
    (page,) = replay([rule], TOPICS, texts).alerts
    fired, ended = times([page])[0], page.now.resolved_at
    assert START + 17 * DAY + 5 * HOUR <= fired <= START + 18 * DAY
    assert ended is not None
    assert START + 18 * DAY <= ended <= START + 18 * DAY + 2 * HOUR


def silent_wire() -> Rule:
    return SilenceRule.model_validate(
        {"name": "silent", "type": "silence", "sources": ["wire"], "window": "10h", "baseline": "14d",
         "false_pages_per_month": 1}
    )  # fmt: skip


def test_no_texts_no_pages() -> None:
    assert not replay([shipped("mood-shift")], TOPICS, []).alerts
