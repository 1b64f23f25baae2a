"""What was known at a time is what a snapshot taken at that time showed, whatever happened later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from sqlalchemy import select

from stream.domain.documents import Prediction, TextInput
from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import Aggregate, TimeRange
from stream.storage import database, schema
from stream.storage.backfill import backfill_entities
from stream.storage.batches import Store
from stream.storage.events import EVENTS_MARK
from stream.storage.history import Question, sums_known_at
from stream.storage.marks import set_mark
from stream.storage.relabel import relabel
from stream.storage.retention import purge
from tests.unit.stream.samples import ALL_TIMES, NOW, about, classified, mention, no_messages

TOPICS, ENTITIES = ("Earnings", "Macro"), ("XNAS:AAPL", "cb:FED")
SENTIMENTS = ("positive", "neutral", "negative")
HOUR = timedelta(hours=1)
PAST_HOUR = TimeRange(NOW - HOUR, NOW)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Any labels and mentions, or those of a text without a label."""
    score = draw(st.integers(-10, 10)) / 10
    mentions = [
        mention(entity, draw(st.integers(-10, 10)) / 10, draw(st.sampled_from((0, 15, 20, 50, 100))))
        for entity in draw(st.lists(st.sampled_from(ENTITIES), unique=True))
    ]
    label = draw(st.sampled_from(SENTIMENTS))
    item = about(classified("x", 0, score=score, sentiment=label), *mentions)
    changes: dict[str, Any] = {"topic": draw(st.sampled_from(TOPICS)), "certain": draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        changes = {"topic": None, "sentiment": None, "score": None, "probabilities": {}}
    return structs.replace(item.prediction, **changes)


minutes = st.integers(0, 150)
writes = st.tuples(st.just("write"), st.integers(0, 4), minutes, predictions())
updates = st.tuples(st.just("correct"), st.integers(0, 4), minutes, predictions())
others = st.tuples(st.sampled_from(("relabel", "backfill", "purge")), st.just(0), minutes, predictions())
steps = st.lists(st.one_of(writes, writes, updates, others), min_size=1, max_size=8)


class History:
    """A store, and the steps that change it, each at a time of its own."""

    def __init__(self, store: Store) -> None:
        self._store, self._number = store, 0
        with database.writing(store.engine) as connection:
            set_mark(connection, EVENTS_MARK, NOW)

    def take(self, step: tuple[str, int, int, Prediction], now: datetime) -> None:
        name, document, minute, prediction = step
        self._number += 1
        if name == "relabel":
            version = f"m-{self._number}"
            relabel(
                self._store,
                ALL_TIMES,
                version,
                classify=lambda inputs: [structs.replace(prediction, model=version) for _ in inputs],
                outbound=no_messages,
                clock=lambda: now,
            )
        elif name == "backfill":

            def find(_inputs: Sequence[TextInput], old: Sequence[Prediction]) -> list[Prediction]:
                return [structs.replace(each, entities=prediction.entities) for each in old]

            version = f"g-{self._number}"
            backfill_entities(self._store, ALL_TIMES, version, find=find, clock=lambda: now)
        elif name == "purge":
            purge(self._store, NOW + self._number // 2 * HOUR, now)
        else:
            self._store.write(
                Batch([self._message(document, minute, prediction, name == "correct", now)]), no_messages, now
            )

    def _message(
        self, number: int, minute: int, prediction: Prediction, is_update: bool, now: datetime
    ) -> ClassifiedDocument:
        item = classified(
            f"d{number}", self._number, title=f"text {self._number}", at=NOW - minute * timedelta(minutes=1)
        )
        document = structs.replace(item.document, updated_at=now if is_update else None)
        return structs.replace(item, document=document, prediction=prediction)


QUESTIONS = [
    Question(ALL_TIMES),
    *[Question(published, topic=topic) for topic in TOPICS for published in (ALL_TIMES, PAST_HOUR)],
    *[
        Question(published, entity=entity, min_relevance=relevance)
        for entity in ENTITIES
        for published, relevance in ((ALL_TIMES, 0), (PAST_HOUR, 20))
    ],
]


def snapshot(store: Store) -> list[Any]:
    """The answers from the present rows alone, without any event."""
    with database.reading(store.engine) as connection:
        documents = list(connection.execute(select(schema.documents)))
        mentions = list(connection.execute(select(schema.mentions)))
    return [_totals(question, documents, mentions) for question in QUESTIONS]


def _totals(question: Question, documents: list[Any], mentions: list[Any]) -> tuple[int, ...]:
    total = Aggregate(NOW, "", "")
    for row in documents if question.entity is None else mentions:
        is_asked = (
            question.topic in (None, row.topic)
            if question.entity is None
            else row.entity == question.entity and row.relevance >= question.min_relevance
        )
        if is_asked and row.score is not None and question.published.covers(row.published_at):
            total += Aggregate.of_document(NOW, "", "", row.sentiment, row.score)
    return total.totals


def answers(store: Store, at: datetime) -> list[Any]:
    totals = []
    for question in QUESTIONS:
        total = sums_known_at(store, question, at).total
        totals.append(None if total is None else total.totals)
    return totals


def check(store: Store, taken: list[tuple[str, int, int, Prediction]]) -> None:
    history, snapshots = History(store), [(NOW, snapshot(store))]
    for number, step in enumerate(taken, 1):
        now = NOW + number * HOUR
        history.take(step, now)
        snapshots += [(now, snapshot(store)), (now + HOUR / 2, snapshot(store))]
    for at, expected in snapshots:
        assert answers(store, at) == expected, f"{at:%d %H:%M} of {[step[0] for step in taken]}"
    assert answers(store, NOW - timedelta(seconds=1)) == [None] * len(QUESTIONS)


@given(steps)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_known_at_a_time_is_what_a_snapshot_showed_then(
    store: Store, taken: list[tuple[str, int, int, Prediction]]
) -> None:
    with database.writing(store.engine) as connection:
        for table in schema.metadata.tables.values():
            connection.execute(table.delete())
    check(store, taken)
