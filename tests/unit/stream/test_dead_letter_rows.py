"""Dead letters in SQL: found by filter and position, counted, and noted as sent again."""

from datetime import timedelta

import pytest
from msgspec import structs

from stream.domain.errors import DeadLetterReason, LeaseLost
from stream.domain.records import DeadLetter, Partition
from stream.storage.batches import Store
from stream.storage.dead_letters import (
    LetterFilter,
    LetterPosition,
    count_by_reason,
    count_letters,
    in_chunks,
    latest_letters,
    letters_at,
    mark_sent,
)
from stream.storage.leases import Lease
from tests.unit.stream.samples import NEWS_0, NEWS_1, NOW, dead_letter, no_messages, write

HOUR = timedelta(hours=1)


def element(offset: int, number: int, partition: Partition = NEWS_0) -> DeadLetter:
    letter = dead_letter(offset, partition)
    position = structs.replace(letter.position, item=number)
    return structs.replace(letter, position=position, reason=DeadLetterReason.NO_TEXT)


def lease(store: Store, holder: str = "me") -> Lease:
    return Lease(store, "dead-letters", holder, 60)


def test_letters_are_found_by_every_filter_and_counted_by_reason(store: Store) -> None:
    write(store, dead_letter(0), element(1, 0), element(1, 1), dead_letter(0, NEWS_1))
    everything = LetterFilter()
    assert count_letters(store.engine, everything) == 4
    counts = count_by_reason(store.engine, everything)
    assert [(row.reason, row.letters, row.sent, row.first) for row in counts] == [
        ("no_text", 2, 0, NOW),
        ("not_utf8", 2, 0, NOW),
    ]
    wanted = [
        (LetterFilter(reasons=["no_text"]), 2),
        (LetterFilter(topics=["news"], reasons=["not_utf8", "no_text"]), 4),
        (LetterFilter(topics=["comments"]), 0),
        (LetterFilter(since=NOW, until=NOW + HOUR), 4),
        (LetterFilter(since=NOW + HOUR), 0),
        (LetterFilter(until=NOW), 0),
    ]
    for filter_, number in wanted:
        assert count_letters(store.engine, filter_) == number, filter_
        assert len(latest_letters(store.engine, filter_, 10)) == number
    assert len(latest_letters(store.engine, everything, 3)) == 3


def test_a_position_names_a_message_or_a_document_of_an_array(store: Store) -> None:
    write(store, dead_letter(0), element(1, 0), element(1, 1))
    assert [
        str(letter.position) for letter in letters_at(store.engine, LetterPosition.parse("news/0/1"))
    ] == [
        "news/0/1/0",
        "news/0/1/1",
    ]
    (single,) = letters_at(store.engine, LetterPosition.parse("news/0/0"))
    assert (str(single.position), single.reason, single.sent_at) == ("news/0/0", "not_utf8", None)
    assert letters_at(store.engine, LetterPosition.parse("news/0/1/7")) == []


def test_of_a_topic_that_was_made_again_the_letters_of_the_latest_incarnation_are_meant(store: Store) -> None:
    write(store, dead_letter(0))
    again = Partition("cluster/b", "news", 0)
    later = structs.replace(dead_letter(0, again), detail="later")
    store.skip(later, 1, no_messages, NOW + HOUR)
    (letter,) = letters_at(store.engine, LetterPosition("news", 0, 0))
    assert (letter.incarnation, letter.detail) == ("cluster/b", "later")


@pytest.mark.parametrize(
    "text",
    ["", "news", "news/0", "/0/1", "news/0/x", "news/0/-1", "news/0/1/2/3", "news[0]@1", "news/0/\u00b2"],
)
def test_what_is_no_position_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as news/0/17"):
        LetterPosition.parse(text)


def test_chunks_hold_every_letter_once_in_order_also_while_they_are_noted_as_sent(store: Store) -> None:
    write(store, *[dead_letter(offset) for offset in range(5)], *[element(5, number) for number in range(4)])
    found = []
    for chunk in in_chunks(store.engine, LetterFilter(unsent=True), 2):
        assert len(chunk) <= 2
        mark_sent(store.engine, chunk, NOW + HOUR, lease(store))
        found += [str(letter.position) for letter in chunk]
    assert found == [f"news/0/{n}" for n in range(5)] + [f"news/0/5/{n}" for n in range(4)]
    assert count_letters(store.engine, LetterFilter(unsent=True)) == 0
    assert {letter.sent_at for letter in latest_letters(store.engine, LetterFilter(), 99)} == {NOW + HOUR}
    assert [row.sent for row in count_by_reason(store.engine, LetterFilter())] == [5, 4]


def test_a_message_that_is_read_and_refused_again_counts_as_not_sent(store: Store) -> None:
    write(store, dead_letter(0))
    letters = letters_at(store.engine, LetterPosition("news", 0, 0))
    mark_sent(store.engine, letters, NOW, lease(store))
    store.set_back(NEWS_0, 0, NOW)
    write(store, dead_letter(0))
    assert count_letters(store.engine, LetterFilter(unsent=True)) == 1


def test_who_has_lost_the_lease_notes_nothing(store: Store) -> None:
    write(store, dead_letter(0))
    assert lease(store, "another").acquire()
    with pytest.raises(LeaseLost):
        mark_sent(store.engine, letters_at(store.engine, LetterPosition("news", 0, 0)), NOW, lease(store))
    assert count_letters(store.engine, LetterFilter(unsent=True)) == 1
