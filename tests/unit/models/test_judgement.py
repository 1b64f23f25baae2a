"""tools.judgement: the figures that a classifier's labels are judged by, on small files with known answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from models.data.dataset import Source, read_source
from models.document_classifier import DocumentClassifier
from models.evaluation.robustness import read_pairs
from models.inference.engine import Engine
from models.inference.whole import Mode
from stream.domain.documents import SENTIMENTS, Prediction, TextInput
from stream.domain.entities import TargetSentiment
from tools.judgement import table
from tools.judgement_figures import (
    Figure,
    kind_figures,
    label_figures,
    plain_figures,
    target_figures,
    without_new_topic,
)
from tools.judgement_speed import headlines, speed_figures, start_figures

TOPICS = ("Macro", "Markets", "Crypto")


class Rules:
    """A classifier by words: "good" is positive, "bad" negative, the rest neutral; "coin" is about crypto."""

    def __init__(self, version: str = "small", second_opinion: str | None = None) -> None:
        labels = {"topic": TOPICS, "sentiment": SENTIMENTS}
        self.engine = SimpleNamespace(
            info=SimpleNamespace(labels=labels), settings=SimpleNamespace(threads=1), classify=self.read
        )
        self.topics, self.version, self.second_opinion = TOPICS, version, second_opinion

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        return [self.predict(item) for item in inputs]

    def read(self, texts: Sequence[str], targets: Sequence[Sequence[Any]]) -> list[Prediction]:
        """It has an answer for names in Latin script only."""
        predictions = self.classify([TextInput(text) for text in texts])
        return [
            replace(one, targets=(TargetSentiment(one.sentiment, of_target=True),) * len(places))
            if "Acme" in text
            else one
            for text, one, places in zip(texts, predictions, targets, strict=True)
        ]

    def predict(self, item: TextInput) -> Prediction:
        sentiment = "positive" if "good" in item.text else "negative" if "bad" in item.text else "neutral"
        sentiments = {label: 0.95 if label == sentiment else 0.025 for label in SENTIMENTS}
        topics = {"Macro": 0.1, "Markets": 0.2, "Crypto": 0.7}
        if "coin" not in item.text:
            topics = {"Macro": 0.1, "Markets": 0.85, "Crypto": 0.05}
        return Prediction(
            self.version,
            item.lang,
            max(topics, key=topics.__getitem__),
            sentiment,
            0.0,
            {"topic": topics, "sentiment": sentiments},
            judged_by=self.judge(item.text),
        )

    def judge(self, text: str) -> str | None:
        """With a second opinion, that has the word on coins."""
        if self.second_opinion is None:
            return None
        return self.second_opinion if "coin" in text else "small"


def classifier(**values: Any) -> DocumentClassifier:
    return Rules(**values)  # type: ignore[return-value]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the files of all sets."""
    sentiments = [("good", "positive"), ("bad", "negative"), ("dull", "neutral"), ("odd", "positive")]
    rows = [{"text": f"a {word} year", "sentiment": label} for word, label in sentiments]
    files: dict[str, list[dict[str, Any]]] = {
        "sentiment/tfn_valid_strict.jsonl": rows,
        "sentiment/stockemotions_valid.jsonl": rows[:2],
        "zh/finfe_valid_strict.jsonl": rows[:3],
        "topic/tfn_valid_strict.jsonl": [
            {"text": "coin falls", "topic": "Markets"},
            {"text": "stocks fall", "topic": "Markets"},
            {"text": "prices rise", "topic": "Macro"},
        ],
        "zh/finnl_valid_strict.jsonl": [
            {"text": "stocks", "tags": ["大盘"]},
            {"text": "firms", "tags": ["公司"]},
        ],
        "zh/finnsp_train.jsonl": [
            {"text": f"{word} {i}", "entities": ["x"], "negative": word == "bad"}
            for i in range(40)
            for word in ("bad", "good")
        ],
        "zh/cfsc_targets_dev.jsonl": [
            {"text": f"bad {i}", "targets": [{"start": 0, "end": 3, "sentiment": "negative"}]}
            for i in range(40)
        ],
        "sentiment/sentfin_entities.jsonl": [
            {
                "text": f"Acme bad, Bolt {i}",
                "entities": {"Acme": "negative", "Bolt": "positive", "Nil": "neutral"},
            }
            for i in range(60)
        ],
        "stories/headlines_dev.jsonl": [{"title": f"coin {i}"} for i in range(2)],
        "streams/crypto_headlines_2022-05_2022-09.jsonl": [{"title": f"stock {i}"} for i in range(6)],
    }
    for name, records in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return tmp_path


def test_a_newer_topic_gives_way_to_the_next_best() -> None:
    prediction = Rules().predict(TextInput("coin"))
    folded = without_new_topic(prediction)
    assert (prediction.topic, folded.topic) == ("Crypto", "Markets")
    assert folded.probabilities["topic"] == pytest.approx({"Macro": 1 / 3, "Markets": 2 / 3})
    assert without_new_topic(folded) is folded


def test_every_set_has_accuracy_and_calibration_and_those_with_one_label_macro_f1(data: Path) -> None:
    figures = {figure.name: figure for figure in label_figures(classifier(), data)}
    sentiment = figures["TFN sentiment: accuracy"]
    assert (sentiment.value, sentiment.n, sentiment.at_least, sentiment.reached) == (0.75, 4, 0.895, False)
    low, high = sentiment.interval or (0, 0)
    assert low < 0.75 < high
    assert figures["TFN topic: accuracy"].value == pytest.approx(2 / 3)
    assert figures["Chinese flashes with one clear tag: accuracy"].n == 1
    bad_news = figures["Chinese bad news or not: accuracy"]
    assert bad_news.value == 1 and 0 < bad_news.n < 80, "only rows that are kept back"
    assert "Chinese bad news or not: macro-F1" not in figures
    assert figures["TFN sentiment: ECE"].value == pytest.approx(0.2)
    assert figures["Chinese bad news or not: ECE"].value == pytest.approx(0.04, abs=0.02)


def test_names_are_scored_on_rows_that_training_leaves_alone(data: Path) -> None:
    file = Source(file=data / "zh/cfsc_targets_dev.jsonl", keep_back=0.5)
    figures = {figure.name: figure for figure in target_figures(classifier(), data)}
    chinese = figures["towards names, Chinese: accuracy"]
    assert (chinese.value, chinese.n) == (1, len(read_source(file, kept_back=True)))
    several = figures["towards names, texts with several moods: accuracy"]
    assert several.value == 0.5 and several.n % 2 == 0, "two names are in the text, the third is not"
    assert figures["towards names, headlines: answered by the head for targets"].value == 1
    assert figures["towards names, Chinese: answered by the head for targets"].value == 0


def test_kinds_have_a_figure_each_in_both_languages() -> None:
    figures = {figure.name: figure for figure in kind_figures(classifier(), Path())}
    rows = read_pairs("kinds_zh.csv")
    neutral = sum(row["sentiment"] == "neutral" for row in rows)
    assert figures["kinds, zh: accuracy"].value == pytest.approx(neutral / len(rows))
    assert {f"kinds, en: {row['kind']}" for row in rows} <= set(figures)
    assert figures["kinds, zh: pairs right as a whole"].value == 0
    assert figures["kinds, zh: wrong with p > 0.9"].value == pytest.approx(1 - neutral / len(rows))


def test_plain_news_counts_labels_that_are_certain_and_those_that_are_wrong_and_sure() -> None:
    figures = {figure.name: figure for figure in plain_figures(classifier(), Path())}
    rows = read_pairs("plain_zh.csv")
    wrong = sum(row["sentiment"] != "neutral" for row in rows)
    assert figures["plain news, zh: wrong with p > 0.9"].value == wrong
    assert figures["plain news, zh: certain"].value == 1
    known = figures["plain news, zh: topics that it knows"]
    assert known.n == sum(row["topic"] in TOPICS for row in rows)


def test_speed_is_compared_in_turns_and_texts_that_both_models_read_are_counted(data: Path) -> None:
    texts = headlines(data, 100)
    assert len(texts) == 8 and texts == headlines(data, 100)
    both, small = classifier(version="both", second_opinion="large"), classifier()
    figures = {figure.name: figure for figure in speed_figures(both, None, texts, mode=Mode.OFF, rounds=1)}
    assert list(figures) == ["headlines/s", "headlines/s, from CPU time"]
    figures = {figure.name: figure for figure in speed_figures(both, small, texts, mode=Mode.AUTO, rounds=2)}
    assert figures["share of headlines with a second opinion"].value == 0.25
    assert figures["share of headlines with a second opinion"].reached is False
    assert figures["speed against the small model"].at_least == 0.35


def test_a_start_that_fails_says_what_the_command_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"model\.json is missing"):
        list(start_figures({"MONITOR_MODELS__WEIGHTS": str(tmp_path)}, rounds=1))


def test_the_table_has_a_column_for_each_model_and_marks_what_is_not_reached() -> None:
    one = [
        Figure("accuracy", 0.9, (0.85, 0.95), 100, at_least=0.8),
        Figure("start", 5.25, None, 3, at_most=4),
    ]
    other = [Figure("accuracy", 0.7, (0.65, 0.75), 100, at_least=0.8)]
    lines = list(table(["small", "large"], [one, other]))
    assert lines[0].split() == ["n", "required", "small", "large"]
    assert lines[1].endswith(">= 0.8  0.900 (0.850 to 0.950)  0.700 (0.650 to 0.750) *")
    assert lines[2].endswith("5.25 *")


def test_a_real_model_is_judged_through_the_product(engine: Engine, data: Path) -> None:
    product = DocumentClassifier(engine)
    figures = {figure.name: figure for figure in target_figures(product, data)}
    assert figures["towards names, headlines: answered by the head for targets"].value == 1
