"""What the rules read about stories in SQL, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from stream.domain.alerts import StoryCounts
from stream.domain.documents import EPOCH
from stream.domain.sums import Counted, LateWindow, MentionSelection, Scope, Selection
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.marks import set_mark
from stream.storage.stories import STORIES_MARK
from tests.unit.stream.samples import NOW, about, mention, write
from tests.unit.stream.test_story_task import TITLES, sent, tasks

HOUR = timedelta(hours=1)
SCOPE = Scope(None, ("news",), NOW - HOUR, NOW + HOUR)


def mark(store: Store, at: object) -> None:
    with database.writing(store.engine) as connection:
        set_mark(connection, STORIES_MARK, at)


def test_an_installation_without_older_documents_has_voices_since_ever(store: Store) -> None:
    mark(store, NOW)
    assert store.reads.voices_since() == EPOCH
    write(store, sent(TITLES[0], 0, at=NOW - 100 * HOUR))
    assert store.reads.voices_since() == EPOCH


def test_documents_received_before_the_mark_have_no_story(store: Store) -> None:
    write(store, sent(TITLES[0], 0, at=NOW - 2 * HOUR), sent(TITLES[2], 1, at=NOW - 30 * HOUR))
    mark(store, NOW + timedelta(seconds=1))
    assert store.reads.voices_since() == NOW - 2 * HOUR + timedelta.resolution
    # A backfill moves the mark.
    mark(store, NOW - HOUR)
    assert store.reads.voices_since() == EPOCH


def test_without_the_mark_documents_get_no_story(store: Store) -> None:
    with database.writing(store.engine) as connection:
        connection.execute(delete(schema.marks))
    assert store.reads.voices_since() is None


def test_what_waits_longest_is_told_until_it_has_its_story(store: Store) -> None:
    assert store.reads.oldest_waiting() is None
    write(store, sent(TITLES[0], 0))
    assert store.reads.oldest_waiting() == NOW
    tasks(store).assign_next()
    assert store.reads.oldest_waiting() is None


def test_stories_voices_and_copies_are_counted_in_a_scope(store: Store) -> None:
    items = [about(sent(title, i), mention("bank:NGTB")) for i, title in enumerate(TITLES[:3])]
    calm = sent(TITLES[3], 3, sentiment="neutral", score=0.0)
    write(store, *items, calm)
    assert store.reads.story_counts(SCOPE, negative=False) == StoryCounts(4, 0, 0, 0)
    tasks(store).assign_next()
    assert store.reads.story_counts(SCOPE, negative=False) == StoryCounts(4, 3, 3, 1)
    assert store.reads.story_counts(SCOPE, negative=True) == StoryCounts(3, 2, 2, 1)
    of_entity = Scope(None, ("news",), NOW - HOUR, NOW + HOUR, entity="bank:NGTB")
    assert store.reads.story_counts(of_entity, negative=True) == StoryCounts(3, 2, 2, 1)
    elsewhere = Scope("Fed", ("news",), NOW - HOUR, NOW + HOUR)
    assert store.reads.story_counts(elsewhere, negative=True) == StoryCounts(0, 0, 0, 0)


def test_evidence_has_its_story_and_no_copies(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES[:3])))
    assert [item.story for item in store.reads.most_negative(SCOPE, 9)] == [None, None, None]
    tasks(store).assign_next()
    shown = store.reads.most_negative(SCOPE, 9)
    assert [(item.story, item.novelty, item.is_voice, item.copies) for item in shown] == [
        (1, 100, True, 1), (3, 100, True, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(("least", "found"), [(1, 3), (75, 3), (76, 2), (100, 2)])
def test_a_selection_by_novelty_has_only_documents_with_a_story(store: Store, least: int, found: int) -> None:
    write(store, *(about(sent(title, i), mention("bank:NGTB")) for i, title in enumerate(TITLES[:3])))
    novel = Selection(min_novelty=least)
    assert store.reads.sums(NOW - HOUR, NOW + HOUR, novel) == []
    tasks(store).assign_next()
    assert [each.n for each in store.reads.sums(NOW - HOUR, NOW + HOUR, novel)] == [found]
    mentions = MentionSelection(documents=novel)
    assert [each.n for each in store.reads.entity_sums(NOW - HOUR, NOW + HOUR, mentions)] == [found]
    both = Selection(min_novelty=least, counted=Counted.VOICES)
    assert [each.n for each in store.reads.sums(NOW - HOUR, NOW + HOUR, both)] == [2]


def test_voices_are_late_by_the_time_of_their_assignment(store: Store) -> None:
    write(store, sent(TITLES[0], 0, at=NOW - 2 * HOUR))
    assert store.reads.late_voices(NOW, NOW) == []
    tasks(store, clock=lambda: NOW + HOUR).assign_next()
    window = LateWindow((NOW - 2 * HOUR).replace(second=0), has_exact=True)
    assert store.reads.late_voices(NOW + HOUR, NOW) == [window]
    assert store.reads.late_windows(NOW + HOUR, NOW) == []
    assert store.reads.late_voices(NOW + HOUR + timedelta(seconds=1), NOW) == []


def test_what_a_backtest_reads_has_stories_where_there_are_any(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES[:2])))
    tasks(store).assign_next(1)
    rows = list(store.reads.scored_documents(NOW - HOUR, NOW + HOUR))
    assert sorted((row.story, row.voice, row.novelty) for row in rows if row.story) == [(1, 1, 100)]
    with database.reading(store.engine) as connection:
        assert len(connection.execute(select(schema.documents)).all()) == len(rows) == 2
