"""The shipped classifier, run as the daemon runs it."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from models import language, weights
from models.engine import Engine
from models.errors import InferenceError, WeightsError
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from stream.nouns import SENTIMENTS, Prediction

TEXTS = [
    "Alderbrook Foods shares plunge 20% after profit warning",
    "Brightmoor Energy posts record profit and raises its outlook",
    "Oil climbs 3% as producers extend output cuts",
    "$KSTR calls loaded 🚀 https://example.org/very/long/link",
]


def labels(predictions: list[Prediction]) -> list[str | None]:
    return [prediction.sentiment for prediction in predictions]


def test_plain_cases_come_out_right(engine: Engine) -> None:
    falling, rising, oil, _ = engine.classify(TEXTS)
    assert falling.sentiment == "negative"
    assert rising.sentiment == "positive"
    assert oil.topic == "Energy | Oil"


def test_probabilities_are_whole_and_the_score_is_their_difference(engine: Engine) -> None:
    for prediction in engine.classify(TEXTS):
        assert set(prediction.probabilities["sentiment"]) == set(SENTIMENTS)
        assert len(prediction.probabilities["topic"]) == 20
        for distribution in prediction.probabilities.values():
            assert sum(distribution.values()) == pytest.approx(1, abs=1e-6)
        moods = prediction.probabilities["sentiment"]
        assert prediction.score == pytest.approx(moods["positive"] - moods["negative"])


def test_evidence_points_at_words_of_the_text(engine: Engine) -> None:
    for text, prediction in zip(TEXTS, engine.classify(TEXTS), strict=True):
        for task in ("topic", "sentiment"):
            spans = [span for span in prediction.evidence if span.task == task]
            assert 1 <= len(spans) <= 3
            assert [span.weight for span in spans] == sorted((s.weight for s in spans), reverse=True)
            for span in spans:
                assert text[span.start : span.end] == span.text
                assert 0 < span.weight <= 1
                assert "example.org" not in span.text


def test_the_answer_does_not_depend_on_the_company_it_keeps(engine: Engine) -> None:
    alone = [engine.classify([text])[0] for text in TEXTS]
    together = engine.classify(TEXTS * 50)
    assert labels(together) == labels(alone) * 50
    for one, many in zip(alone, together, strict=False):
        assert one.score is not None and many.score is not None
        assert math.isclose(one.score, many.score, abs_tol=0.03)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("苹果公司股价上涨", "zh"),
        ("トヨタの株価が下落した", "ja"),
        ("Les actions européennes reculent après la décision de la BCE", "fr"),
        ("Газпром отчитался о рекордной прибыли за год", "ru"),
        ("🚀🚀🚀", None),
        ("12.5% 2024", None),
        ("", None),
    ],
)
def test_what_it_was_not_trained_for_gets_no_label(engine: Engine, text: str, lang: str | None) -> None:
    (prediction,) = engine.classify([text])
    assert (prediction.status, prediction.lang) == ("unsupported", lang)
    assert (prediction.topic, prediction.sentiment, prediction.score) == (None, None, None)
    assert prediction.probabilities == {} and prediction.evidence == ()


def test_unsupported_texts_keep_their_place_among_the_others(engine: Engine) -> None:
    predictions = engine.classify(["苹果公司股价上涨", TEXTS[0], "", TEXTS[1]])
    assert labels(predictions) == [None, "negative", None, "positive"]


@pytest.mark.parametrize(
    ("text", "claimed", "expected"),
    [
        ("BASF Umsatz sinkt", "de", "de"),
        ("Apple", "en-US", "en"),
        ("苹果公司股价上涨", "en", "zh"),
        ("AAPL up", None, "en"),
    ],
)
def test_the_feeds_word_on_the_language_counts_within_latin_script(
    text: str, claimed: str | None, expected: str
) -> None:
    assert language.detect(text, claimed) == expected


def test_a_text_longer_than_the_model_reads_says_so(engine: Engine) -> None:
    short, long = engine.classify(["Shares rise", "Shares rise again and again. " * 200])
    assert not short.truncated
    assert long.truncated


def test_a_huge_text_is_read_only_as_far_as_it_matters(engine: Engine) -> None:
    (prediction,) = engine.classify(["Shares plunge after huge loss. " + "x" * 5_000_000])
    assert prediction.truncated
    assert prediction.sentiment == "negative"
    assert all(len(span.text) < 6000 for span in prediction.evidence)


def test_answers_that_are_not_finite_are_no_labels() -> None:
    model = weights.load(SHIPPED_WEIGHTS)
    with torch.no_grad():
        model.classifier.heads["topic"].output.bias[0] = float("nan")  # type: ignore[union-attr,operator,index]
    with pytest.raises(InferenceError, match="not finite"):
        Engine(model, ModelSettings()).classify(TEXTS)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))


def test_damaged_weights_are_refused(copied: Path) -> None:
    path = copied / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        weights.load(copied)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(WeightsError, match=str(copied)):
        weights.load(copied)


def test_a_description_that_does_not_fit_the_weights_is_refused(copied: Path) -> None:
    path = copied / "model.json"
    info = json.loads(path.read_text())
    info["labels"]["topic"] = info["labels"]["topic"][:5]
    path.write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        weights.load(copied)


def test_a_folder_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a trained classifier"):
        weights.load(tmp_path)


def test_what_is_shipped_is_small_and_says_where_it_comes_from() -> None:
    files = list(SHIPPED_WEIGHTS.iterdir())
    assert sum(path.stat().st_size for path in files) <= 32e6
    card = (SHIPPED_WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert weights.load(SHIPPED_WEIGHTS).info.version in card
    assert "licence" in card.lower()
