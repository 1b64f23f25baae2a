"""Faithfulness of the evidence, and robustness against meaning-preserving edits."""

import pytest

from models.data.augmentation_sets import TOPICS, written_sentences
from models.data.dataset import Row, near_duplicates
from models.evaluation.robustness import CHECKS, delete_spans, faithfulness, kinds, read_pairs, robustness
from models.inference.engine import Engine
from stream.domain.documents import SENTIMENTS, Prediction, Span


def test_deleting_spans_keeps_the_rest_of_the_text() -> None:
    assert delete_spans("shares plunge today", [(7, 14), (0, 7)]) == "today"


class KeywordClassifier:
    """Labels texts that contain "bad" as negative; its evidence is always `evidence_word`, right or wrong."""

    def __init__(self, evidence_word: str) -> None:
        self.evidence_word = evidence_word

    def classify(self, texts: list[str], languages: list[str | None] | None = None) -> list[Prediction]:
        return [self.predict(text) for text in texts]

    def predict(self, text: str) -> Prediction:
        negative = 0.9 if "bad" in text else 0.1
        probabilities = {"positive": 0.0, "neutral": 1 - negative, "negative": negative}
        at = text.find(self.evidence_word)
        span = Span("sentiment", self.evidence_word, at, at + len(self.evidence_word), 1.0)
        evidence = (span,) if at >= 0 else ()
        return Prediction(
            "m",
            "en",
            "Macro",
            max(probabilities, key=lambda label: probabilities[label]),
            0.0,
            {"sentiment": probabilities},
            evidence,
        )


def test_faithfulness_is_high_for_true_evidence_and_zero_for_unrelated_words() -> None:
    texts = ["one two bad three four", "five bad six seven"]
    true_evidence = faithfulness(KeywordClassifier("bad"), texts, words=1)  # type: ignore[arg-type]
    assert (true_evidence.n, true_evidence.shown, true_evidence.chance) == (2, pytest.approx(0.8), 0.0)
    unrelated = faithfulness(KeywordClassifier("four"), texts, words=1)  # type: ignore[arg-type]
    assert (unrelated.n, unrelated.shown) == (1, 0.0)


@pytest.mark.parametrize(("language", "least"), [("en", 300), ("zh", 150)])
def test_each_language_has_enough_check_pairs_and_no_text_occurs_twice(language: str, least: int) -> None:
    same, directions = read_pairs(f"same_{language}.csv"), read_pairs(f"directions_{language}.csv")
    assert len(same) + len(directions) >= least
    texts = [pair[side] for pair in same + directions for side in "ab"]
    assert len(texts) == len(set(texts))
    for pair in directions:
        assert pair["a_sentiment"] != pair["b_sentiment"]
        assert {pair["a_sentiment"], pair["b_sentiment"]} <= set(SENTIMENTS)
    assert CHECKS.is_dir()


def test_robustness_of_a_language_without_pairs_is_empty(engine: Engine) -> None:
    report = robustness(engine, "xx")
    assert all(check.n == 0 and check.rate == 0 for check in report.flips + report.directions + report.kinds)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_kind_has_enough_pairs_whose_sides_have_different_labels(language: str) -> None:
    rows = read_pairs(f"kinds_{language}.csv")
    assert len({row["text"] for row in rows}) == len(rows)
    sides: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        sides.setdefault(row["kind"], {}).setdefault(row["pair"], []).append(row["sentiment"])
    assert len(sides) == 8
    for pairs in sides.values():
        assert len(pairs) >= 40
        for labels in pairs.values():
            assert len(labels) == len(set(labels)) > 1
            assert set(labels) <= set(SENTIMENTS)


@pytest.mark.parametrize(("language", "least"), [("en", 120), ("zh", 60)])
def test_plain_news_has_every_sentiment_and_most_topics_and_is_not_trained_on(
    language: str, least: int
) -> None:
    rows = read_pairs(f"plain_{language}.csv")
    assert len({row["text"] for row in rows}) == len(rows) >= least
    sentiments = [row["sentiment"] for row in rows]
    assert all(sentiments.count(sentiment) >= least / 4 for sentiment in SENTIMENTS)
    topics = {row["topic"] for row in rows}
    assert topics <= set(TOPICS) and len(topics) >= len(TOPICS) - 1
    written = [Row(sentence.text) for sentence in written_sentences(language)]
    assert near_duplicates(written, [Row(row["text"]) for row in rows]) == []


def test_a_kind_counts_the_texts_with_a_wrong_sentiment() -> None:
    checks = kinds(KeywordClassifier("bad"), "en")  # type: ignore[arg-type]
    rows = read_pairs("kinds_en.csv")
    assert [check.name for check in checks] == [*dict.fromkeys(row["kind"] for row in rows), "all"]
    wrong = [("negative" if "bad" in row["text"] else "neutral") != row["sentiment"] for row in rows]
    assert (checks[-1].n, checks[-1].failed) == (len(rows), sum(wrong))
    assert checks[0].examples[0] in {row["text"] for row in rows}
