"""The stand-in for the classifier: what faults, the store and the benchmarks rely on."""

from monitor.bench.stand_in import MOST_ENTITIES, StandIn
from stream.domain.documents import Prediction, TextInput
from tests.faults.oracle import WORDS

TEXT = "$AB shares of the bank and the oil fund: profit falls, gold rises"


def classify(text: str, *symbols: str, gazetteer: str = "a") -> Prediction:
    return StandIn(gazetteer).classify([TextInput(text, symbols=symbols)])[0]


def test_the_same_text_gets_the_same_entities_by_falling_relevance() -> None:
    first, second = classify(TEXT, "cd"), classify(TEXT, "cd")
    assert first == second and first.gazetteer == "a"
    assert {"XNAS:AB", "XNAS:CD"} < {mention.entity for mention in first.entities}
    relevances = [mention.relevance for mention in first.entities]
    assert relevances == sorted(relevances, reverse=True)
    for mention in first.entities:
        assert all(TEXT[start:end].upper().endswith(mention.name) for start, end in mention.spans)


def test_another_gazetteer_finds_other_entities() -> None:
    assert classify(" ".join(WORDS)).entities
    assert classify(" ".join(WORDS)).entities != classify(" ".join(WORDS), gazetteer="b").entities


def test_a_text_without_letters_has_entities_without_a_sentiment() -> None:
    prediction = classify("12 %", "AB")
    assert prediction.sentiment is None
    assert [(m.entity, m.spans, m.sentiment, m.score) for m in prediction.entities] == [
        ("XNAS:AB", (), None, None)
    ]


def test_a_giant_text_has_few_entities() -> None:
    prediction = classify("$AB " * 100_000 + "w" * 100_000, *(f"S{n}" for n in range(1000)))
    assert len(prediction.entities) == MOST_ENTITIES
    assert all(len(mention.spans) <= MOST_ENTITIES for mention in prediction.entities)
