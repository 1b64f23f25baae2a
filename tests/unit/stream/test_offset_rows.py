"""The offset rows: holes are noted, a reset sets them back, and a new leader is checked before it is believed."""

import threading
from collections.abc import Callable

import msgspec
import pytest

from stream.batch_writer import BatchWriter
from stream.domain.errors import OffsetsRefused
from stream.domain.records import UNKNOWN_EPOCH, Batch, ClassifiedDocument, NextOffset
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from tests.unit.stream.samples import NEWS_0, NOW, classified, dead_letter, no_messages, write


def stored(store: Store) -> NextOffset | None:
    return store.next_offsets([NEWS_0.incarnation]).get(NEWS_0)


def of_epoch(id_: str, offset: int, epoch: int) -> ClassifiedDocument:
    item = classified(id_, offset)
    return msgspec.structs.replace(item, position=msgspec.structs.replace(item.position, leader_epoch=epoch))


def test_the_epoch_of_the_last_message_is_stored_with_the_offset(store: Store) -> None:
    store.write(Batch([of_epoch("a", 7, 3), of_epoch("b", 8, 4)]), no_messages, NOW)
    assert stored(store) == NextOffset(9, 4)
    write(store, classified("c", 9))
    assert stored(store) == NextOffset(10, UNKNOWN_EPOCH)


def test_a_hole_moves_the_offset_only_if_it_begins_at_or_before_it(store: Store) -> None:
    write(store, classified("a", 9))
    for first, end, expected in ((11, 15, 10), (10, 12, 12), (5, 14, 14), (5, 9, 14)):
        store.note_holes({NEWS_0: (first, NextOffset(end, 2))}, NOW)
        assert stored(store) is not None and stored(store)[0] == expected, (first, end)
    assert stored(store) == NextOffset(14, 2)


def test_a_hole_creates_no_row(store: Store) -> None:
    store.note_holes({NEWS_0: (0, NextOffset(5))}, NOW)
    assert stored(store) is None


def test_an_offset_that_was_set_back_is_read_again_and_may_get_a_second_dead_letter(store: Store) -> None:
    write(store, classified("a", 3), dead_letter(4))
    store.set_back(NEWS_0, 3, NOW)
    again = write(store, classified("a", 3), dead_letter(4))
    assert (len(again.documents), len(again.dead_letters)) == (0, 1)
    assert stored(store) == NextOffset(5)


def writer(store: Store, check: Callable[[], None]) -> BatchWriter:
    return BatchWriter(
        store=store,
        outbound=no_messages,
        metrics=StreamMetrics(),
        clock=lambda: NOW,
        stopping=threading.Event(),
        check_offsets=check,
    )


def test_the_log_is_checked_once_for_each_new_leader_and_before_its_messages_are_written(
    store: Store,
) -> None:
    seen: list[NextOffset | None] = []
    batches = writer(store, lambda: seen.append(stored(store)))
    for offset, epoch in ((0, 3), (1, 3), (2, 5), (3, 5), (4, UNKNOWN_EPOCH)):
        batches.write([of_epoch(f"d{offset}", offset, epoch)])
    assert seen == [None, NextOffset(2, 3)]


def test_nothing_of_a_log_that_was_cut_is_written(store: Store) -> None:
    def refuse() -> None:
        raise OffsetsRefused("the log was cut")

    with pytest.raises(OffsetsRefused):
        writer(store, refuse).write([of_epoch("a", 0, 3)])
    assert stored(store) is None
