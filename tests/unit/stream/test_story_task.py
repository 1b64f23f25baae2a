"""Documents get their stories in SQL, once, and the sums of voices are exact, on both databases."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import delete, select, update

from stream.domain.errors import LeaseLost
from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import Counted, MentionSelection, Selection, TimeRange
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.marks import read_mark, set_mark
from stream.storage.recount import recount
from stream.storage.relabel import relabel
from stream.storage.stories import STORIES_MARK
from stream.storage.story_backfill import backfill_stories, count_without_story
from stream.storage.story_task import StoryStore
from tests.unit.stream.samples import (
    ALL_TIMES,
    NEWS_1,
    NOW,
    about,
    classified,
    classify_with_two,
    mention,
    no_messages,
    row_count,
    write,
)

VOICES = Selection(counted=Counted.VOICES)
TITLES = (
    "Northgate Bank freezes withdrawals of depositors",
    "UPDATE 1-Northgate Bank freezes withdrawals of depositors",
    "Hollis Semiconductor opens laboratory in Cambridge",
    "Oil slips as inventories build for third week",
)


def tasks(store: Store, name: str = "a:1", **options: Any) -> StoryStore:
    lease = Lease(store, "stories", name, 60)
    settings: dict[str, Any] = {"weights": dict, "outbound": lambda _: [], "clock": lambda: NOW}
    return StoryStore(store, lease, **settings | options)


def sent(title: str, offset: int, **options: Any) -> ClassifiedDocument:
    """A document of a source of its own."""
    item = classified(f"d{offset}", offset, title=title, **options)
    return structs.replace(item, document=structs.replace(item.document, source=f"wire {offset}"))


def assigned(store: Store) -> list[Any]:
    table = schema.document_stories
    with database.reading(store.engine) as connection:
        return list(connection.execute(select(table).order_by(table.c.sequence)))


def voices_of(store: Store) -> Mapping[str, tuple[int, int, int]]:
    """Count, negatives and score sum of the voices by topic."""
    sums = store.reads.sums(NOW - timedelta(days=2), NOW + timedelta(days=1), VOICES)
    return {each.topic: (each.n, each.negative, each.score_sum) for each in sums}


def test_documents_wait_for_their_story_and_get_it_once(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    task = tasks(store)
    assert store.reads.oldest_waiting() == NOW
    assert [len(task.assign_next(most)) for most in (3, 500, 500)] == [3, 1, 0]
    rows = assigned(store)
    assert [(row.sequence, row.story, row.voice, row.novelty) for row in rows] == [
        (1, 1, 1, 100), (2, 1, 0, 75), (3, 3, 1, 100), (4, 4, 1, 100),
    ]  # fmt: skip
    assert rows[1].copy_of == rows[0].key and rows[0].published_at == NOW and rows[0].origin == "wire 0"
    assert store.reads.oldest_waiting() is None
    # The same documents again, by another offset.
    write(store, *(sent(title, i, partition=NEWS_1) for i, title in enumerate(TITLES)))
    assert task.assign_next() == []
    with database.reading(store.engine) as connection:
        (story,) = connection.execute(select(schema.stories).where(schema.stories.c.id == 1))
    assert (story.documents, story.copies, story.voices, story.first_key) == (2, 1, 1, rows[0].key)


@pytest.mark.parametrize("compared_still", [True, False])
def test_a_document_deleted_by_hand_and_restored_keeps_its_story(store: Store, compared_still: bool) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    task = tasks(store)
    task.assign_next()
    before, sums = assigned(store), voices_of(store)
    keys = [row.key for row in before[:2]]
    with database.writing(store.engine) as connection:
        for table in (schema.documents, schema.mentions, *(() if compared_still else (schema.story_inputs,))):
            connection.execute(delete(table).where(table.c.key.in_(keys)))
    write(store, *(sent(title, i, partition=NEWS_1) for i, title in enumerate(TITLES[:2])))
    assert recount(store, ALL_TIMES) > 0, "the sums of texts counted them twice"
    assert task.assign_next() == []
    assert (assigned(store), voices_of(store)) == (before, sums)
    assert recount(store, ALL_TIMES) == 0 and store.reads.oldest_waiting() is None


def test_sums_of_voices_are_those_of_the_documents_that_are_voices(store: Store) -> None:
    write(store, *(about(sent(title, i), mention("bank:NGTB")) for i, title in enumerate(TITLES)))
    assert voices_of(store) == {}
    tasks(store).assign_next()
    assert voices_of(store) == {"Earnings": (3, 3, -15000)}
    assert [each.n for each in store.reads.sums(NOW - timedelta(hours=1), NOW + timedelta(days=1))] == [4]
    day = NOW.replace(hour=0, minute=0, second=0)
    for start, end in (
        (day, day + timedelta(days=1)),
        (NOW - timedelta(minutes=1), NOW + timedelta(minutes=1)),
    ):
        of_voices = store.reads.entity_sums(start, end, MentionSelection(documents=VOICES))
        assert [(each.topic, each.n, each.score_sum) for each in of_voices] == [("bank:NGTB", 3, -15000)]
    from_wire = Selection(("wire 0", "wire 1"), counted=Counted.VOICES)
    (counted,) = store.reads.sums(day, day + timedelta(days=1), from_wire)
    assert counted.n == 1
    stories = Selection(counted=Counted.STORIES)
    assert [each.n for each in store.reads.sums(day, day + timedelta(days=1), stories)] == [3]
    assert recount(store, ALL_TIMES) == 0


def test_other_labels_change_the_sums_of_voices_by_the_difference(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    tasks(store).assign_next()
    relabel(store, ALL_TIMES, "two", classify=classify_with_two, outbound=no_messages, clock=lambda: NOW)
    assert voices_of(store) == {"Macro": (3, 3, -7500)}
    assert recount(store, ALL_TIMES) == 0


def test_a_corrected_text_keeps_its_story_and_its_voice(store: Store) -> None:
    item = sent(TITLES[0], 0)
    write(store, item)
    tasks(store).assign_next()
    document = structs.replace(
        item.document, title="Northgate Bank reopens", updated_at=NOW + timedelta(minutes=5)
    )
    better = structs.replace(item.prediction, sentiment="positive", score=0.5)
    again = structs.replace(item, document=document, prediction=better)
    write(store, structs.replace(again, position=structs.replace(item.position, offset=9)))
    assert voices_of(store) == {"Earnings": (1, 0, 5000)}
    assert tasks(store).assign_next() == [] and recount(store, ALL_TIMES) == 0


def test_a_recount_repairs_the_sums_of_voices(store: Store) -> None:
    write(store, *(about(sent(title, i), mention("bank:NGTB")) for i, title in enumerate(TITLES)))
    tasks(store).assign_next()
    with database.writing(store.engine) as connection:
        connection.execute(update(schema.voice_aggregates).values(n=7))
        connection.execute(delete(schema.voice_entity_aggregates))
    assert recount(store, ALL_TIMES) > 0
    assert voices_of(store) == {"Earnings": (3, 3, -15000)} and recount(store, ALL_TIMES) == 0


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_restart_at_any_place_gives_the_same_stories(store: Store, every: int) -> None:
    """A task that loads its memory from SQL decides like one that never stopped."""
    words = ("bank", "freezes", "withdrawals", "oil", "slips", "copper", "court", "fine", "chips", "port")
    items = [
        sent(f"{words[i % 7]} {words[i * 3 % 10]} {words[i * i % 10]} {words[i % 4]} {i % 3}%", i)
        for i in range(30)
    ]
    for i, item in enumerate(items):
        store.write(Batch([item]), no_messages, NOW + i * timedelta(hours=3))
    task = tasks(store)
    while task.assign_next(every):
        task.forget()
    stepwise = [tuple(row) for row in assigned(store)]
    with database.writing(store.engine) as connection:
        connection.execute(delete(schema.document_stories))
        connection.execute(delete(schema.stories))
        connection.execute(delete(schema.story_inputs))
        connection.execute(delete(schema.documents))
    for i, item in enumerate(items):
        moved = structs.replace(item, position=structs.replace(item.position, offset=100 + i))
        store.write(Batch([moved]), no_messages, NOW + i * timedelta(hours=3))
    tasks(store).assign_next()
    assert [tuple(row) for row in assigned(store)] == stepwise
    assert len({row[5] for row in stepwise}) < 30


def test_signatures_and_embeddings_go_when_nothing_is_compared_with_them_any_more(store: Store) -> None:
    task = tasks(store)
    for hours, title in zip((0, 23, 30, 80), (*TITLES[1:], "Court fines shipper over spill"), strict=True):
        item = sent(title, hours)
        store.write(Batch([item]), no_messages, NOW + timedelta(hours=hours))
        task.assign_next()
    assert row_count(store, schema.story_inputs) == 1
    with database.reading(store.engine) as connection:
        table = schema.stories
        assert list(connection.scalars(select(table.c.state.is_not(None)).order_by(table.c.id))) == [
            False, False, False, True,
        ]  # fmt: skip
    assert row_count(store, schema.document_stories) == 4


def test_documents_of_before_get_stories_of_their_own_and_rules_count_their_voices(store: Store) -> None:
    write(store, *(about(sent(title, i), mention("bank:NGTB")) for i, title in enumerate(TITLES)))
    with database.writing(store.engine) as connection:
        connection.execute(delete(schema.story_inputs))
        set_mark(connection, STORIES_MARK, NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=1)
    store.write(Batch([sent(TITLES[0], 9), sent("Gold edges higher", 10)]), no_messages, later)
    tasks(store).assign_next(1)
    received = TimeRange(NOW, later + timedelta(days=1))
    assert count_without_story(store, received) == 4
    steps = []

    def backfill() -> int:
        return backfill_stories(
            store, received, classify=classify_with_two, weights={}, clock=lambda: later, progress=steps.append
        )  # fmt: skip

    assert (backfill(), steps, backfill()) == (4, [4], 0)
    rows = {row.sequence: row for row in assigned(store)}
    assert sorted(rows) == [-4, -3, -2, -1, 1]
    assert rows[-2].copy_of == rows[-1].key and rows[-2].story == -1 and rows[-2].voice == 0
    # The live document of the same text is a story of its own.
    assert rows[1].story == 1 and rows[1].copy_of is None
    assert voices_of(store) == {"Earnings": (4, 4, -20000)} and recount(store, ALL_TIMES) == 0
    assert [each.sequence for each in tasks(store).assign_next()] == [2]
    with database.reading(store.engine) as connection:
        assert read_mark(connection, STORIES_MARK) == NOW


def test_only_the_holder_of_the_lease_assigns(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    first, second = tasks(store, "a:1"), tasks(store, "b:2")
    first.assign_next(2)
    with pytest.raises(LeaseLost):
        second.assign_next()
    assert len(assigned(store)) == 2
    Lease(store, "stories", "a:1", 60).release()
    assert len(second.assign_next()) == 2
    # The first one wakes up: what it remembers is out of date, and it may write nothing.
    with pytest.raises(LeaseLost):
        first.assign_next()
    Lease(store, "stories", "b:2", 60).release()
    write(store, sent(TITLES[0], 9, partition=NEWS_1))
    first.assign_next()
    assert assigned(store)[-1].story == 1 and assigned(store)[-1].sequence == 5


def test_a_step_that_fails_changes_nothing_and_is_repeated(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    fail = [True]

    def outbound(_assignments: Any) -> list[Any]:
        if fail.pop():
            fail.append(False)
            raise database.StoreUnavailable("the network is gone")
        fail.append(False)
        return []

    task = tasks(store, outbound=outbound)
    with pytest.raises(database.StoreUnavailable):
        task.assign_next()
    assert assigned(store) == [] and voices_of(store) == {}
    assert len(task.assign_next()) == 4 and [row.sequence for row in assigned(store)] == [1, 2, 3, 4]
