"""The sums of each origin: what an alert is made of, in SQL and in a backtest."""

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.history.memory_store import MemoryStore
from monitor.cli.backtest.texts import _stored_text
from stream.domain.sums import Aggregate, Counted, Scope, Selection
from stream.storage.batches import Store
from tests.unit.stream.samples import NOW, about, mention, write
from tests.unit.stream.test_story_task import TITLES, sent, tasks

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SCOPE = Scope(None, ("news",), NOW - HOUR, NOW + MINUTE)
BANK = replace(SCOPE, entity="bank:NGTB", min_relevance=20)


def fill(store: Store) -> None:
    """Two negative texts, of which one is a copy, a calm one and an uncertain one, each of its own origin."""
    items = [
        about(sent(TITLES[0], 0, score=-0.5), mention("bank:NGTB", -0.8)),
        about(sent(TITLES[1], 1, score=-0.25), mention("bank:NGTB", 0.4)),
        sent(TITLES[2], 2, sentiment="positive", score=0.75),
        sent(TITLES[3], 3, sentiment="neutral", score=0.0),
    ]
    write(store, *items)


@pytest.mark.parametrize(
    "scope", [SCOPE, replace(SCOPE, topic="Earnings"), replace(SCOPE, topic="Fed"), BANK]
)
@pytest.mark.parametrize("counted", Counted)
def test_the_origins_of_a_scope_add_up_to_its_sums(store: Store, scope: Scope, counted: Counted) -> None:
    fill(store)
    tasks(store).assign_next()
    scope = replace(scope, selection=Selection(counted=counted))
    origins = store.reads.sums_by_origin(scope)
    sums = store.reads.sums(scope.start, scope.end, scope.selection)
    if scope.entity is None:
        total = sum((one for one in sums if scope.topic in (None, one.topic)), Aggregate(NOW, "", ""))
        assert sum(origins.values(), Aggregate(NOW, "", "")) == total
    rows = list(store.reads.scored_documents(scope.start, scope.end))
    mentions = store.reads.mentions_by_key(scope.start, scope.end)
    texts = [_stored_text(row, mentions.get(row.key, ())) for row in rows]
    in_memory = MemoryStore(texts).sums_by_origin(scope)
    assert {origin: total.totals for origin, total in in_memory.items()} == {
        origin: total.totals for origin, total in origins.items()
    }


def test_each_origin_has_what_it_says_about_the_entity(store: Store) -> None:
    fill(store)
    tasks(store).assign_next()
    found = store.reads.sums_by_origin(BANK)
    assert {origin: (each.n, each.negative, each.positive, each.score_sum) for origin, each in found.items()} == {
        "wire 0": (1, 1, 0, -8000), "wire 1": (1, 0, 1, 4000),
    }  # fmt: skip


def test_documents_without_a_story_have_no_origin_yet(store: Store) -> None:
    fill(store)
    assert {origin: each.n for origin, each in store.reads.sums_by_origin(SCOPE).items()} == {None: 4}
    tasks(store).assign_next(1)
    assert {origin: each.n for origin, each in store.reads.sums_by_origin(SCOPE).items()} == {
        None: 3, "wire 0": 1,
    }  # fmt: skip


def test_of_the_last_base_window_all_documents_count(store: Store) -> None:
    fill(store)
    tasks(store).assign_next()
    inside = replace(SCOPE, end=NOW.replace(second=0) + timedelta.resolution)
    assert sum(each.n for each in store.reads.sums_by_origin(inside).values()) == 4
