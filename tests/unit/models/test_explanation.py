"""Explanations: a weight for every word."""

import math

import pytest

from models.inference.engine import Engine
from models.inference.explain import carrying, explain

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
    explanation = explain(engine, "Profit falls at Alderbrook as costs rise", method="integrated")
    total = sum(span.weight for span in explanation.words)
    log_probability = math.log(explanation.prediction.probabilities["sentiment"]["negative"])
    assert 0.2 < total < 8
    assert total > log_probability


def test_the_decisive_word_has_one_of_the_largest_weights(engine: Engine) -> None:
    explanation = explain(engine, "Alderbrook Foods shares plunge on Monday", method="integrated")
    assert "plunge" in [span.text for span in carrying(explanation.words, 2)]


def test_an_unsupported_text_has_no_words(engine: Engine) -> None:
    explanation = explain(engine, "トヨタの株価が下落した")
    assert (explanation.words, explanation.prediction.status) == ((), "unsupported")


def test_chinese_words_are_the_pieces_of_the_tokenizer(engine: Engine) -> None:
    explanation = explain(engine, "公司股价暴跌，投资者损失惨重")
    assert len(explanation.words) > 4
    assert "".join(span.text for span in explanation.words) == "公司股价暴跌，投资者损失惨重"
