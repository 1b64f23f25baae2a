"""The sentiment towards parts of texts comes from the pass that classifies the texts, whatever runs it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from prometheus_client import CollectorRegistry

from models.backends.native.encoders import library
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.inference.targets import MOST_TOKENS
from models.inference.tokenize import Target
from models.network import artifact
from models.network.classifier import Hidden
from models.network.target_heads import TargetHead
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from stream.domain.entities import TargetSentiment

TEXT = "Brightmoor shares soar on record profit while rival Alderbrook plunges on fraud probe"
PLAIN = "Profit doubles at the bank"
CHINESE = "星海股份净利润大增，创历史新高"
LONG = "Brightmoor soars on record profit. " + "The meeting was held. " * 150 + "Alderbrook plunges on fraud."
NATIVE = [
    pytest.param(
        name, marks=pytest.mark.skipif(library(name) is None, reason=f"this machine cannot run {name}")
    )
    for name in ("int8", "amx")
]


def target(text: str, *names: str) -> Target:
    """All places of the names in the text."""
    return tuple(
        (at, at + len(name)) for name in names for at in range(len(text)) if text.startswith(name, at)
    )


def towards(engine: Engine, text: str, *targets: Target, lang: str | None = None) -> list[TargetSentiment]:
    (prediction,) = engine.classify([text], [lang], [targets])
    return list(prediction.targets)


def scores(answers: list[TargetSentiment]) -> list[float]:
    found = [answer.score for answer in answers if answer.score is not None]
    assert len(found) == len(answers)
    return found


@pytest.mark.parametrize("backend", ["torch", "packed", *NATIVE])
def test_every_backend_answers_for_targets_in_the_pass_of_the_text(backend: Any) -> None:
    registry = CollectorRegistry()
    engine = Engine.load(
        ModelSettings(backend=backend, device="cpu", remembered_texts=0), ModelMetrics(registry)
    )

    def windows() -> float:
        return registry.get_sample_value("sentiment_inference_windows_total") or 0

    before = windows()
    texts = [PLAIN, TEXT, CHINESE, "", LONG]
    names = target(TEXT, "Brightmoor"), target(TEXT, "Alderbrook")
    long_names = target(LONG, "Brightmoor"), target(LONG, "Alderbrook")
    predictions = engine.classify(texts, None, [(), names, [((0, 4),)], [((0, 1),)], long_names])
    for prediction in (predictions[1], predictions[4]):
        up, down = prediction.targets
        assert (up.sentiment, down.sentiment) == ("positive", "negative")
        assert up.of_target and up.certain and up.probability and up.probability > 0.5
    assert [predictions[index].targets for index in (0, 2, 3)] == [(), (), ()]
    assert predictions[4].windows > 2
    if backend != "int8":  # which runs close calls again
        assert windows() - before == sum(p.windows for p in predictions if p.sentiment)
    alone = engine.classify(texts)
    assert [p.score for p in alone] == pytest.approx([p.score for p in predictions], abs=1e-4)


def test_answers_do_not_depend_on_the_other_texts_of_the_batch(engine: Engine) -> None:
    names = {text: (target(text, "Brightmoor"), target(text, "Alderbrook")) for text in (TEXT, LONG)}
    texts = [TEXT, LONG, PLAIN] * 10
    together = engine.classify(texts, None, [names.get(text, ()) for text in texts])
    for text, prediction in zip(texts, together, strict=True):
        if text in names:
            alone = scores(towards(engine, text, *names[text]))
            assert scores(list(prediction.targets)) == pytest.approx(alone, abs=1e-3)


def test_many_targets_are_computed_within_a_memory_of_fixed_size(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    forward = TargetHead.forward

    def spy(head: TargetHead, hidden: Hidden, text: torch.Tensor, spans: torch.Tensor) -> Any:
        sizes.append(spans.numel())
        return forward(head, hidden, text, spans)

    monkeypatch.setattr(TargetHead, "forward", spy)
    many = [((at, at + 5),) for at in range(0, 2000, 10)]
    answers = towards(engine, LONG, *many)
    assert len(scores(answers)) == len(many)
    assert len(sizes) > 1 and max(sizes) <= MOST_TOKENS


def test_a_target_is_all_the_places_that_name_it(engine: Engine) -> None:
    text = "Alderbrook had a calm day. Later Alderbrook plunged on a fraud probe, and its shares collapsed"
    first, second = ((place,) for place in target(text, "Alderbrook"))
    both = target(text, "Alderbrook")
    one, two, all_of_it = scores(towards(engine, text, first, second, both))
    assert min(one, two) < all_of_it < max(one, two) or abs(one - two) < 0.1
    assert len({one, two, all_of_it}) == 3


def test_a_target_outside_of_what_is_read_has_no_answer() -> None:
    engine = Engine.load(ModelSettings(max_windows=1, remembered_texts=0))
    first, last, nothing, blank = towards(
        engine, LONG, target(LONG, "Brightmoor"), target(LONG, "Alderbrook"), ((3, 3),), ()
    )
    assert first.sentiment == "positive"
    assert last == nothing == blank == TargetSentiment(of_target=True)


def test_places_are_those_of_the_text_as_it_was_sent(engine: Engine) -> None:
    sent = f"<p>\u200b{TEXT.replace('shares', '<b>shares</b>')} &amp; more</p>\ud800"
    plain = f"{TEXT} & more"
    names = ("Brightmoor", "Alderbrook")
    expected = scores(towards(engine, plain, *(target(plain, name) for name in names)))
    assert scores(towards(engine, sent, *(target(sent, name) for name in names))) == pytest.approx(
        expected, abs=0.02
    )
    assert towards(engine, sent, ((0, 3),))[0].sentiment is None


def test_a_repeated_text_with_other_targets_is_another_text() -> None:
    registry = CollectorRegistry()
    engine = Engine.load(ModelSettings(), ModelMetrics(registry))

    def by_network() -> float:
        return registry.get_sample_value("sentiment_inference_texts_total", {"by": "network"}) or 0

    up, down = target(TEXT, "Brightmoor"), target(TEXT, "Alderbrook")
    first = engine.classify([TEXT, TEXT, TEXT], None, [[up, down], [down, up], []])
    assert by_network() == 3
    assert first[0].targets == first[1].targets[::-1] and first[2].targets == ()
    assert engine.classify([f"<p>{TEXT}</p>", TEXT], None, [[((3, 13),), ((55, 65),)], []])
    assert engine.classify([TEXT, TEXT, TEXT], None, [[up, down], [down, up], []]) == first
    assert by_network() == 3, "also with markup around it"


def test_close_calls_run_again_with_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    if library("int8") is None:
        pytest.skip("this machine cannot run int8")
    monkeypatch.setattr("models.inference.forward.RECHECK_MARGIN", 2.0)
    exact = Engine.load(ModelSettings(backend="torch", dtype="float32", device="cpu"))
    engine = Engine.load(ModelSettings(backend="int8"))
    names = target(TEXT, "Brightmoor"), target(TEXT, "Alderbrook")
    assert scores(towards(engine, TEXT, *names)) == pytest.approx(
        scores(towards(exact, TEXT, *names)), abs=1e-3
    )


def test_an_uncertain_answer_keeps_its_label_and_says_so() -> None:
    engine = Engine.load(ModelSettings(certain_from=1.0))
    (up,) = towards(engine, TEXT, target(TEXT, "Brightmoor"))
    assert (up.sentiment, up.certain) == ("positive", False)


def test_targets_have_a_temperature_and_a_threshold_of_their_own() -> None:
    plain = artifact.load(SHIPPED_WEIGHTS)
    parts = tuple(
        replace(
            part,
            info=msgspec.structs.replace(
                part.info,
                temperature={**part.info.temperature, "target": 100.0},
                certain_from={**part.info.certain_from, "target": 0.9},
            ),
        )
        for part in plain.parts
    )
    engine = Engine(replace(plain, parts=parts), ModelSettings(remembered_texts=0))
    (up,) = towards(engine, TEXT, target(TEXT, "Brightmoor"))
    assert up.sentiment == "positive" and up.probability == pytest.approx(1 / 3, abs=0.02)
    assert not up.certain
    (explained,) = engine.classify_targets(TEXT, target(TEXT, "Brightmoor"))
    assert explained.probabilities["sentiment"]["positive"] == up.probability and not explained.certain
    (text,) = engine.classify([TEXT])
    assert max(text.probabilities["sentiment"].values()) > 0.4


def test_a_text_that_is_nothing_but_boilerplate_has_no_sentiment_towards_anyone(engine: Engine) -> None:
    text = "This press release contains forward-looking statements within the meaning of the securities laws."
    (prediction,) = engine.classify([text], None, [[((0, 18),)]])
    assert not prediction.certain and prediction.targets == ()
