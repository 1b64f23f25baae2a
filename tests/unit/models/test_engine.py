"""The shipped classifier, run the way the daemon runs it."""

import json
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from models.errors import WeightsError
from models.inference import language
from models.inference.engine import Engine
from models.inference.outputs import margin
from models.network import artifact
from models.network.info import ModelInfo, read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from stream.domain.documents import SENTIMENTS, Prediction
from stream.domain.errors import InferenceError

TEXTS = [
    "Alderbrook Foods shares plunge 20% after profit warning",
    "Brightmoor Energy posts record profit and raises its outlook",
    "Oil climbs 3% as producers extend output cuts",
    "$KSTR calls loaded 🚀 https://example.org/very/long/link",
]

ZH_TEXTS = [
    "公司业绩爆雷，股价一字跌停，投资者损失惨重",
    "公司全年净利润同比大增五成，创历史新高",
    "国际油价大涨，欧佩克宣布延长减产",
]


def labels(predictions: list[Prediction]) -> list[str | None]:
    return [prediction.sentiment for prediction in predictions]


def test_clear_texts_get_the_right_labels(engine: Engine) -> None:
    falling, rising, oil, _ = engine.classify(TEXTS)
    assert falling.sentiment == "negative"
    assert rising.sentiment == "positive"
    assert oil.topic == "Energy | Oil"


def test_probabilities_sum_to_one_and_the_score_is_positive_minus_negative(engine: Engine) -> None:
    for prediction in engine.classify(TEXTS):
        assert set(prediction.probabilities["sentiment"]) == set(SENTIMENTS)
        assert len(prediction.probabilities["topic"]) == 20
        for distribution in prediction.probabilities.values():
            assert sum(distribution.values()) == pytest.approx(1, abs=1e-6)
        sentiments = prediction.probabilities["sentiment"]
        assert prediction.score == pytest.approx(sentiments["positive"] - sentiments["negative"])


def test_the_prediction_does_not_depend_on_the_other_texts_of_the_batch(engine: Engine) -> None:
    alone = [engine.classify([text])[0] for text in TEXTS]
    together = engine.classify(TEXTS * 50)
    assert labels(together) == labels(alone) * 50
    for prediction_alone, prediction_in_batch in zip(alone, together, strict=False):
        assert prediction_alone.score is not None and prediction_in_batch.score is not None
        assert math.isclose(prediction_alone.score, prediction_in_batch.score, abs_tol=0.03)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("トヨタの株価が下落した", "ja"),
        ("Les actions européennes reculent après la décision de la BCE", "fr"),
        ("Газпром отчитался о рекордной прибыли за год", "ru"),
        ("🚀🚀🚀", None),
        ("12.5% 2024", None),
        ("", None),
    ],
)
def test_a_text_in_an_unsupported_language_gets_no_label(engine: Engine, text: str, lang: str | None) -> None:
    (prediction,) = engine.classify([text])
    assert (prediction.status, prediction.lang) == ("unsupported", lang)
    assert (prediction.topic, prediction.sentiment, prediction.score) == (None, None, None)
    assert prediction.probabilities == {} and prediction.evidence == ()


def test_predictions_stay_in_order_around_unsupported_texts(engine: Engine) -> None:
    predictions = engine.classify(["トヨタの株価が下落した", TEXTS[0], "", ZH_TEXTS[0], TEXTS[1]])
    assert labels(predictions) == [None, "negative", None, "negative", "positive"]


def test_chinese_texts_get_the_right_labels(engine: Engine) -> None:
    falling, rising, oil = engine.classify(ZH_TEXTS)
    assert [p.lang for p in (falling, rising, oil)] == ["zh"] * 3
    assert (falling.sentiment, rising.sentiment) == ("negative", "positive")
    assert oil.topic == "Energy | Oil"


@pytest.mark.parametrize(
    ("text", "declared", "expected"),
    [
        ("BASF Umsatz sinkt", "de", "de"),
        ("Apple", "en-US", "en"),
        ("苹果公司股价上涨", "en", "zh"),
        ("钼已成粥", None, "zh"),
        ("iPhone 17 Pro Max首周销量大增", None, "zh"),
        ("Shares of Alibaba (阿里巴巴) rise in Hong Kong trading", None, "en"),
        ("삼성전자 주가 하락", None, "ko"),
        ("AAPL up", None, "en"),
    ],
)
def test_the_language_that_a_feed_declares_counts_only_for_latin_script(
    text: str, declared: str | None, expected: str
) -> None:
    assert language.detect(text, declared) == expected


def test_a_long_text_is_classified_in_several_windows(engine: Engine) -> None:
    short, long = engine.classify(["Shares rise", "The meeting was held. " * 100 + TEXTS[0] + "."])
    assert (short.windows, short.truncated) == (1, False)
    assert long.windows > 1 and not long.truncated
    evidence_at_the_end = [span for span in long.evidence if span.start > 2000]
    assert evidence_at_the_end, "the only news is at the end, and no evidence is from there"


def test_a_text_with_too_many_windows_is_truncated_and_marked_as_truncated() -> None:
    engine = Engine.load(ModelSettings(max_windows=2))
    (long,) = engine.classify(["Shares rise again and again. " * 200])
    assert (long.windows, long.truncated) == (2, True)


def test_a_long_text_does_not_change_the_predictions_of_short_texts_in_its_batch(engine: Engine) -> None:
    alone = engine.classify(TEXTS)
    together = engine.classify([*TEXTS, "The meeting was held. " * 100])
    assert labels(alone) == labels(together)[:-1]
    for prediction_alone, prediction_in_batch in zip(alone, together, strict=False):
        assert prediction_alone.score == pytest.approx(prediction_in_batch.score, abs=0.03)


def test_a_huge_text_is_truncated_and_its_beginning_classified(engine: Engine) -> None:
    (prediction,) = engine.classify(["Shares plunge after huge loss. " + "x" * 5_000_000])
    assert prediction.truncated
    assert prediction.sentiment == "negative"


def test_a_short_text_in_too_much_markup_is_marked_as_truncated(engine: Engine) -> None:
    (prediction,) = engine.classify(["Shares plunge after huge loss. " + "<p>" * 100_000 + "Shares soar."])
    assert (prediction.windows, prediction.truncated) == (1, True)
    assert prediction.sentiment == "negative"


def test_a_label_below_its_threshold_is_uncertain_and_not_counted() -> None:
    lenient, strict = (Engine.load(ModelSettings(certain_from=threshold)) for threshold in (0.0, 1.0))
    assert [p.status for p in lenient.classify(TEXTS)] == ["ok"] * 4
    for prediction in strict.classify(TEXTS):
        assert (prediction.status, prediction.certain) == ("uncertain", False)
        assert prediction.counted_sentiment is None
        assert prediction.sentiment is not None


def test_one_text_gives_a_sentiment_towards_each_name(engine: Engine) -> None:
    text = "Brightmoor shares soar on record profit while rival Alderbrook plunges on fraud probe"
    spans = [(text.index(name), text.index(name) + len(name)) for name in ("Brightmoor", "Alderbrook")]
    brightmoor, alderbrook = engine.classify_targets(text, spans)
    assert brightmoor.score is not None and alderbrook.score is not None
    assert brightmoor.score > alderbrook.score
    assert (brightmoor.target, alderbrook.target) == ("Brightmoor", "Alderbrook")
    (empty_target,) = engine.classify_targets(text, [(0, 0)])
    assert empty_target.status == "unsupported"


def test_a_part_without_target_training_gives_no_sentiment_towards_names(engine: Engine) -> None:
    for text, end in (("贵州茅台净利润大增，创历史新高", 4), ("比亚迪遭监管处罚，股价跌停", 3)):
        (prediction,) = engine.classify_targets(text, [(0, end)])
        assert (prediction.sentiment, prediction.status, prediction.lang) == (None, "unsupported", "zh")
        assert prediction.probabilities == {}
        assert engine.classify([text])[0].sentiment is not None
    assert "'zh'" in (engine.info.target_sentiment_error("zh") or "")
    assert engine.info.target_sentiment_error("en") is None


def test_a_model_folder_without_the_target_sentiment_field_supports_targets() -> None:
    fields = msgspec.to_builtins(read_info(SHIPPED_WEIGHTS))
    for part in fields["parts"]:
        part.pop("target_sentiment", None)
    assert msgspec.convert(fields, ModelInfo).target_sentiment_error("zh") is None


def test_outputs_that_are_not_finite_raise_an_error() -> None:
    for value in (float("nan"), float("inf")):
        model = artifact.load(SHIPPED_WEIGHTS)
        head = model.parts[0].network.classifier.heads["topic"]
        with torch.no_grad():
            head.output.bias[0] = value  # type: ignore[union-attr,operator,index]
        with pytest.raises(InferenceError, match="not finite"):
            Engine(model, ModelSettings()).classify(TEXTS)


@pytest.fixture
def weights_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))


def test_damaged_weights_are_refused(weights_copy: Path) -> None:
    path = weights_copy / "en" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        artifact.load(weights_copy)


@pytest.mark.parametrize(
    "name", ["en/model.safetensors", "model.json", "en/config.json", "zh/tokenizer.json"]
)
def test_the_error_for_a_missing_file_names_the_folder(weights_copy: Path, name: str) -> None:
    (weights_copy / name).unlink()
    with pytest.raises(WeightsError, match=str(weights_copy)):
        artifact.load(weights_copy)


def test_labels_that_do_not_fit_the_weights_are_refused(weights_copy: Path) -> None:
    path = weights_copy / "model.json"
    info = json.loads(path.read_text())
    info["labels"]["topic"] = info["labels"]["topic"][:5]
    path.write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        artifact.load(weights_copy)


def test_a_model_with_reversed_labels_fails_its_canaries(weights_copy: Path) -> None:
    path = weights_copy / "model.json"
    info = json.loads(path.read_text())
    info["labels"]["sentiment"].reverse()
    path.write_text(json.dumps(info))
    with pytest.raises(WeightsError, match="calls the sentiment of its canary"):
        Engine.load(ModelSettings(weights=weights_copy))


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a trained classifier"):
        artifact.load(tmp_path)


def test_the_shipped_model_is_small_and_has_a_card_with_version_and_licence() -> None:
    files = list(SHIPPED_WEIGHTS.iterdir())
    assert sum(path.stat().st_size for path in files) <= 32e6
    card = (SHIPPED_WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert artifact.load(SHIPPED_WEIGHTS).info.version in card
    assert "licence" in card.lower()


def test_the_margin_is_the_lead_over_the_second_label_and_one_for_a_single_label() -> None:
    assert margin(np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])) == pytest.approx([0.3, 0.0])
    assert margin(np.ones((2, 1))).tolist() == [1.0, 1.0]
