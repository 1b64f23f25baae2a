"""Rules that count voices or stories, select by novelty, and count texts while stories are not known."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.backtest import Page, replay
from alerts.delivery.messages import alert_message
from alerts.delivery.page_text import plain_text
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.errors import RuleError
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.metrics import AlertMetrics
from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from stream.domain.alerts import Alert
from stream.domain.documents import EPOCH
from stream.domain.entities import EntityMention
from stream.domain.stories import StoryAssignment
from stream.domain.sums import Counted, LateWindow

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
EVENT = START + 9 * DAY + 10 * HOUR
TOPICS = ("Earnings",)
REQUIRED = {"threshold": "watch: mean_score, threshold: 0.9", "heartbeat": "sources: [wire]"}
BANK = EntityMention("bank:NGTB", "Northgate Bank", (), 80, "negative", 0.9, -0.9)


def rules_file(folder: Path, *rules: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text("rules:\n" + "".join(f"  - {rule}\n" for rule in rules))
    return path


def rules_of(folder: Path, *rules: str) -> tuple[Rule, ...]:
    return load_rules(rules_file(folder, *rules), TOPICS)


def text(
    number: int,
    at: datetime,
    *,
    story: int | None = None,
    novelty: int = 100,
    copy_of: Text | None = None,
    is_voice: bool = True,
    sentiment: str = "negative",
    **options: Any,
) -> Text:
    """A text that is assigned to a story, by default one of its own."""
    fields: dict[str, Any] = {
        "id": str(number),
        "source": f"source {number}",
        "kind": "news",
        "published_at": at,
        "content": f"Report number {number}",
        "topic": "Earnings",
        "sentiment": sentiment,
        "score": {"negative": -9000, "neutral": 0, "positive": 9000}[sentiment],
    }
    made = Text(**fields | options)
    assignment = StoryAssignment(
        made.key,
        number,
        at,
        number if story is None else story,
        novelty,
        copy_of.key if copy_of else None,
        is_voice and copy_of is None,
    )
    return replace(made, assignment=assignment)


def calm(days: int = 10) -> list[Text]:
    """Six texts an hour, one of them negative, each a story of its own."""
    return [
        text(number, START + number * 10 * MINUTE, sentiment="neutral" if number % 6 else "negative")
        for number in range(days * 144)
    ]


def copies(count: int, at: datetime = EVENT) -> list[Text]:
    """One negative text and so many copies of it by other sources, within ten minutes."""
    first = text(5000, at)
    gap = 10 * MINUTE / (count + 1)
    return [
        first,
        *(text(5001 + i, at + (i + 1) * gap, story=5000, novelty=1, copy_of=first) for i in range(count)),
    ]


def voices(count: int, at: datetime = EVENT, story: int = 6000) -> list[Text]:
    """So many texts of their own by different origins on one event, within ten minutes."""
    gap = 10 * MINUTE / count
    content = "Bank {0} halts w{0} d{0} loans{0} after run{0}"
    return [
        text(6000 + i, at + i * gap, story=story, novelty=10, content=content.format(i)) for i in range(count)
    ]


def paging(pages: Sequence[Page]) -> list[Page]:
    return [page for page in pages if page.fired.severity == "page"]


@pytest.mark.parametrize("type_name", RULE_TYPES)
def test_every_rule_type_can_count_voices_and_select_by_novelty(tmp_path: Path, type_name: str) -> None:
    words = f", {REQUIRED[type_name]}" if type_name in REQUIRED else ""
    (rule,) = rules_of(
        tmp_path, f"{{name: a, type: {type_name}{words}, count: stories, min_voices: 2, min_novelty: 80}}"
    )
    assert (rule.selection.counted, rule.selection.min_novelty, rule.min_voices) == (Counted.STORIES, 80, 2)
    assert (rule.stream.counted, rule.stream.min_novelty) == (Counted.STORIES, 0)
    assert (rule.feed.counted, rule.feed.min_novelty) == (Counted.TEXTS, 0)
    assert "novelty from 80, counts stories" in rule.scope_text


def test_rule_types_that_compare_with_what_is_usual_count_voices_unless_they_say_otherwise(
    tmp_path: Path,
) -> None:
    counted = {}
    for type_name in RULE_TYPES:
        words = f", {REQUIRED[type_name]}" if type_name in REQUIRED else ""
        (rule,) = rules_of(tmp_path, f"{{name: a, type: {type_name}{words}}}")
        counted[type_name] = rule.count
    assert {name for name, what in counted.items() if what is Counted.VOICES} == {
        "negative_surge", "volume_surge", "mood_shift", "slow_drift",
    }  # fmt: skip
    assert {what for what in counted.values() if what is not Counted.VOICES} == {Counted.TEXTS}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("count: voice", "rules.yaml:2: rule 'a': count is 'voice': Input should be 'texts', 'voices' or 'stories'"),
        ("count: [voices]", "rules.yaml:2: rule 'a': count is"),
        ("counts: voices", "unknown key 'counts' (did you mean 'count'?)"),
        ("min_voices: 0", "rules.yaml:2: rule 'a': min_voices is 0: Input should be greater than or equal to 1"),
        ("min_voices: many", "rule 'a': min_voices is 'many'"),
        ("min_novelty: 101", "rules.yaml:2: rule 'a': min_novelty is 101: Input should be less than or equal to 100"),
        ("min_novelty: -1", "min_novelty is -1"),
        ("min_novelty: new", "min_novelty is 'new'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_file_line_and_rule(tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        rules_of(tmp_path, f"{{name: a, type: negative_surge, {words}}}")
    assert message in str(caught.value)


@pytest.mark.parametrize("count", [18, 200])
def test_one_text_in_many_copies_pages_nobody_with_the_shipped_rules(count: int) -> None:
    rules = load_rules(SHIPPED_RULES, TOPICS)
    texts = [*calm(), *copies(count)]
    assert paging(replay(rules, TOPICS, texts, start=EVENT - HOUR).alerts) == []
    # Counted as texts they do.
    without = [replace(each, assignment=None) for each in texts]
    assert paging(replay(rules, TOPICS, without, start=EVENT - HOUR).alerts)


def test_eighteen_voices_on_one_event_are_one_page(tmp_path: Path) -> None:
    rules = [rule for rule in load_rules(SHIPPED_RULES, TOPICS) if rule.name == "negative-surge"]
    (page,) = replay(rules, TOPICS, [*calm(), *voices(18)], start=EVENT - HOUR).alerts
    fired = page.fired
    # One of the voices, and one of the stories, is the hour's usual bad news.
    assert (fired.counted, fired.n, fired.stories, fired.voices, fired.copies) == ("voices", 16, 2, 16, 0)
    assert "16 negative voices in 14 min" in fired.summary
    assert fired.stories_text == "16 negative texts in 2 stories, 16 voices, 0 copies"


def test_a_page_says_how_many_texts_stories_voices_and_copies_are_behind_it(tmp_path: Path) -> None:
    texts = [*calm(), *copies(13, EVENT - 6 * MINUTE), *voices(10), *voices(9, story=7000, at=EVENT + MINUTE)]
    texts = [replace(each, id=f"{i}", source=f"s{i}") for i, each in enumerate(texts)]
    rule = "{name: a, type: negative_surge, topics: all, window: 15m, min_negative: 20, min_baseline: 1d}"
    (page,) = replay(rules_of(tmp_path, rule), TOPICS, texts, start=EVENT - HOUR).alerts
    fired = page.fired
    assert (fired.texts, fired.stories, fired.voices, fired.copies) == (31, 4, 20, 11)
    message = alert_message(fired)
    assert message["stories_text"] == "31 negative texts in 4 stories, 20 voices, 11 copies"
    assert {name: message[name] for name in ("counted", "texts", "stories", "voices", "copies")} == {
        "counted": "voices", "texts": 31, "stories": 4, "voices": 20, "copies": 11,
    }  # fmt: skip


def test_evidence_has_every_story_first_and_no_copies(tmp_path: Path) -> None:
    texts = [
        *voices(6),
        *copies(10, EVENT + MINUTE),
        text(7000, EVENT + 2 * MINUTE, score=-8000, content="Mill shut"),
    ]
    rule = "{name: a, type: threshold, topics: all, watch: mean_score, threshold: 0, min_documents: 18}"
    (page,) = replay(rules_of(tmp_path, rule), TOPICS, [*texts, text(7001, EVENT + 11 * MINUTE)]).alerts
    shown = page.fired.evidence
    assert len(shown) == 5
    assert [item.story for item in shown[:3]] == [6000, 5000, 7000]
    assert shown[1].copies == 10 and shown[1].novelty == 100
    assert {item.story for item in shown[3:]} == {6000}


def test_a_rule_can_count_stories(tmp_path: Path) -> None:
    rule = "{{name: a, type: threshold, topics: all, count: stories, watch: mean_score, threshold: 0, min_documents: {}}}"
    texts = [*voices(10), *copies(5), text(7000, EVENT + 3 * MINUTE)]
    (page,) = replay(rules_of(tmp_path, rule.format(3)), TOPICS, texts).alerts
    assert (page.fired.n, page.fired.counted, page.fired.summary[-11:]) == (3, "stories", "(3 stories)")
    assert replay(rules_of(tmp_path, rule.format(4)), TOPICS, texts).alerts == []


@pytest.mark.parametrize(("least", "count"), [(2, 0), (1, 1)])
def test_too_few_voices_are_no_breach(tmp_path: Path, least: int, count: int) -> None:
    rule = f"{{name: a, type: threshold, topics: all, watch: mean_score, threshold: 0, min_documents: 5, min_voices: {least}}}"
    assert len(replay(rules_of(tmp_path, rule), TOPICS, copies(9)).alerts) == count


SCOOP = (
    "{name: scoop, type: threshold, entities: each, sources: [reuters], min_novelty: 80, watch: mean_score, "
    "threshold: 1, min_documents: 1, window: 15m, cool_down: 1h}"
)


def about_bank(number: int, minute: int, source: str, novelty: int, **options: Any) -> Text:
    return text(number, EVENT + minute * MINUTE, source=source, novelty=novelty, entities=(BANK,), **options)


@pytest.mark.parametrize(
    ("what", "texts", "found"),
    [
        ("a scoop", [about_bank(1, 0, "reuters", 100)], 1),
        ("old news by the trusted source", [about_bank(1, 0, "blog", 100), about_bank(2, 3, "reuters", 75, story=1)], 0),
        ("a scoop by another source", [about_bank(1, 0, "blog", 100)], 0),
        ("a scoop that others take up", [about_bank(1, 0, "reuters", 100), about_bank(2, 3, "reuters", 75, story=1)], 1),
        ("a scoop about nobody", [replace(about_bank(1, 0, "reuters", 100), entities=())], 0),
        ("a neutral scoop", [about_bank(1, 0, "reuters", 100, sentiment="neutral")], 1),
        ("a text without a story", [replace(about_bank(1, 0, "reuters", 100), assignment=None)], 0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_scoop_of_a_trusted_source_pages_by_itself(
    tmp_path: Path, what: str, texts: list[Text], found: int
) -> None:
    pages = replay(rules_of(tmp_path, SCOOP), TOPICS, [*calm(9)[-200:], *texts]).alerts
    assert len(pages) == found
    for page in pages:
        assert (page.fired.entity, page.fired.n, page.fired.evidence[0].novelty) == ("bank:NGTB", 1, 100)


def test_the_shipped_example_of_a_trusted_source_can_be_used(tmp_path: Path) -> None:
    lines = SHIPPED_RULES.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "name: scoop" in line)
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n" + "\n".join(line.removeprefix("  # ") for line in lines[start:]) + "\n")
    (rule,) = load_rules(path, TOPICS)
    assert (rule.name, rule.min_novelty, rule.min_documents) == ("scoop", 80, 1) and rule.sources


class Progress(MemoryStore):
    """A store in memory in which the story task can be behind."""

    def __init__(self, texts: Sequence[Text]) -> None:
        super().__init__(texts)
        self.since: datetime | None = EPOCH
        self.waiting: datetime | None = None
        self.late: list[datetime] = []
        self.assigned: list[datetime] = []
        self.asked: list[tuple[datetime, datetime]] = []

    def voices_since(self) -> datetime | None:
        return self.since

    def oldest_waiting(self) -> datetime | None:
        return self.waiting

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        return [LateWindow(start, has_exact=True) for start in self.late]

    def late_voices(self, since: datetime, before: datetime) -> list[LateWindow]:
        self.asked.append((since, before))
        return [LateWindow(start, has_exact=True) for start in self.assigned]


def evaluator_of(store: MemoryStore, *rules: Rule, metrics: AlertMetrics | None = None) -> AlertEvaluator:
    return AlertEvaluator(
        rules=rules,
        topics=TOPICS,
        reader=store,
        episodes=store,
        delivery=PageRouter(("webhook:desk",)),
        window_width=MINUTE,
        metrics=metrics or AlertMetrics(),
    )


SURGE = (
    "{name: surge, type: negative_surge, topics: all, window: 15m, min_negative: 5, min_documents: 5, "
    "baseline: 2d, min_baseline: 1d}"
)
NOW = EVENT + 12 * MINUTE


def fired(alerts: Sequence[Alert]) -> list[tuple[str, Counted, int]]:
    return [(alert.rule, alert.counted, alert.n) for alert in alerts]


# The mark, the document that waits longest, and what is counted of one text in 18 copies: None if the rule
# waits, and an empty list if it counts voices.
FIRES = [("surge", Counted.TEXTS, 21)]
STATES = [
    ("stories cover everything", EPOCH, None, []),
    ("documents get no stories", None, None, FIRES),
    ("the mark lies in the baseline", EVENT - DAY, None, FIRES),
    ("the mark lies in the window", EVENT, None, FIRES),
    ("the mark lies before the baseline", EVENT - 4 * DAY, None, []),
    ("a document waits for 10 s", EPOCH, 10.0, []),
    ("a document waits for 11 s", EPOCH, 11.0, None),
    ("a document waits for 60 s", EPOCH, 60.0, None),
    ("a document waits for 61 s", EPOCH, 61.0, FIRES),
    ("a document waits, and the baseline is not covered", EVENT - DAY, 20.0, FIRES),
    ("the clock of the worker is ahead", EPOCH, -30.0, []),
]  # fmt: skip


@pytest.mark.parametrize(("what", "since", "waits", "found"), STATES, ids=[case[0] for case in STATES])
def test_what_a_rule_counts_follows_from_how_far_stories_are(
    tmp_path: Path, what: str, since: datetime | None, waits: float | None, found: list[Any] | None
) -> None:
    store, metrics = Progress([*calm(), *copies(18)]), AlertMetrics()
    store.since = since
    store.waiting = None if waits is None else NOW - timedelta(seconds=waits)
    (rule,) = rules_of(tmp_path, SURGE)
    alerts = evaluator_of(store, rule, metrics=metrics).evaluate(NOW)
    assert fired(alerts) == (found or [])
    assert metrics.waited._value.get() == (found is None)
    assert metrics.rules_counting_texts._value.get() == len(found or [])


def test_a_page_of_a_rule_that_cannot_wait_says_that_texts_were_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Progress([*calm(), *copies(18)])
    store.waiting = NOW - timedelta(seconds=75)
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE))
    caplog.set_level(logging.INFO, "alerts")
    (alert,) = evaluator.evaluate(NOW)
    assert alert.summary.endswith("(counted texts, since stories are 75 s behind)")
    assert "counted texts, since stories are 75 s behind" in str(
        plain_text({**alert_message(alert), "others": []})
    )
    assert (alert.texts, alert.stories, alert.stories_text) == (None, None, "")
    assert "stories are 75 s behind, so rules count texts meanwhile: surge" in caplog.text
    store.waiting = None
    caplog.clear()
    evaluator.evaluate(NOW + timedelta(seconds=5))
    assert [record.message for record in caplog.records] == [
        "stories are no longer far behind: rules count them again"
    ]


def test_no_rule_waits_for_more_than_a_minute(tmp_path: Path) -> None:
    """The story task keeps up, a few seconds too late."""
    store, metrics = Progress([*calm(), *copies(18)]), AlertMetrics()
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE), metrics=metrics)
    found = {}
    for second in range(0, 90, 10):
        now = NOW + timedelta(seconds=second)
        store.waiting = now - timedelta(seconds=12)
        found[second] = fired(evaluator.evaluate(now))
    assert found == {second: FIRES if second > 60 else [] for second in found}
    assert metrics.waited._value.get() == 7
    store.waiting = None
    evaluator.evaluate(NOW + timedelta(seconds=90))
    assert metrics.rules_counting_texts._value.get() == 0


def test_a_rule_that_waits_keeps_its_episodes_and_delays_no_other(tmp_path: Path) -> None:
    store = Progress([*calm(), *voices(18)])
    other = SURGE.replace("surge,", "of texts, count: texts, keep_firing_for: 30s,", 1)
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE, other))
    assert len(evaluator.evaluate(NOW)) == 2
    later = NOW + 2 * HOUR
    for second in range(0, 60, 10):
        at = later + timedelta(seconds=second)
        store.waiting = at - timedelta(seconds=30)
        open_alerts = evaluator.evaluate(at)
    assert [alert.rule for alert in open_alerts] == ["surge"]
    store.waiting = None
    for minute in range(10, 20):
        open_alerts = evaluator.evaluate(later + minute * MINUTE)
    assert open_alerts == []


def test_a_rule_switches_to_voices_by_itself_with_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Progress([*calm(), *copies(18, EVENT + 20 * HOUR)])
    store.since = EVENT - DAY
    caplog.set_level(logging.INFO, "alerts.windows.counting")
    metrics = AlertMetrics()
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE), metrics=metrics)
    logged = []
    for hour in range(36):
        evaluator.evaluate(NOW + hour * HOUR)
        logged += [(hour, each.message) for each in caplog.records if each.name == "alerts.windows.counting"]
        caplog.clear()
    assert logged == [
        (0, "rules count texts until every document that they compare has a story: surge; "
            "`monitor backfill stories --since 2026-03-09` gives older documents theirs"),
        # Two days of baseline, and six hours of late windows.
        (30, "rule surge counts voices from now on: every document that it compares has a story"),
    ]  # fmt: skip
    assert metrics.rules_counting_texts._value.get() == 0


def test_a_rule_whose_documents_are_all_younger_than_the_mark_counts_voices_at_once(tmp_path: Path) -> None:
    fresh = [replace(each, source="fresh") for each in calm() if each.published_at >= EVENT - 30 * HOUR]
    store = Progress([*calm(), *fresh, *(replace(each, source="fresh") for each in copies(18))])
    store.since = EVENT - 31 * HOUR
    selecting = SURGE.replace("topics: all", "topics: all, sources: [fresh]")
    assert fired(evaluator_of(store, *rules_of(tmp_path, selecting)).evaluate(NOW)) == []
    assert fired(evaluator_of(store, *rules_of(tmp_path, SURGE)).evaluate(NOW)) != []


def test_a_backfill_makes_a_rule_count_voices_at_once(tmp_path: Path) -> None:
    store = Progress([*calm(), *copies(18)])
    store.since = EVENT - DAY
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE.replace("15m", "15m, keep_firing_for: 0s")))
    assert len(evaluator.evaluate(NOW)) == 1
    store.since = EVENT - 5 * DAY
    assert evaluator.evaluate(NOW + timedelta(seconds=5)) == []


def test_what_is_novel_is_compared_with_nothing_from_before_there_were_stories(tmp_path: Path) -> None:
    """Documents without a story have no novelty: they do not make three novel ones many."""
    rule = SURGE.replace("negative_surge", "volume_surge").replace("min_negative: 5, ", "min_novelty: 80, ")
    recent = [
        each if each.published_at >= EVENT - HOUR else replace(each, assignment=None) for each in calm()
    ]
    store = Progress([*recent, *(text(7000 + i, EVENT + i * MINUTE) for i in range(10))])
    store.since = EVENT - HOUR
    assert evaluator_of(store, *rules_of(tmp_path, rule)).evaluate(NOW) == []
    (alert,) = evaluator_of(store, *rules_of(tmp_path, rule.replace("1d", "30m"))).evaluate(NOW)
    assert alert.usual is not None and alert.usual > 0.5


def test_voices_that_were_assigned_late_raise_the_alert_of_their_window(tmp_path: Path) -> None:
    store = Progress([*calm(), *voices(18)])
    evaluator = evaluator_of(store, *rules_of(tmp_path, SURGE))
    later = NOW + HOUR
    assert evaluator.evaluate(later) == []
    # Received late is not enough: they are counted when they have their story.
    store.late = [EVENT + i * MINUTE for i in range(10)]
    assert evaluator.evaluate(later + timedelta(seconds=5)) == []
    store.late, store.assigned = [], store.late
    # What is assigned while the rule waits is looked at afterwards.
    for second in (10, 15):
        store.waiting = later + timedelta(seconds=second - 20)
        assert evaluator.evaluate(later + timedelta(seconds=second)) == []
    store.waiting, store.asked = None, []
    (alert,) = evaluator.evaluate(later + timedelta(seconds=20))
    assert alert.summary.startswith("late documents,")
    assert (alert.counted, alert.voices) == ("voices", 19)
    assert store.asked == [(later + timedelta(seconds=5 - 15), later + timedelta(seconds=20 - 15))]


def test_a_rule_on_entities_counts_voices_of_the_stream_too(tmp_path: Path) -> None:
    """A text in many copies about one bank does not make the market worse for the other."""
    other = EntityMention("bank:HLLS", "Hollis Bank", (), 80, "negative", 0.9, -0.9)
    copied = [replace(each, entities=(BANK,)) for each in copies(60)]
    hit = [replace(each, entities=(other,)) for each in voices(9)]
    quiet = [replace(each, entities=(BANK if i % 2 else other,)) for i, each in enumerate(calm())]
    rule = (
        "{name: who, type: negative_surge, entities: each, window: 30m, min_baseline: 7d, min_negative: 5, "
        "factor: 3}"
    )
    pages = replay(rules_of(tmp_path, rule), TOPICS, [*quiet, *copied, *hit], start=EVENT).alerts
    assert [(page.fired.entity, page.fired.n, page.fired.voices) for page in pages] != []
    assert {page.fired.entity for page in pages} == {"bank:HLLS"}
