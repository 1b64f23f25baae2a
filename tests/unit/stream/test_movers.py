"""What the overview reads on both databases: which entities moved and why, and how fresh the data are."""

from datetime import timedelta
from itertools import count

from msgspec import structs

from stream.domain.documents import HEARTBEAT_SOURCE
from stream.domain.records import Batch
from stream.storage.batches import Store
from stream.storage.desk.freshness import Freshness, read_freshness, short_duration
from stream.storage.desk.overview import FEWEST_TEXTS, Mover, movers
from stream.storage.entities import EntityRow, store_entities
from tests.unit.stream.samples import NOW, about, classified, mention, no_messages, write
from tests.unit.stream.test_story_task import TITLES, sent, tasks

BANK, CHIPS, OIL = "bank:NGTB", "chips:HOLL", "oil:X"
DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
OFFSETS = count(1)
FRESH = Freshness(NOW, NOW, 2.0, 4 * SECOND, timedelta(0))


def spoken_of(
    store: Store, entity: str, score: float, number: int, since: timedelta, title: str = ""
) -> None:
    """So many texts about an entity, a minute apart."""
    items = [
        about(
            sent(title or f"{entity} {i}", next(OFFSETS), at=NOW - since + i * MINUTE), mention(entity, score)
        )
        for i in range(number)
    ]
    write(store, *items)


def moved(store: Store, limit: int = 10) -> list[Mover]:
    return movers(store, NOW + MINUTE, 20, limit)


def test_what_moved_most_against_the_week_before_comes_first(store: Store) -> None:
    spoken_of(store, BANK, 0.5, 8, since=3 * DAY)
    spoken_of(store, BANK, -0.7, 8, since=HOUR)
    spoken_of(store, CHIPS, -0.7, 8, since=3 * DAY)
    spoken_of(store, CHIPS, -0.8, 8, since=HOUR)
    found = moved(store)
    assert [each.id for each in found] == [BANK, CHIPS]
    assert [round(each.change, 6) for each in found] == [-1.2, -0.1]
    assert [each.id for each in moved(store, limit=1)] == [BANK]


def test_an_entity_of_few_texts_did_not_move_and_many_texts_weigh_more_than_few(store: Store) -> None:
    spoken_of(store, OIL, -1.0, FEWEST_TEXTS - 1, since=HOUR)
    spoken_of(store, CHIPS, -0.8, FEWEST_TEXTS, since=HOUR)
    spoken_of(store, BANK, -0.7, 30, since=HOUR)
    assert [each.id for each in moved(store)] == [BANK, CHIPS]


def test_what_had_texts_in_the_week_before_stands_before_what_is_new_by_how_far_it_moved(
    store: Store,
) -> None:
    for entity, mean, number in ((BANK, -0.2, 40), (CHIPS, -0.6, 8)):
        spoken_of(store, entity, 0.2, 8, since=3 * DAY)
        spoken_of(store, entity, mean, number, since=HOUR)
    spoken_of(store, OIL, -1.0, 40, since=HOUR)
    found = moved(store)
    assert [each.id for each in found] == [CHIPS, BANK, OIL]
    assert found[2].weight > found[0].weight


def test_the_reason_is_the_story_that_most_texts_in_the_direction_of_the_move_tell(store: Store) -> None:
    store_entities(store, "g-1", [EntityRow(BANK, "company", "Northgate Bank", "北门银行")])
    spoken_of(store, BANK, -0.7, 6, since=HOUR, title=TITLES[0])
    spoken_of(store, BANK, 0.2, 8, since=2 * HOUR, title=TITLES[2])
    assert moved(store)[0].why is None, "no text has its story yet"
    tasks(store).assign_next()
    (bank,) = moved(store)
    assert (bank.name, bank.chinese_name) == ("Northgate Bank", "北门银行")
    assert bank.change < 0 and bank.why is not None and bank.why.text == TITLES[0]


def test_one_strong_story_is_the_reason_rather_than_a_faint_one_of_as_many_texts(store: Store) -> None:
    spoken_of(store, BANK, -0.9, 3, since=2 * HOUR, title=TITLES[0])
    spoken_of(store, BANK, -0.1, 3, since=HOUR, title=TITLES[2])
    tasks(store).assign_next()
    (bank,) = moved(store)
    assert bank.why is not None and bank.why.text == TITLES[0]


def test_nothing_moved_in_an_empty_database(store: Store) -> None:
    assert moved(store) == []


def test_an_empty_database_has_no_text_yet_and_is_late(store: Store) -> None:
    found = read_freshness(store.engine, NOW)
    assert (found.last_received, found.delay, found.text, found.is_late) == (None, None, "No text yet", True)


def test_freshness_is_the_rate_and_the_median_delay_of_the_latest_texts(store: Store) -> None:
    items = [classified(f"d{i}", i, at=NOW - i * SECOND) for i in range(9)]
    beat = structs.replace(items[0].document, source=HEARTBEAT_SOURCE, published_at=NOW - DAY)
    write(store, *items, structs.replace(items[0], document=beat))
    found = read_freshness(store.engine, NOW + 5 * SECOND)
    assert (found.last_received, found.delay, found.silence) == (NOW, 4 * SECOND, 5 * SECOND)
    assert found.per_second == 9 / 30
    assert found.stories_behind == 5 * SECOND and not found.is_late
    tasks(store).assign_next()
    assert read_freshness(store.engine, NOW + 5 * SECOND).stories_behind == timedelta(0)


def test_old_texts_that_come_in_now_are_late_ones(store: Store) -> None:
    store.write(Batch([classified("d", 1, at=NOW - HOUR)]), no_messages, NOW)
    found = read_freshness(store.engine, NOW)
    assert found.is_late and found.text == "0.033 texts/s, 60 min behind"


def test_the_state_in_words() -> None:
    silent = Freshness(NOW, NOW - 20 * MINUTE, 0.0, SECOND, timedelta(0))
    assert (FRESH.text, FRESH.is_late) == ("2 texts/s, 4 s behind", False)
    assert (silent.text, silent.is_late, silent.is_silent) == ("No text for 20 min", True, True)
    waiting = Freshness(NOW, NOW, 2.0, SECOND, 6 * MINUTE)
    assert (waiting.text, waiting.is_late) == ("2 texts/s, 6 min behind", True)


def test_a_short_duration_has_one_unit() -> None:
    spans = (-SECOND, 59 * SECOND, 119 * SECOND, 2 * MINUTE, 119 * MINUTE, 5 * HOUR, 3 * DAY)
    assert [short_duration(span) for span in spans] == [
        "0 s", "59 s", "119 s", "2 min", "119 min", "5 h", "3 days",
    ]  # fmt: skip
