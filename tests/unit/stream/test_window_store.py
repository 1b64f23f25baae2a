"""The stored sums in memory, on both databases: they say the same as the database, and fire the same alerts."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.backtest import Page, evaluation_times, replay, replay_over
from alerts.history import window_store
from alerts.history.memory_store import Text
from alerts.history.window_store import TooMuchHistory, WindowStore
from alerts.rules.registry import RULE_TYPES
from stream.domain.documents import Precision
from stream.domain.entities import EntityMention
from stream.domain.sums import Fewest, MentionSelection, Selection, TimeRange
from stream.storage.batches import Store
from tests.unit.stream.samples import write
from tests.unit.stream.test_entity_reads import END, ENTITIES, MINUTE, START, as_classified, random_texts

HOUR = timedelta(hours=1)
TIMES = TimeRange(START, END)


def write_texts(store: Store, texts: list[Text]) -> None:
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])


def in_memory(store: Store, *, has_dates: bool = False) -> WindowStore:
    return WindowStore(store.reads, TIMES, MINUTE, has_dates=has_dates)


def some_times(seed: int, count: int) -> list[TimeRange]:
    """Ranges of whole minutes."""
    choice, length = random.Random(seed), (END - START) // MINUTE
    pairs = [sorted(choice.sample(range(length + 1), 2)) for _ in range(count)]
    return [TIMES, *(TimeRange(START + a * MINUTE, START + b * MINUTE) for a, b in pairs)]


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(sources=("wire1", "wire2")), Selection(languages=("zh",))]
)
def test_sums_are_those_of_the_database(store: Store, selection: Selection) -> None:
    write_texts(store, random_texts(11))
    memory, found = in_memory(store), 0
    for start, end in some_times(1, 10):
        sums = store.reads.sums(start, end, selection)
        assert memory.sums(start, end, selection) == sums
        found += len(sums)
        for width in (15 * MINUTE, HOUR):
            windows = store.reads.sums_by_window(start, end, width, selection)
            assert memory.sums_by_window(start, end, width, selection) == windows
    assert found > 10


def test_sums_of_entities_are_those_of_the_database(store: Store) -> None:
    write_texts(store, random_texts(12))
    memory, found = in_memory(store), 0
    for start, end in some_times(2, 6):
        for entities in (None, ENTITIES[:2], ("nobody",)):
            for mentions in (MentionSelection(entities), MentionSelection(entities, 40, ("news",))):
                for fewest in (Fewest(), Fewest(2, 1)):
                    sums = store.reads.entity_sums(start, end, mentions, fewest)
                    assert sorted(memory.entity_sums(start, end, mentions, fewest), key=repr) == sorted(
                        sums, key=repr
                    )
                    found += len(sums)
                windows = store.reads.entity_sums_by_window(start, end, HOUR, mentions)
                assert sorted(memory.entity_sums_by_window(start, end, HOUR, mentions), key=repr) == sorted(
                    windows, key=repr
                )
    assert found > 50


def test_a_text_with_a_date_alone_counts_in_what_is_usual_and_in_no_short_window(store: Store) -> None:
    texts = [replace(text, precision=Precision.DAY) for text in random_texts(13, 20)]
    write_texts(store, texts)
    memory = in_memory(store, has_dates=store.reads.has_dates(*TIMES))
    assert sum(total.n for total in memory.sums(START, START + 30 * HOUR, Selection())) > 0
    assert memory.sums(START, START + 6 * HOUR, Selection()) == []
    assert sum(cell.n for cell in memory.sums_by_window(START, END, HOUR, Selection())) == 20


def test_texts_with_exact_times_have_no_dates_alone(store: Store) -> None:
    write_texts(store, random_texts(14, 20))
    assert not store.reads.has_dates(*TIMES)


def test_more_sums_than_fit_in_memory_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_texts(store, random_texts(15))
    monkeypatch.setattr(window_store, "MOST_ROWS", 10)
    with pytest.raises(TooMuchHistory, match=r"more than 10 sums.*monitor backtest"):
        in_memory(store).windows_with_texts()


def test_rules_fire_over_the_stored_sums_as_over_the_texts(store: Store) -> None:
    """The backtest of a page and the one of the command line are the same."""
    choice = random.Random(16)
    calm = [replace(text, precision=Precision.EXACT) for text in random_texts(16, 200)]
    bad = [
        replace(
            text,
            id=f"bad{number}",
            kind="news",
            topic="Earnings",
            sentiment="negative",
            score=-9000,
            precision=Precision.EXACT,
            entities=(EntityMention("XNYS:JPM", "JPMorgan", (), 90, "negative", 0.9, -0.9),),
            published_at=END - 3 * HOUR + choice.random() * 10 * MINUTE,
        )
        for number, text in enumerate(random_texts(17, 30))
    ]
    write_texts(store, [*calm, *bad])
    common = {"window": "15m", "min_documents": 5, "count": "texts"}
    surge = {"type": "negative_surge", "min_negative": 5, "min_baseline": "12h", "baseline": "2d"}
    rules = [
        RULE_TYPES["negative_surge"].model_validate({"name": "surge", "topics": "each", **surge, **common}),
        RULE_TYPES["negative_surge"].model_validate(
            {"name": "entity", "entities": "each", **surge, **common}
        ),
        RULE_TYPES["threshold"].model_validate(
            {"name": "low", "type": "threshold", "watch": "mean_score", "threshold": -0.5, **common}
        ),
    ]
    topics = ("Earnings", "Macro")
    expected = replay(rules, topics, [*calm, *bad])
    memory = in_memory(store)
    times = evaluation_times(memory.windows_with_texts(), MINUTE, TIMES)
    found = replay_over(memory, MINUTE, times, rules, topics)
    fired = [described(page) for page in expected.alerts]
    assert {rule for rule, *_ in fired} == {"surge", "entity", "low"}
    assert [described(page) for page in found.alerts] == fired
    assert [(page.kind, page.at) for page in found.pages] == [(page.kind, page.at) for page in expected.pages]


def described(page: Page) -> tuple[object, ...]:
    """What fired, on what, when, and over how many texts."""
    fired = page.fired
    return fired.rule, fired.topic, fired.entity, page.fired_at, fired.n, fired.value
