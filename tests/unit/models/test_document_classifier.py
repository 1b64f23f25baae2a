"""Predictions with the entities that texts are about, and the sentiment towards each of them."""

from collections.abc import Sequence
from types import MappingProxyType

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from models.document_classifier import MOST_PLACES, DocumentClassifier
from models.entities.entity import Entity, EntityKind
from models.entities.gazetteer import Gazetteer
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import Target
from models.settings import ModelSettings
from stream.domain.documents import DocumentStatus, Prediction, TextInput
from stream.domain.entities import EntityMention, TargetSentiment
from stream.domain.errors import InferenceError
from stream.domain.text.cleaning import CleanText

NAMES = {"XNAS:BRMR": ("Brightmoor", "光明荒"), "XNYS:ALDB": ("Alderbrook", None), "XSHG:1": ("Xinghai", "星海股份"),
         "XSHG:2": ("Beilu", "北陆石化")}  # fmt: skip
TWO = "Brightmoor shares soar on record profit while rival Alderbrook plunges on fraud probe"
ONE = "Alderbrook plunges on fraud probe"


def gazetteer(version: str = "1", names: dict[str, tuple[str, str | None]] = NAMES) -> Gazetteer:
    entities = {
        id_: Entity(id_, EntityKind.COMPANY, name, chinese, (id_,)) for id_, (name, chinese) in names.items()
    }
    return Gazetteer(version, MappingProxyType(entities), MappingProxyType({}))


class ExactLinker:
    """Finds every exact name, and symbols that are ids."""

    def __init__(self, gazetteer: Gazetteer) -> None:
        self.gazetteer = gazetteer

    def link(self, item: TextInput, cleaned: CleanText | None = None, /) -> Sequence[tuple[str, Target]]:
        if "refused" in item.text:
            raise LookupError("no such name")
        found: list[tuple[str, Target]] = []
        for entity in self.gazetteer.entities.values():
            names = [name for name in (entity.name, entity.chinese_name) if name]
            places = [
                (at, at + len(name))
                for name in names
                for at in range(len(item.text))
                if item.text.startswith(name, at)
            ]
            if places or entity.id in item.symbols:
                found.append((entity.id, tuple(sorted(places))))
        return found


@pytest.fixture(scope="module")
def classifier() -> DocumentClassifier:
    return DocumentClassifier(Engine.load(ModelSettings(max_entities=3)), ExactLinker(gazetteer()))


def classify(classifier: DocumentClassifier, text: str, **fields: object) -> Prediction:
    return classifier.classify([TextInput(text, **fields)])[0]  # type: ignore[arg-type]


def test_a_text_that_names_two_has_a_sentiment_towards_each(classifier: DocumentClassifier) -> None:
    prediction = classify(classifier, TWO)
    up, down = prediction.entities
    assert (up.entity, up.name, up.spans, up.sentiment) == ("XNAS:BRMR", "Brightmoor", ((0, 10),), "positive")
    assert (down.entity, down.sentiment) == ("XNYS:ALDB", "negative")
    assert up.of_target and down.of_target and up.relevance > down.relevance
    assert up.probability and up.score and up.score > 0.5 > 0 > (down.score or 0)
    assert prediction.gazetteer == "1"


def test_a_text_that_names_one_has_its_own_sentiment(classifier: DocumentClassifier) -> None:
    prediction = classify(classifier, ONE)
    (mention,) = prediction.entities
    assert (mention.sentiment, mention.score) == (prediction.sentiment, prediction.score)
    assert mention.probability == prediction.probabilities["sentiment"]["negative"]
    assert not mention.of_target and mention.relevance == 100


def test_a_text_is_explained_by_its_attention_with_its_entities(classifier: DocumentClassifier) -> None:
    explanation = classifier.explain(TextInput(ONE), "sentiment")
    assert (explanation.method, explanation.task) == ("attention", "sentiment")
    assert explanation.prediction == classify(classifier, ONE)
    assert any(word.weight > 0 for word in explanation.words) and explanation.removed


def test_an_entity_that_only_the_symbols_name_has_the_sentiment_of_the_text(
    classifier: DocumentClassifier,
) -> None:
    prediction = classify(classifier, TWO, symbols=("XSHG:1",))
    *named, symbol = prediction.entities
    assert all(mention.of_target for mention in named)
    assert (symbol.entity, symbol.spans, symbol.of_target) == ("XSHG:1", (), False)
    assert symbol.score == prediction.score


def test_chinese_entities_have_the_sentiment_of_the_text_and_say_so(classifier: DocumentClassifier) -> None:
    prediction = classify(classifier, "星海股份净利润大增，创历史新高，北陆石化跟涨")
    assert [mention.name for mention in prediction.entities] == ["星海股份", "北陆石化"]
    for mention in prediction.entities:
        assert (mention.score, mention.of_target) == (prediction.score, False)


def test_a_text_that_the_model_cannot_read_has_entities_without_a_sentiment(
    classifier: DocumentClassifier,
) -> None:
    prediction = classify(classifier, "Les actions de Brightmoor et Alderbrook chutent", lang="fr")
    assert prediction.status is DocumentStatus.UNSUPPORTED
    assert [(m.sentiment, m.probability, m.score, m.of_target) for m in prediction.entities] == [
        (None, None, None, False)
    ] * 2


def test_an_uncertain_sentiment_is_not_counted_but_has_a_score() -> None:
    strict = DocumentClassifier(Engine.load(ModelSettings(certain_from=1.0)), ExactLinker(gazetteer()))
    for text in (ONE, TWO):
        for mention in classify(strict, text).entities:
            assert (mention.sentiment, mention.probability) == (None, None)
            assert mention.score is not None and mention.uncertain is not None
            label, probability = mention.uncertain
            assert label in ("positive", "negative") and 0.3 < probability <= 1


def test_an_entity_behind_what_is_read_has_no_sentiment() -> None:
    short = DocumentClassifier(Engine.load(ModelSettings(max_windows=1)), ExactLinker(gazetteer()))
    text = "Brightmoor soars on record profit. " + "The meeting was held. " * 150 + "Alderbrook plunges."
    first, last = classify(short, text).entities
    assert first.sentiment == "positive" and first.of_target
    assert (last.entity, last.sentiment, last.score) == ("XNYS:ALDB", None, None)


def test_the_least_relevant_entities_of_many_are_left_out(classifier: DocumentClassifier) -> None:
    text = "Brightmoor sues Alderbrook"
    prediction = classify(classifier, text, symbols=("XSHG:1", "XSHG:2"))
    assert [mention.entity for mention in prediction.entities] == ["XNAS:BRMR", "XNYS:ALDB", "XSHG:1"]


def test_the_places_of_an_entity_are_bounded(classifier: DocumentClassifier) -> None:
    (mention,) = classify(classifier, "Brightmoor falls. " * 300).entities
    assert len(mention.spans) == MOST_PLACES and mention.spans[1] == (18, 28)


def test_targets_that_are_asked_for_are_answered_in_order(classifier: DocumentClassifier) -> None:
    plain = DocumentClassifier(classifier.engine)
    for each in (classifier, plain):
        prediction = classify(each, TWO, targets=((52, 62), (0, 10), (0, 0)))
        down, up, nothing = prediction.targets
        assert (down.sentiment, up.sentiment) == ("negative", "positive")
        assert nothing == TargetSentiment(of_target=True)
        assert len(prediction.entities) == (2 if each is classifier else 0)
    (of_one,) = classify(classifier, ONE, targets=((0, 10),)).targets
    assert of_one.of_target
    chinese = classify(classifier, "星海股份净利润大增，创历史新高", targets=((0, 4),))
    assert chinese.targets[0].score == chinese.score and not chinese.targets[0].of_target
    assert classify(classifier, "", targets=((0, 0),)).targets == (TargetSentiment(),)
    without = classify(plain, TWO)
    assert without.gazetteer is None and without.targets == ()


def test_texts_do_not_get_each_others_entities(classifier: DocumentClassifier) -> None:
    texts = [TWO, "", ONE, "Markets were calm", TWO.replace("Brightmoor", "Xinghai"), ONE]
    together = classifier.classify([TextInput(text) for text in texts])
    for text, prediction in zip(texts, together, strict=True):
        alone = [(m.entity, m.spans, m.sentiment) for m in classify(classifier, text).entities]
        assert [(m.entity, m.spans, m.sentiment) for m in prediction.entities] == alone


def test_a_repeated_text_is_free_also_with_entities() -> None:
    registry = CollectorRegistry()
    engine = Engine.load(ModelSettings(), ModelMetrics(registry))
    classifier = DocumentClassifier(engine, ExactLinker(gazetteer()))
    first = [classify(classifier, text) for text in (TWO, ONE)]
    assert [classify(classifier, text) for text in (TWO, ONE)] == first
    assert registry.get_sample_value("sentiment_inference_texts_total", {"by": "network"}) == 2


def test_another_gazetteer_links_from_the_next_call_on(classifier: DocumentClassifier) -> None:
    changing = DocumentClassifier(classifier.engine, ExactLinker(gazetteer()))
    changing.use(ExactLinker(gazetteer("2", {"XNYS:ALDB": ("Alderbrook", None)})))
    prediction = classify(changing, TWO)
    assert prediction.gazetteer == "2"
    (mention,) = prediction.entities
    assert (mention.entity, mention.of_target, mention.score) == ("XNYS:ALDB", False, prediction.score)


def test_a_text_that_cannot_be_linked_is_an_error_of_inference(classifier: DocumentClassifier) -> None:
    with pytest.raises(InferenceError, match="cannot be linked to entities: no such name"):
        classify(classifier, "refused")


def test_mentions_are_plain_values(classifier: DocumentClassifier) -> None:
    assert all(isinstance(mention, EntityMention) for mention in classify(classifier, TWO).entities)
    assert all(isinstance(mention.relevance, int) for mention in classify(classifier, TWO).entities)


def test_predictions_that_were_stored_get_the_entities_that_a_new_one_has(
    classifier: DocumentClassifier,
) -> None:
    without = DocumentClassifier(classifier.engine)
    texts = [TextInput(text) for text in (TWO, ONE, "Markets are closed", "qwrtz xcvb", "")]
    texts.append(TextInput(ONE, symbols=("XNAS:BRMR",)))
    stored = without.classify(texts)
    assert not any(one.entities or one.gazetteer for one in stored)
    new = zip(stored, classifier.classify(texts), strict=True)
    assert classifier.with_entities(texts, stored) == [
        replace(one, evidence=old.evidence) for old, one in new
    ]
    assert without.with_entities(texts, stored) == stored


def test_an_uncertain_prediction_without_its_label_gives_its_score_to_its_entities(
    classifier: DocumentClassifier,
) -> None:
    stored = replace(classify(classifier, ONE), sentiment=None, certain=False, probabilities={})
    ((mention,),) = [one.entities for one in classifier.with_entities([TextInput(ONE)], [stored])]
    assert (mention.sentiment, mention.probability, mention.score) == (None, None, stored.score)


def test_an_unsupported_prediction_has_entities_without_a_score(classifier: DocumentClassifier) -> None:
    (found,) = classifier.with_entities([TextInput(TWO)], [Prediction("m", None)])
    assert [(one.sentiment, one.score) for one in found.entities] == [(None, None)] * 2


def test_a_repeated_text_is_linked_once_with_each_gazetteer(classifier: DocumentClassifier) -> None:
    class Counting(ExactLinker):
        linked = 0

        def link(self, item: TextInput, cleaned: CleanText | None = None, /) -> Sequence[tuple[str, Target]]:
            self.linked += 1
            return super().link(item, cleaned)

    first, second = Counting(gazetteer()), Counting(gazetteer("2"))
    counting = DocumentClassifier(classifier.engine, first)
    texts = [TextInput(TWO), TextInput(TWO, title_length=10), TextInput(TWO, symbols=("XSHG:1",))]
    assert counting.classify(texts) == counting.classify(texts) and first.linked == 3
    many = [TextInput("Brightmoor falls. " * 30)]
    assert counting.classify(many) == counting.classify(many) and first.linked == 5, "it would fill memory"
    counting.use(second)
    assert {prediction.gazetteer for prediction in counting.classify(texts)} == {"2"}
    assert second.linked == 3
