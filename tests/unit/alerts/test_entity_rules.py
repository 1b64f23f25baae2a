"""Rules on entities: who pages, who does not, and what pages and episodes say."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from alerts.backtest import Page, replay
from alerts.delivery.messages import alert_message, merge_pages
from alerts.delivery.page_text import plain_text
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.metrics import AlertMetrics
from alerts.ports import ANY
from alerts.rules.rule_file import load_rules
from alerts.windows.entity_windows import unlinked_ranges
from stream.domain.alerts import Alert, AlertState, PageRequest, Transition
from stream.domain.incidents import Incident
from stream.domain.incidents import Page as IncidentPage
from stream.domain.sums import Aggregate, Fewest, LateWindow, MentionSelection
from tools.entity_bursts import START, TOPICS, Calm, calm_texts, entity_name, text_about

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CALM = Calm(days=15, entities=300, per_day=200.0, seed=3)
# A Wednesday morning after two weeks.
NOW = START + 14 * DAY + 10 * HOUR
POPULAR, RARE, NEW = entity_name(0), entity_name(250), "XNAS:NEW"
SURGE = "{name: surge, type: negative_surge, entities: each, window: 30m, factor: 3}"


@pytest.fixture(scope="module")
def calm() -> list[Text]:
    return [text for text in calm_texts(CALM) if text.published_at < NOW + 4 * HOUR]


def rules_of(folder: Path, *rules: str) -> tuple[Rule, ...]:
    path = folder / "rules.yaml"
    path.write_text("rules:\n" + "".join(f"  - {rule}\n" for rule in rules))
    return load_rules(path)


def burst(
    *entities: str, texts: int = 12, minutes: float = 25, sentiment: str = "negative", relevance: int = 80
) -> list[Text]:
    """Texts that are each about all of the entities."""
    gap = minutes * MINUTE / texts
    return [
        text_about(10**6 + i, NOW + i * gap, sentiment, *entities, relevance=relevance) for i in range(texts)
    ]


def paged(folder: Path, texts: Sequence[Text], *rules: str) -> list[Page]:
    return replay(rules_of(folder, *(rules or (SURGE,))), TOPICS, texts, start=NOW).alerts


def entities(pages: Sequence[Page]) -> list[str]:
    return [page.fired.entity for page in pages if page.fired.entity is not None]


CASES = [
    ("a burst on a rare entity pages it", burst(RARE), [RARE]),
    ("one on an entity that nobody wrote about before pages it", burst(NEW), [NEW]),
    ("one within ten minutes pages", burst(RARE, minutes=10), [RARE]),
    ("one of six texts pages", burst(RARE, texts=6), [RARE]),
    ("a large burst on the most popular entity pages it", burst(POPULAR, texts=60), [POPULAR]),
    ("what is usual of the most popular one pages nobody", burst(POPULAR, texts=5), []),
    ("three texts page nobody", burst(RARE, texts=3), []),
    ("neutral texts page nobody", burst(RARE, sentiment="neutral"), []),
    ("positive texts page nobody", burst(RARE, sentiment="positive"), []),
    ("a list of thirty tickers, sent twelve times, pages none of them",
     burst(*map(entity_name, range(200, 230)), relevance=7), []),
    ("bad news about two entities at once pages both", burst(RARE, NEW), sorted((RARE, NEW))),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "added", "expected"), CASES, ids=[case[0] for case in CASES])
def test_who_is_paged(
    tmp_path: Path, calm: list[Text], sentence: str, added: list[Text], expected: list[str]
) -> None:
    pages = paged(tmp_path, [*calm, *added])
    assert sorted(entities(pages)) == expected
    assert all(page.fired_at <= NOW + 30 * MINUTE for page in pages)


def test_a_page_names_the_entity_everywhere(tmp_path: Path, calm: list[Text]) -> None:
    (page,) = paged(tmp_path, [*calm, *burst(RARE)])
    alert = page.fired
    name = "Company 0250"
    assert (alert.topic, alert.entity, alert.entity_name, alert.subject) == ("all", RARE, name, name)
    assert alert.labels == {"entity": RARE, "entity_name": name}
    assert alert.summary == (
        f"{name}: 5 negative documents in 29 min, usually less than 0.01 (5 documents in all)"
    )
    assert alert.evidence and all(RARE in item.content for item in alert.evidence)
    message = alert_message(alert)
    assert (message["entity"], message["entity_name"]) == (RARE, name)
    title, body = plain_text(merge_pages([message]))
    assert title == f"surge on {name} [page]"
    assert name in body
    assert page.now.resolved_at is not None


def test_a_message_of_a_rule_may_name_the_entity(tmp_path: Path, calm: list[Text]) -> None:
    rule = SURGE.replace("factor: 3", 'factor: 3, message: "{{ entity }}, {{ entity_name }}, {{ n }}"')
    (page,) = paged(tmp_path, [*calm, *burst(RARE)], rule)
    assert page.fired.message == f"{RARE}, Company 0250, 5"


def test_a_page_of_a_topic_names_the_entities_that_most_of_its_evidence_is_about(
    tmp_path: Path, calm: list[Text]
) -> None:
    rule = "{name: topics, type: negative_surge, window: 30m, min_documents: 10, min_baseline: 1d}"
    page = replay(rules_of(tmp_path, rule), TOPICS, [*calm, *burst(RARE, NEW, texts=20)], start=NOW).pages[0]
    assert page.alert.entity is None
    assert page.alert.topic == "Earnings"
    assert page.message["entities"] == [RARE, NEW]


@pytest.mark.parametrize(
    ("words", "expected"), [(f"[{RARE}, XNAS:OTHER]", [RARE]), ("[XNAS:OTHER]", []), (f"[{NEW}]", [NEW])]
)
def test_a_list_restricts_who_is_watched(
    tmp_path: Path, calm: list[Text], words: str, expected: list[str]
) -> None:
    rule = SURGE.replace("entities: each", f"entities: {words}")
    assert entities(paged(tmp_path, [*calm, *burst(RARE), *burst(NEW)], rule)) == expected


@pytest.mark.parametrize(("relevance", "expected"), [(59, []), (60, [RARE])])
def test_only_mentions_of_the_least_relevance_count(
    tmp_path: Path, calm: list[Text], relevance: int, expected: list[str]
) -> None:
    rule = SURGE.replace("factor: 3", "factor: 3, min_relevance: 60")
    assert entities(paged(tmp_path, [*calm, *burst(RARE, relevance=relevance)], rule)) == expected


TYPES = [
    ("{name: x, type: threshold, entities: each, watch: negative_share, threshold: 0.6, window: 1h}", burst(RARE)),
    ("{name: x, type: threshold, entities: each, watch: mean_score, threshold: -0.5, window: 1h}", burst(RARE)),
    ("{name: x, type: volume_surge, entities: each, window: 30m}", burst(RARE, sentiment="neutral")),
    ("{name: x, type: mood_shift, entities: each, window: 3h, false_pages_per_month: 1}", burst(POPULAR, texts=40)),
    ("{name: x, type: slow_drift, entities: each, window: 3d, step: 1h, watch: negative_share, min_documents: 5, "
     "min_baseline: 1d, severity: page}", burst(POPULAR, texts=120, minutes=170)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "added"), TYPES, ids=[rule[:36] for rule, _ in TYPES])
def test_every_type_that_compares_documents_pages_an_entity(
    tmp_path: Path, calm: list[Text], rule: str, added: list[Text]
) -> None:
    found = paged(tmp_path, [*calm, *added], rule)
    assert entities(found) == [added[0].entities[0].entity]


def test_a_silence_of_a_named_entity_pages_and_ends(tmp_path: Path, calm: list[Text]) -> None:
    talk = [text_about(10**7 + i, START + i * 10 * MINUTE, "neutral", NEW) for i in range(14 * 144 + 60)]
    back = [text_about(2 * 10**7 + i, NOW + 3 * HOUR + i * MINUTE, "neutral", NEW) for i in range(30)]
    rule = f"{{name: quiet, type: silence, entities: [{NEW}], window: 2h, min_baseline: 3d}}"
    (page,) = paged(tmp_path, [*calm, *talk, *back], rule)
    assert page.fired.entity == NEW
    assert NOW + 100 * MINUTE <= page.fired_at <= NOW + 130 * MINUTE
    assert page.now.resolved_at is not None
    assert page.fired.summary.startswith("Company :NEW: no documents in the last")


def test_the_history_of_the_stream_is_enough_for_an_entity_without_any(
    tmp_path: Path, calm: list[Text]
) -> None:
    week = SURGE.replace("factor: 3", "factor: 3, min_baseline: 7d")
    month = SURGE.replace("factor: 3", "factor: 3, min_baseline: 20d")
    assert entities(paged(tmp_path, [*calm, *burst(NEW)], week)) == [NEW]
    assert paged(tmp_path, [*calm, *burst(NEW)], month) == []


def test_hours_before_texts_were_linked_say_nothing_about_what_is_usual(tmp_path: Path) -> None:
    upgraded = START + 8 * DAY
    linked = calm_texts(Calm(days=9, entities=100, per_day=6000.0, seed=5))
    texts = [text if text.published_at >= upgraded else replace(text, entities=()) for text in linked]
    week = SURGE.replace("factor: 3", "factor: 3, min_baseline: 7d")
    assert replay(rules_of(tmp_path, week), TOPICS, texts, start=upgraded).alerts == []


@pytest.mark.parametrize(
    ("mentioned", "texts", "expected"),
    [
        ([], 20, [(0, 48)]),
        ([], 10, []),  # too few to tell
        (range(30, 48), 20, [(0, 30)]),
        ([*range(5), *range(40, 48)], 20, [(5, 40)]),
        ([3, 20, 30], 20, []),  # nobody was named for some hours
    ],
)
def test_a_day_of_many_texts_without_any_mention_was_not_linked(
    mentioned: Sequence[int], texts: int, expected: list[tuple[int, int]]
) -> None:
    cells = [Aggregate(START + hour * HOUR, "all", "all", n=texts) for hour in range(48)]
    found = unlinked_ranges(cells, [START + hour * HOUR for hour in mentioned])
    assert found == [(START + first * HOUR, START + last * HOUR) for first, last in expected]


def test_a_rule_waits_for_the_sources_that_wrote_about_the_entity(tmp_path: Path, calm: list[Text]) -> None:
    rule = SURGE.replace("factor: 3", "factor: 3, min_sources: 2")
    single = [replace(text, source="wire") for text in burst(RARE)]
    assert paged(tmp_path, [*calm, *single], rule) == []
    assert entities(paged(tmp_path, [*calm, *burst(RARE)], rule)) == [RARE]


def test_a_burst_that_comes_every_day_pages_twice_and_then_no_more(tmp_path: Path, calm: list[Text]) -> None:
    daily = [
        replace(text, id=f"{text.id} {day}", published_at=text.published_at - day * DAY)
        for day in range(6)
        for text in burst(RARE)
    ]
    first = NOW - 6 * DAY
    pages = replay(rules_of(tmp_path, SURGE), TOPICS, [*calm, *daily], start=first).alerts
    assert 1 <= len(pages) <= 3
    assert all(page.fired_at <= NOW - 3 * DAY + HOUR for page in pages)


@pytest.mark.parametrize(("factor", "most"), [(2, 0), (3, 1)])
def test_on_a_day_when_everything_is_worse_nobody_stands_out(tmp_path: Path, factor: int, most: int) -> None:
    calm = Calm(days=28, entities=1000, per_day=1500.0, seed=5)
    texts = list(calm_texts(calm))
    bad, choice = START + 24 * DAY, random.Random(factor)
    worse = [
        replace(text, id=f"{text.id} {i}", published_at=text.published_at + choice.uniform(-1, 1) * HOUR)
        for text in texts
        if bad <= text.published_at < bad + DAY and text.sentiment == "negative"
        for i in range(1, factor)
    ]
    assert len(worse) > 200
    assert len(replay(rules_of(tmp_path, SURGE), TOPICS, [*texts, *worse], start=bad).alerts) <= most


class Counting(MemoryStore):
    """A store in memory that counts queries and keeps what was saved."""

    def __init__(self, texts: Sequence[Text]) -> None:
        super().__init__(texts)
        self.queries = 0
        self.late: list[datetime] = []
        self.requests: list[PageRequest] = []

    def entity_sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, fewest: Fewest = ANY
    ) -> list[Aggregate]:
        self.queries += 1
        return super().entity_sums(start, end, mentions, fewest)

    def entity_sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, mentions: MentionSelection
    ) -> list[Aggregate]:
        self.queries += 1
        return super().entity_sums_by_window(start, end, width, mentions)

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        return [LateWindow(start, has_exact=True) for start in self.late]

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
        incidents: Sequence[Incident] = (),
        pages: Sequence[IncidentPage] = (),
    ) -> None:
        super().save(changed, dropped, transitions, page_requests, now, incidents, pages)
        self.requests += page_requests


def evaluator_of(
    store: MemoryStore, rules: Sequence[Rule], registry: CollectorRegistry | None = None
) -> AlertEvaluator:
    return AlertEvaluator(
        rules=rules,
        topics=TOPICS,
        reader=store,
        episodes=store,
        delivery=PageRouter(("webhook:desk",)),
        window_width=MINUTE,
        metrics=AlertMetrics(registry),
    )


@pytest.mark.parametrize("number", [1, 100])
def test_the_number_of_entities_in_the_window_decides_nothing_about_the_number_of_queries(
    tmp_path: Path, calm: list[Text], number: int
) -> None:
    hit = [
        replace(text, id=f"{text.id} {entity}")
        for entity in range(number)
        for text in burst(entity_name(entity + 100))
    ]
    store = Counting([*calm, *hit])
    alerts = evaluator_of(store, rules_of(tmp_path, SURGE)).evaluate(NOW + 25 * MINUTE)
    assert len(alerts) >= 0.9 * number  # while the whole stream is bad, a few do not stand out
    assert store.queries == 3  # the window, the totals of the history, the candidates by the hour


def test_every_entity_has_an_episode_of_its_own_and_metrics_count_them(
    tmp_path: Path, calm: list[Text]
) -> None:
    registry = CollectorRegistry()
    store = Counting([*calm, *burst(RARE, NEW)])
    evaluator = evaluator_of(store, rules_of(tmp_path, SURGE), registry)
    alerts = evaluator.evaluate(NOW + 25 * MINUTE)
    assert len({alert.id for alert in alerts}) == 2
    assert len(store.requests) == 1, "the texts are about both, so they are one event"
    labels = {"rule": "surge", "topic": "all", "state": "firing"}
    assert registry.get_sample_value("sentiment_alert_state", labels) == 2
    again = evaluator.evaluate(NOW + 26 * MINUTE)
    assert {alert.id for alert in again} == {alert.id for alert in alerts}
    assert len(store.requests) == 1
    for minutes in (80, 86, 92, 220):
        evaluator.evaluate(NOW + minutes * MINUTE)
    assert {alert.state for alert in store.alerts.values()} == {AlertState.RESOLVED}
    assert len(store.requests) == 2
    assert registry.get_sample_value("sentiment_alert_state", labels) == 0


def test_late_documents_about_an_entity_raise_the_alert_of_their_own_window(
    tmp_path: Path, calm: list[Text]
) -> None:
    store = Counting([*calm, *burst(RARE)])
    evaluator = evaluator_of(store, rules_of(tmp_path, SURGE))
    later = NOW + 2 * HOUR
    assert evaluator.evaluate(later) == []
    store.late = [text.published_at.replace(second=0) for text in burst(RARE)]
    (alert,) = evaluator.evaluate(later + MINUTE)
    assert alert.entity == RARE
    assert alert.summary.startswith("late documents, ")
    assert alert.evidence


def test_a_removed_rule_ends_the_episodes_of_its_entities(tmp_path: Path, calm: list[Text]) -> None:
    store = Counting([*calm, *burst(RARE)])
    evaluator = evaluator_of(store, rules_of(tmp_path, SURGE))
    evaluator.evaluate(NOW + 25 * MINUTE)
    evaluator.replace_rules(rules_of(tmp_path, SURGE.replace("name: surge", "name: other")))
    evaluator.evaluate(NOW + 26 * MINUTE)
    ended = [alert for alert in store.alerts.values() if alert.rule == "surge"]
    assert [(alert.state, alert.entity) for alert in ended] == [(AlertState.RESOLVED, RARE)]


def test_an_entity_that_leaves_the_list_of_a_rule_has_no_episode_any_more(
    tmp_path: Path, calm: list[Text]
) -> None:
    store = Counting([*calm, *burst(RARE, NEW)])
    evaluator = evaluator_of(store, rules_of(tmp_path, SURGE.replace("each", f"[{RARE}, {NEW}]")))
    assert len(evaluator.evaluate(NOW + 25 * MINUTE)) == 2
    evaluator.replace_rules(rules_of(tmp_path, SURGE.replace("each", f"[{RARE}]")))
    assert [alert.entity for alert in evaluator.evaluate(NOW + 26 * MINUTE)] == [RARE]
    ended = [alert for alert in store.alerts.values() if alert.entity == NEW]
    assert [alert.state for alert in ended] == [AlertState.RESOLVED]
    pending = SURGE.replace("each", f"[{RARE}, {NEW}]").replace("factor: 3", "factor: 3, for: 2m")
    other = Counting([*calm, *burst(NEW)])
    evaluator = evaluator_of(other, rules_of(tmp_path, pending))
    assert [alert.state for alert in evaluator.evaluate(NOW + 25 * MINUTE)] == [AlertState.PENDING]
    evaluator.replace_rules(rules_of(tmp_path, pending.replace(f", {NEW}", "")))
    assert evaluator.evaluate(NOW + 28 * MINUTE) == []
    assert not other.requests
