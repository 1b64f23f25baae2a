"""What rules on entities read, on both databases: the same as the backtest in memory."""

import random
from datetime import timedelta

import pytest

from alerts.history.memory_store import MemoryStore, Text
from stream.domain.alerts import EvidenceItem
from stream.domain.documents import SCORE_SCALE, Document, Kind, Precision, Prediction
from stream.domain.entities import EntityMention
from stream.domain.records import ClassifiedDocument, MessagePosition
from stream.domain.sums import Aggregate, Fewest, MentionSelection, Scope, Selection
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities
from tests.unit.stream.samples import NEWS_0, NEWS_1, NOW, write

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ENTITIES = ("XNAS:AAPL", "XNYS:JPM", "crypto:BTC", "cb:FED", "XSHG:600519")
END = NOW.replace(second=0) + MINUTE
START = END - timedelta(hours=60)


def random_mention(choice: random.Random, entity: str) -> EntityMention:
    score = choice.choice((-0.9, -0.4, 0.0, 0.6, None))
    sentiment = None
    if score is not None and choice.random() < 0.8:
        sentiment = "negative" if score < -0.1 else "positive" if score > 0.1 else "neutral"
    probability = None if sentiment is None else 0.8
    return EntityMention(
        entity, f"Name of {entity}", (), choice.randrange(101), sentiment, probability, score
    )


def random_texts(seed: int, count: int = 80) -> list[Text]:
    choice = random.Random(seed)
    texts = []
    for number in range(count):
        named = choice.sample(ENTITIES, choice.choice((0, 1, 1, 2, 3)))
        sentiment = choice.choice(("negative", "neutral", None))
        texts.append(
            Text(
                id=f"d{number}",
                source=f"wire{number % 3}",
                kind=choice.choice(("news", "comment")),
                published_at=START + choice.random() * (END - START),
                content=f"Text {number}",
                topic=choice.choice(("Earnings", "Macro")),
                sentiment=sentiment,
                score={"negative": -9000, "neutral": 100, None: -200}[sentiment],
                author=choice.choice(("ann", "bob", None)),
                lang=choice.choice(("en", "zh")),
                precision=choice.choice((Precision.EXACT, Precision.EXACT, Precision.SEEN)),
                entities=tuple(random_mention(choice, entity) for entity in named),
            )
        )
    return texts


def as_classified(text: Text, offset: int) -> ClassifiedDocument:
    document = Document(
        text.id,
        Kind(text.kind),
        text.source,
        text.published_at,
        title=text.content,
        author=text.author,
        published_precision=text.precision,
    )
    probabilities = {"topic": {text.topic: 1.0}, "sentiment": {text.sentiment or "neutral": 0.7}}
    prediction = Prediction(
        "m-1",
        text.lang,
        text.topic,
        text.sentiment or "neutral",
        text.score / SCORE_SCALE,
        probabilities,
        certain=text.sentiment is not None,
        entities=text.entities,
        gazetteer="g-1",
    )
    partition = (NEWS_0, NEWS_1)[offset % 2]
    return ClassifiedDocument(
        MessagePosition(Kind(text.kind), partition, offset, b"{}"), document, prediction
    )


def by_entity(sums: list[Aggregate]) -> dict[str, Aggregate]:
    return {total.topic: total for total in sums}


@pytest.mark.parametrize("seed", [1, 2])
def test_sql_and_the_backtest_in_memory_give_rules_on_entities_the_same(store: Store, seed: int) -> None:
    texts = random_texts(seed)
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    memory, sql = MemoryStore(texts), store.reads
    found = 0
    for start, end in ((START, END), (END - 90 * MINUTE, END), (START + 25 * HOUR + MINUTE, END - MINUTE)):
        for entities in (None, ENTITIES[:2], ("nobody",)):
            for relevance in (0, 20, 60, 80):
                for kinds in ((), ("news",)):
                    mentions = MentionSelection(entities, relevance, kinds)
                    sums = by_entity(sql.entity_sums(start, end, mentions))
                    assert sums == by_entity(memory.entity_sums(start, end, mentions))
                    found += len(sums)
                    fewest = Fewest(3, 1)
                    assert by_entity(sql.entity_sums(start, end, mentions, fewest)) == by_entity(
                        memory.entity_sums(start, end, mentions, fewest)
                    )
                    for width in (15 * MINUTE, HOUR, 12 * HOUR, 24 * HOUR):
                        windows = sql.entity_sums_by_window(start, end, width, mentions)
                        assert windows == sorted(windows, key=lambda one: one.start)
                        assert sorted(map(repr, windows)) == sorted(
                            map(repr, memory.entity_sums_by_window(start, end, width, mentions))
                        )
    assert found > 100


def test_hours_with_a_mention_are_found_in_order(store: Store) -> None:
    texts = random_texts(3, 30)
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    memory, whole = MemoryStore(texts), START.replace(minute=0)
    hours = store.reads.hours_with_mentions(whole, END)
    assert hours == memory.hours_with_mentions(whole, END) == sorted(set(hours))
    assert 5 < len(hours) < 30
    for first, end in ((3, 5), (4, 4), (0, 1)):
        assert store.reads.hours_with_mentions(hours[first], hours[end]) == hours[first:end]
    assert store.reads.hours_with_mentions(END + HOUR, END + 2 * HOUR) == []


@pytest.mark.parametrize(
    "selection", [Selection(sources=("wire1",)), Selection(languages=("zh",)), Selection(exact_times=True)]
)
def test_a_selection_of_documents_and_exact_times_are_counted_from_the_mentions(
    store: Store, selection: Selection
) -> None:
    texts = random_texts(4)
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    # In memory only a window of less than a day leaves out what has a date alone.
    kept = [
        text
        for text in texts
        if (not selection.sources or text.source in selection.sources)
        and (not selection.languages or text.lang in selection.languages)
        and (not selection.exact_times or text.precision is Precision.EXACT)
    ]
    mentions = MentionSelection(None, 20, ("news", "comment"), selection)
    expected = by_entity(MemoryStore(kept).entity_sums(START, END, MentionSelection(None, 20)))
    assert by_entity(store.reads.entity_sums(START, END, mentions)) == expected


def test_evidence_and_writers_of_an_entity_are_by_the_sentiment_towards_it(store: Store) -> None:
    texts = random_texts(5)
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    memory, seen = MemoryStore(texts), 0
    for entity in ENTITIES:
        for relevance in (0, 40):
            scope = Scope(None, ("news", "comment"), START, END, Selection(), entity, relevance)
            evidence = store.reads.most_negative(scope, 50)
            assert evidence == memory.most_negative(scope, 50)
            assert store.reads.negative_writers(scope) == memory.negative_writers(scope)
            seen += len(evidence)
    assert seen > 50


def test_evidence_has_the_score_towards_the_entity(store: Store) -> None:
    towards = (
        EntityMention("XNAS:AAPL", "Apple", (), 90, "negative", 0.9, -0.9),
        EntityMention("XNYS:JPM", "JPMorgan", (), 90, "positive", 0.9, 0.8),
    )
    text = Text(
        "a", "wire", "news", NOW, "Apple falls, JPMorgan rises", "Earnings", "neutral", 0, entities=towards
    )
    write(store, as_classified(text, 0))
    scope = Scope(None, ("news",), NOW - HOUR, NOW + HOUR, Selection(), "XNYS:JPM", 20)
    (item,) = store.reads.most_negative(scope, 5)
    assert isinstance(item, EvidenceItem)
    assert item.score == 0.8
    assert store.reads.negative_writers(scope) == ({}, 0)


def test_names_come_from_the_table_of_entities(store: Store) -> None:
    store_entities(store, "g-1", [EntityRow("XNAS:AAPL", "company", "Apple", None)])
    assert store.reads.entity_names(["XNAS:AAPL", "XNYS:JPM"]) == {"XNAS:AAPL": "Apple"}


def test_a_backtest_of_stored_data_has_the_mentions(store: Store) -> None:
    store_entities(store, "g-1", [EntityRow("XNAS:AAPL", "company", "Apple", None)])
    texts = random_texts(6)
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    found = store.reads.mentions_by_key(START, END)
    for text in texts:
        expected = {
            (m.entity, m.relevance, m.sentiment, m.score) for m in text.entities if m.score is not None
        }
        mentions = found.get(text.key, ())
        assert {(m.entity, m.relevance, m.sentiment, m.score) for m in mentions} == expected
        assert all(m.name == ("Apple" if m.entity == "XNAS:AAPL" else m.entity) for m in mentions)
