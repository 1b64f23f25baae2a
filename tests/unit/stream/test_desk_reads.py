"""What the desk's pages read about topics, entities, stories and texts, on both databases."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import structs

from stream.domain.alerts import Alert, AlertState, Severity
from stream.domain.documents import HEARTBEAT_SOURCE, Document, Kind, Prediction
from stream.domain.records import ClassifiedDocument, MessagePosition
from stream.domain.sums import EVERYTHING, Counted, Selection, TimeRange
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.desk import documents
from stream.storage.desk.documents import TextFilter, TextLine, Texts
from stream.storage.desk.entities import Entities, NamedEntity
from stream.storage.desk.stories import Stories, StoryFilter, StoryOrder
from stream.storage.desk.topics import ALL, Topics
from stream.storage.entities import EntityRow, store_entities
from stream.storage.leases import Lease
from stream.storage.relabel import relabel
from tests.unit.stream.samples import (
    ALL_TIMES,
    NEWS_0,
    NOW,
    about,
    classified,
    classify_with_two,
    mention,
    no_messages,
    write,
)
from tests.unit.stream.test_story_task import TITLES, sent, tasks

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LAST_DAY = TimeRange(NOW - 24 * HOUR, NOW + MINUTE)
BANK, CHIPS = "bank:NGTB", "chips:HOLL"


def told(store: Store) -> None:
    """Four texts, a minute apart: a bank's trouble told twice, a chip maker's laboratory, and oil."""
    scores = (-0.9, -0.7, 0.6, -0.2)
    for number, (title, score) in enumerate(zip(TITLES, scores, strict=True)):
        sentiment = "negative" if score < 0 else "positive"
        at = NOW - (10 - number) * MINUTE
        item = sent(title, number, at=at, score=score, sentiment=sentiment)
        write(store, about(item, mention(BANK if number < 2 else CHIPS, score)))
    tasks(store).assign_next()


def everything(**changes: str | int | None) -> TextFilter:
    fields: dict[str, object] = {"start": ALL_TIMES.start, "end": ALL_TIMES.end, **changes}
    return TextFilter(**fields)  # type: ignore[arg-type]


def headlines(lines: Sequence[TextLine]) -> list[str]:
    return [line.headline for line in lines]


def test_texts_are_listed_latest_first_by_topic_entity_and_story(store: Store) -> None:
    told(store)
    texts = Texts(store.engine)
    assert headlines(texts.latest(everything(), 10).items) == list(TITLES[::-1])
    assert headlines(texts.latest(everything(topic="Earnings"), 2).items) == [TITLES[3], TITLES[2]]
    assert texts.latest(everything(topic="Macro"), 2).items == []
    of_bank = texts.latest(everything(entity=BANK), 10).items
    assert headlines(of_bank) == [TITLES[1], TITLES[0]]
    assert headlines(texts.latest(everything(story=of_bank[0].story), 10).items) == [TITLES[1], TITLES[0]]
    assert headlines(texts.latest(everything(entity=BANK, story=of_bank[0].story), 1).items) == [TITLES[1]]
    assert texts.latest(everything(entity=CHIPS, story=of_bank[0].story), 10).items == []
    assert headlines(texts.latest(everything(source="wire 2"), 10).items) == [TITLES[2]]
    assert headlines(texts.latest(everything(entity=CHIPS, sentiment="negative"), 10).items) == [TITLES[3]]


def test_a_line_about_an_entity_has_the_score_towards_it(store: Store) -> None:
    write(store, about(classified("a", 1, score=-0.8), mention(BANK, 0.3)))
    texts = Texts(store.engine)
    (line,) = texts.latest(everything(entity=BANK), 1).items
    assert (line.sentiment, line.score) == ("positive", 0.3)
    (line,) = texts.latest(everything(topic="Earnings"), 1).items
    assert (line.sentiment, line.score, line.story) == ("negative", -0.8, None)


@pytest.mark.parametrize("wanted", [{}, {"topic": "Earnings"}, {"entity": BANK}, {"sentiment": "negative"}])
def test_pages_of_texts_have_each_text_once_even_of_one_moment(store: Store, wanted: dict[str, str]) -> None:
    write(store, *[about(classified(f"d{number}", number), mention(BANK)) for number in range(7)])
    texts, after, keys = Texts(store.engine), None, list[str]()
    for _ in range(4):
        page = texts.latest(everything(**wanted), 2, after)
        keys += [line.key for line in page.items]
        after = page.next
    assert after is None and keys == sorted(keys, reverse=True) and len(set(keys)) == 7


def test_a_list_looks_at_so_many_texts_and_goes_on_behind_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_EXAMINED", 3)
    write(store, *[classified(f"d{number}", number, at=NOW - number * MINUTE) for number in range(7)])
    texts = Texts(store.engine)
    page = texts.latest(everything(source="nobody"), 2)
    assert page.items == [] and page.next is not None and page.next.key == "news:wire:d2"
    page = texts.latest(everything(source="nobody"), 2, page.next)
    assert page.next is not None and texts.latest(everything(source="nobody"), 2, page.next).next is None


def test_heartbeats_are_no_texts(store: Store) -> None:
    beat = Document("beat", Kind.NEWS, HEARTBEAT_SOURCE, NOW, text="-")
    write(store, ClassifiedDocument(MessagePosition(Kind.NEWS, NEWS_0, 1, b""), beat, Prediction("m", None)))
    assert Texts(store.engine).latest(everything(), 10).items == []


def test_a_text_is_read_with_its_labels_entities_story_and_place(store: Store) -> None:
    told(store)
    rows = [EntityRow(BANK, "company", "Northgate Bank", "北门银行")]
    store_entities(store, "g-1", rows)
    (line,) = Texts(store.engine).latest(everything(source="wire 1"), 1).items
    text = Texts(store.engine).find(line.key)
    assert text is not None and text.story is not None
    assert (text.document.title, text.prediction.sentiment) == (TITLES[1], "negative")
    assert [(one.name, one.spans) for one in text.prediction.entities] == [("Northgate Bank", ((0, 6),))]
    assert text.story.headline == TITLES[0] and text.story.copy_of == "news:wire~200:d0"
    assert not text.story.is_voice and text.message == "news[0]@1" and text.changes == []
    assert Texts(store.engine).find("news:nobody:1") is None


def test_a_chinese_text_names_its_entities_in_chinese(store: Store) -> None:
    store_entities(store, "g-1", [EntityRow(BANK, "company", "Northgate Bank", "北门银行")])
    item = about(classified("a", 1), mention(BANK))
    write(store, structs.replace(item, prediction=structs.replace(item.prediction, lang="zh")))
    text = Texts(store.engine).find(item.key)
    assert text is not None and text.prediction.entities[0].name == "北门银行"


def test_a_text_tells_how_another_model_changed_it(store: Store) -> None:
    write(store, classified("a", 1))
    relabel(store, ALL_TIMES, "two", classify=classify_with_two, outbound=no_messages, clock=lambda: NOW)
    text = Texts(store.engine).find("news:wire:a")
    assert text is not None
    (change,) = text.changes
    assert (change.cause, change.old["topic"], change.new["topic"]) == ("relabelled", "Earnings", "Macro")


def test_stories_are_listed_by_their_latest_or_by_their_worst_text(store: Store) -> None:
    told(store)
    stories, wanted = Stories(store.engine), StoryFilter(LAST_DAY, topic="Earnings")
    newest = stories.listed(wanted, StoryOrder.NEWEST, 10).items
    assert [one.facts.headline for one in newest] == [TITLES[3], TITLES[2], TITLES[0]]
    worst = stories.listed(wanted, StoryOrder.WORST, 10).items
    assert [one.facts.headline for one in worst] == [TITLES[0], TITLES[3], TITLES[2]]
    assert (worst[0].texts, worst[0].negative, worst[0].lowest) == (2, 2, -0.9)
    assert worst[0].worst_key == "news:wire~200:d0" and worst[0].latest_at == NOW - 9 * MINUTE
    of_chips = stories.listed(StoryFilter(LAST_DAY, entity=CHIPS), StoryOrder.WORST, 10).items
    assert [one.lowest for one in of_chips] == [-0.2, 0.6]


@pytest.mark.parametrize("order", StoryOrder)
def test_pages_of_stories_have_each_story_once(store: Store, order: StoryOrder) -> None:
    told(store)
    stories, wanted = Stories(store.engine), StoryFilter(LAST_DAY, topic="Earnings")
    whole = stories.listed(wanted, order, 3)
    first = stories.listed(wanted, order, 2)
    rest = stories.listed(wanted, order, 2, first.next)
    assert [*first.items, *rest.items] == whole.items and whole.next is None and rest.next is None


def test_texts_that_wait_for_their_story_are_counted(store: Store) -> None:
    told(store)
    write(store, sent("Harbour strike ends", 9))
    page = Stories(store.engine).listed(StoryFilter(LAST_DAY, topic="Earnings"), StoryOrder.NEWEST, 10)
    assert len(page.items) == 3 and page.waiting == 1 and not page.is_cut


def test_all_stories_are_listed_by_when_they_were_last_seen(store: Store) -> None:
    told(store)
    stories = Stories(store.engine)
    first = stories.latest(2)
    rest = stories.latest(2, (first[-1].last_seen_at, first[-1].id))
    assert sorted(one.headline for one in [*first, *rest]) == sorted([TITLES[0], TITLES[2], TITLES[3]])


def test_a_story_tells_who_said_it_first_and_its_voices_and_copies_over_time(store: Store) -> None:
    told(store)
    stories = Stories(store.engine)
    (listed,) = stories.listed(StoryFilter(LAST_DAY, entity=BANK), StoryOrder.NEWEST, 1).items
    story = listed.facts.id
    facts = stories.facts([story])[story]
    assert (facts.documents, facts.copies, facts.voices) == (2, 1, 1)
    assert facts.first_key == "news:wire~200:d0" and facts.headline == TITLES[0] and facts.source == "wire 0"
    assert stories.published(story) == TimeRange(NOW - 10 * MINUTE, NOW - 9 * MINUTE + timedelta.resolution)
    stretches = stories.over_time(story, MINUTE)
    assert [(one.texts, one.voices, one.copies) for one in stretches] == [(1, 1, 0), (1, 0, 1)]
    assert stretches[0].start == (NOW - 10 * MINUTE).replace(second=0)
    origins = stories.origins(story)
    assert [(one.texts, one.voices) for one in origins] == [(1, 1), (1, 0)]
    assert origins[0].first_at == NOW - 10 * MINUTE
    (entity,) = stories.entities(story)
    assert (entity.id, entity.texts, entity.negative) == (BANK, 2, 2)
    assert entity.mean == pytest.approx(-0.8)
    assert stories.facts([999]) == {} and stories.published(999) is None


def test_the_sums_of_a_topic_are_those_of_its_texts(store: Store) -> None:
    told(store)
    topics = Topics(store.engine, store.width)
    sums = topics.sums("Earnings", LAST_DAY, HOUR, EVERYTHING)
    assert [(one.start, one.n, one.negative) for one in sums] == [
        ((NOW - HOUR).replace(minute=0, second=0), 4, 3)
    ]
    assert [one.n for one in topics.sums(ALL, LAST_DAY, MINUTE, EVERYTHING)] == [1, 1, 1, 1]
    voices = topics.sums("Earnings", LAST_DAY, HOUR, Selection(counted=Counted.VOICES))
    assert [one.n for one in voices] == [3]
    assert topics.sums("Macro", LAST_DAY, HOUR, EVERYTHING) == []
    assert topics.live_windows(LAST_DAY, HOUR) == [(NOW - HOUR).replace(minute=0, second=0)]
    minutes = [NOW.replace(second=0) - number * MINUTE for number in (10, 9, 8, 7)]
    assert topics.live_windows(LAST_DAY, MINUTE) == minutes


def alert(id_: str, **changes: object) -> Alert:
    fields: dict[str, object] = {
        "id": id_, "rule": "surge", "topic": "Earnings", "severity": Severity.PAGE,
        "state": AlertState.FIRING, "since": NOW - 2 * HOUR, "value": 4.0, "threshold": 2.0, "n": 9,
        "uncertainty": "", "summary": "many", "fired_at": NOW - HOUR, "incident": f"i-{id_}",
    }  # fmt: skip
    return Alert(**fields | changes)  # type: ignore[arg-type]


def test_the_alerts_of_a_time_are_those_that_fired_in_it(store: Store) -> None:
    about_bank = {"topic": "all", "entity": BANK, "labels": {"entity": BANK, "entity_name": "Northgate"}}
    alerts = [
        alert("open"),
        alert("over", resolved_at=NOW - MINUTE, state=AlertState.RESOLVED),
        alert("old", fired_at=NOW - 50 * HOUR, resolved_at=NOW - 49 * HOUR, state=AlertState.RESOLVED),
        alert("pending", fired_at=None, state=AlertState.PENDING),
        alert("elsewhere", topic="Macro"),
        alert("bank", **about_bank),
    ]
    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    episodes.save(alerts, [], [], [], NOW)
    topics = Topics(store.engine, store.width)
    on_topic = topics.alerts("Earnings", LAST_DAY)
    assert [(one.id, one.incident, one.until) for one in on_topic] == [
        ("over", "i-over", NOW - MINUTE),
        ("open", "i-open", None),
    ]
    (of_bank,) = topics.alerts_about(BANK, LAST_DAY)
    assert (of_bank.id, of_bank.subject) == ("bank", "Northgate")


def test_entities_are_found_by_id_and_by_parts_of_their_names(store: Store) -> None:
    rows = [
        EntityRow(BANK, "company", "Northgate Bank", "北门银行"),
        EntityRow(CHIPS, "company", "Hollis 100% Semiconductor", None),
    ]
    store_entities(store, "g-1", rows)
    entities = Entities(store.engine)
    assert entities.find(BANK) == NamedEntity(BANK, "Northgate Bank", "company", "北门银行")
    assert [one.id for one in entities.search("northGATE", 5)] == [BANK]
    assert [one.id for one in entities.search("北门", 5)] == [BANK]
    assert [one.id for one in entities.search("100%", 5)] == [CHIPS]
    assert entities.search("0%S", 5) == []
    assert [one.name for one in entities.named([BANK, "old:ONE"])] == ["Northgate Bank", "old:ONE"]
    assert entities.find("old:ONE") is None
    write(store, about(classified("a", 1), mention("old:ONE")))
    assert entities.find("old:ONE") == NamedEntity("old:ONE", "old:ONE")
