"""The leader epochs in the headers of fetched record batches."""

import struct

from stream.domain.records import UNKNOWN_EPOCH
from stream.kafka.leader_epochs import LeaderEpochs, epoch_starts


def batch(offset: int, epoch: int, magic: int = 2, body: bytes = b"x" * 50) -> bytes:
    return struct.pack(">qiib", offset, 5 + len(body), epoch, magic) + body


def test_each_change_of_the_epoch_is_found_with_its_first_offset() -> None:
    records = batch(100, 4) + batch(130, 4) + batch(150, 6) + batch(160, 7)
    assert list(epoch_starts(records)) == [(100, 4), (150, 6), (160, 7)]


def test_a_batch_that_the_fetch_cut_off_ends_the_list() -> None:
    assert list(epoch_starts(batch(100, 4) + batch(130, 5)[:12])) == [(100, 4)]
    assert list(epoch_starts(b"")) == []


def test_an_older_message_format_has_no_epoch() -> None:
    assert list(epoch_starts(batch(100, 4, magic=1))) == [(100, UNKNOWN_EPOCH)]


def test_a_damaged_length_does_not_hang() -> None:
    list(epoch_starts(struct.pack(">qiib", 1, -5000, 4, 2) * 10))


def test_the_epoch_of_an_offset_is_that_of_the_batch_before_it() -> None:
    epochs = LeaderEpochs()
    epochs.add(batch(100, 4))
    epochs.add(batch(150, 6))
    assert [epochs.at(offset) for offset in (99, 100, 149, 150, 900)] == [UNKNOWN_EPOCH, 4, 4, 6, 6]


def test_a_fetch_further_back_replaces_what_was_known_from_there_on() -> None:
    epochs = LeaderEpochs()
    for offset, epoch in ((100, 4), (150, 6), (120, 7)):
        epochs.add(batch(offset, epoch))
    assert [epochs.at(offset) for offset in (110, 120, 160)] == [4, 7, 7]


def test_only_the_latest_epochs_are_kept() -> None:
    epochs = LeaderEpochs()
    for epoch in range(1000):
        epochs.add(batch(10 * epoch, epoch))
    assert epochs.at(9990) == 999 and epochs.at(0) == UNKNOWN_EPOCH
