import math
import re
from collections import Counter

import pytest

from models.entities.entity import EntityKind
from models.entities.gazetteer import Gazetteer
from tools.entity_labels import (
    HELD_BACK,
    LABELS,
    Counts,
    LabelledMention,
    LinkError,
    read_labels,
    score_links,
)

APPLE, VISA, GOLD = "XNAS:AAPL", "XNYS:V", "commodity:GOLD"


@pytest.fixture(scope="module")
def labels():
    return [*read_labels(LABELS), *read_labels(HELD_BACK)]


@pytest.mark.parametrize(("path", "easy", "hard"), [(LABELS, 100, 50), (HELD_BACK, 20, 30)])
def test_half_of_the_labelled_texts_are_in_each_language_and_many_are_hard(path, easy, hard):
    assert Counter((text.lang, text.hard) for text in read_labels(path)) == {
        ("en", False): easy,
        ("zh", False): easy,
        ("en", True): hard,
        ("zh", True): hard,
    }


def test_no_text_is_labelled_twice(labels):
    assert len({(text.file, text.row) for text in labels}) == len(labels)
    assert len({text.sha256 for text in labels}) == len(labels)


def test_labels_have_valid_spans_and_hashes(labels):
    for text in labels:
        assert re.fullmatch("[0-9a-f]{64}", text.sha256)
        assert all(0 <= mention.start < mention.end for mention in text.mentions), text
        assert list(text.mentions) == sorted(text.mentions, key=lambda mention: (mention.start, mention.end))
        if text.length:
            assert all(mention.end <= text.length for mention in text.mentions)


def test_two_mentions_overlap_only_if_they_are_two_readings_of_the_same_span(labels):
    for text in labels:
        for before, after in zip(text.mentions, text.mentions[1:], strict=False):
            assert before.end <= after.start or (before.start, before.end) == (after.start, after.end)


def test_the_gazetteer_has_every_labelled_entity(labels):
    gazetteer = Gazetteer.load()
    ids = {mention.id for text in labels for mention in text.mentions if mention.id}
    assert {entity for entity in ids if gazetteer.resolve(entity) is None} == set()


def test_labels_have_entities_of_every_kind(labels):
    entities = Gazetteer.load().entities
    kinds = {entities[m.id].kind for text in labels for m in text.mentions if m.id in entities}
    assert kinds == set(EntityKind)


def test_an_entity_counts_once_for_a_text_and_each_of_its_spans_counts():
    mentions = [LabelledMention(0, 5, APPLE), LabelledMention(10, 15, APPLE), LabelledMention(20, 24, VISA)]
    score = score_links(mentions, {APPLE: [(0, 5)], GOLD: [(30, 34)]})
    assert score.entities == Counts(right=1, wrong=1, missed=1)
    assert score.spans == Counts(right=1, wrong=1, missed=2)
    assert score.errors == (
        LinkError("wrong", GOLD, (30, 34)),
        LinkError("missed", APPLE, (10, 15)),
        LinkError("missed", VISA, (20, 24)),
    )


def test_a_span_is_right_if_it_overlaps_a_mention_of_its_entity():
    assert score_links([LabelledMention(3, 8, APPLE)], {APPLE: [(4, 20)]}).spans == Counts(right=1)
    assert score_links([LabelledMention(3, 8, APPLE)], {VISA: [(4, 20)]}).spans == Counts(wrong=1, missed=1)


def test_an_optional_mention_counts_neither_way():
    mentions = [LabelledMention(0, 4, VISA, optional=True)]
    for links in ({}, {VISA: [(0, 4)]}):
        score = score_links(mentions, links)
        assert score.entities == score.spans == Counts()
    assert score_links(mentions, {APPLE: [(0, 4)]}).entities == Counts(wrong=1)


def test_whatever_is_found_at_an_optional_mention_without_an_entity_is_ignored():
    score = score_links(
        [LabelledMention(0, 4, None, optional=True)], {VISA: [(0, 4)], APPLE: [(2, 9), (10, 12)]}
    )
    assert score.entities == score.spans == Counts(wrong=1)


def test_a_link_to_something_that_no_gazetteer_knows_is_wrong_and_its_absence_is_no_miss():
    mentions = [LabelledMention(0, 4, None)]
    assert score_links(mentions, {}).entities == Counts()
    assert score_links(mentions, {VISA: [(0, 4)]}).entities == Counts(wrong=1)


def test_precision_and_recall_are_nan_where_nothing_was_counted():
    assert math.isnan(Counts().precision) and math.isnan(Counts().recall)
    assert (Counts(right=3, wrong=1).precision, Counts(right=3, missed=1).recall) == (0.75, 0.75)
