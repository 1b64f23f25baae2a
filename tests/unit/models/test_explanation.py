"""Explanations: a weight for every word."""

import math

import pytest

from models.inference.engine import Engine
from models.inference.evidence import Name
from models.inference.explain import explain, gradients
from models.inference.tokenize import CleanInput

TEXT = "Alderbrook Foods shares plunge 20% after profit warning"


@pytest.mark.parametrize("method", ["attention", "gradient", "integrated"])
@pytest.mark.parametrize("task", ["sentiment", "topic"])
def test_every_word_gets_a_weight_in_the_order_of_the_text(engine: Engine, method: str, task: str) -> None:
    explanation = explain(engine, TEXT, task, method)  # type: ignore[arg-type]
    assert "".join(span.text for span in explanation.words) == TEXT.replace(" ", "")
    assert [span.start for span in explanation.words] == sorted(span.start for span in explanation.words)
    assert all(TEXT[span.start : span.end] == span.text for span in explanation.words)
    assert explanation.prediction.sentiment == "negative"


def test_integrated_gradients_add_up_to_the_change_in_log_probability(engine: Engine) -> None:
    """The completeness of integrated gradients, within the error of the steps and of bfloat16."""
    text = "Profit falls at Alderbrook as costs rise"
    (item,) = engine.tokenizer.tokenize([CleanInput(text)]).texts
    label = engine.info.labels["sentiment"].index("negative")
    (values,) = gradients(engine, item, "sentiment", label=label, steps=24)
    log_probability = math.log(engine.classify([text])[0].probabilities["sentiment"]["negative"])
    assert 0.2 < values.sum() < 8
    assert values.sum() > log_probability


@pytest.mark.parametrize("method", ["attention", "integrated"])
def test_only_words_that_the_label_misses_have_a_weight(engine: Engine, method: str) -> None:
    start = TEXT.index("Alderbrook")
    names = [Name(start, start + len("Alderbrook Foods"))]
    explanation = explain(engine, TEXT, "sentiment", method, names=names)  # type: ignore[arg-type]
    weights = {span.text: span.weight for span in explanation.words}
    assert weights["plunge"] > 0
    assert not any(weights[word] for word in ("Alderbrook", "Foods", "20%", "after"))
    assert {effect.text for effect in explanation.removed} == {word for word in weights if weights[word]}
    falls = [effect.fall for effect in explanation.removed]
    assert falls == sorted(falls, reverse=True)
    for effect in explanation.removed:
        without = TEXT.replace(f"{effect.text} ", "")
        (prediction,) = engine.classify([without], ["en"])
        before = explanation.prediction.probabilities["sentiment"]["negative"]
        fall = before - prediction.probabilities["sentiment"]["negative"]
        assert effect.fall == pytest.approx(fall, abs=0.02)
        assert effect.fall * weights[effect.text] > 0


def test_an_unsupported_text_has_no_words(engine: Engine) -> None:
    explanation = explain(engine, "トヨタの株価が下落した")
    assert (explanation.words, explanation.prediction.status) == ((), "unsupported")
    assert not explanation.prediction.certain


def test_chinese_words_are_the_pieces_of_the_tokenizer(engine: Engine) -> None:
    explanation = explain(engine, "公司股价暴跌，投资者损失惨重")
    assert len(explanation.words) > 4
    assert "".join(span.text for span in explanation.words) == "公司股价暴跌，投资者损失惨重"
