"""Which documents are copies, which tell the same event, how new each is, and who has a voice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from stream.domain.documents import Embedding, Kind
from stream.domain.stories import StoryAssignment, StoryFeatures, StoryInput
from stream.stories.assignment import COPY_WINDOW, STORY_WINDOW, VOICE_WINDOW, Assigner
from stream.stories.calibration import Pair, calibrate
from stream.stories.novelty import novelty
from stream.stories.signature import SIGNATURE_SIZE, core, signature, tokens
from stream.stories.terms import text_terms

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HEADLINE = "Alderbrook Foods recalls 12,000 crates of frozen spinach after tests in Leeds"


def similarity(first: str, second: str) -> float:
    a, b = (np.frombuffer(signature(tokens(core(text))), np.uint8) for text in (first, second))
    return float((a == b).mean())


def direction(number: int, of: int = 8) -> bytes:
    """An embedding that is orthogonal to those of other numbers."""
    vector = np.zeros(of, np.int8)
    vector[number] = 120
    return vector.tobytes()


@dataclass
class Wire:
    """Documents that arrive one after the other at an assigner."""

    assigner: Assigner
    count: int = 0

    def send(
        self,
        text: str,
        origin: str = "meridian",
        at: timedelta = timedelta(0),
        *,
        entities: Sequence[str] = (),
        vector: bytes | None = None,
        space: str = "m/en",
    ) -> StoryAssignment:
        self.count += 1
        document = StoryInput(
            f"news:{origin}:{self.count}",
            Kind.NEWS,
            origin,
            f"{self.count}",
            START + at,
            StoryFeatures(
                origin,
                signature(tokens(core(text))),
                text_terms(core(text), [(entity, 80) for entity in entities]),
                None if vector is None else Embedding(space, vector),
                is_headline=True,
            ),
        )
        return self.assigner.assign(document)[0]


@pytest.fixture
def wire() -> Wire:
    return Wire(Assigner())


@pytest.mark.parametrize(
    "copy",
    [
        f"RT @desk: {HEADLINE}",
        f"UPDATE 1-{HEADLINE.upper()}",
        f"BREAKING: {HEADLINE} - Harbor Financial News",
        f"{HEADLINE} | Ledger Daily",
        f"{HEADLINE} (via Meridian Wire) https://news.example/a?b=1",
        HEADLINE.replace("frozen", "“frozen”") + " ...",
        HEADLINE.replace(" ", "  "),
        HEADLINE + " in northern England",
    ],
    ids=["retweet", "update", "prefix and source", "bar", "link", "quotes", "blanks", "longer"],
)
def test_a_copy_has_nearly_the_signature_of_its_original(copy: str) -> None:
    assert similarity(HEADLINE, copy) > 0.75


@pytest.mark.parametrize(
    "other",
    [
        HEADLINE.replace("recalls", "sells").replace("after tests in Leeds", "to a retailer in Bath"),
        "Frozen spinach from Alderbrook Foods is being pulled from shelves",
        "Brightmoor Energy recalls 300 boilers",
    ],
    ids=["another verb and end", "own words", "another company"],
)
def test_another_text_has_another_signature(other: str) -> None:
    assert similarity(HEADLINE, other) < 0.6


def test_chinese_texts_are_compared_by_characters() -> None:
    text = "央行宣布下调存款准备金率0.5个百分点，释放长期资金约1万亿元"
    assert similarity(text, f"【快讯】{text}（来源：财经日报）") == 1
    assert similarity(text, "国务院印发促进服务消费高质量发展的意见") < 0.1
    assert len(signature(tokens(text))) == SIGNATURE_SIZE and signature(tokens("…")) == b""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("$1.2bn", "1,200 million"), ("1.2 billion", "12亿元"), ("up 12%", "12 percent higher"),
        ("0.50 percentage points", "0.5个百分点"), ("1000000 shares", "1m shares"), ("25 bps", "25bp"),
    ],
)  # fmt: skip
def test_a_figure_has_one_form(first: str, second: str) -> None:
    assert text_terms(first).numbers == text_terms(second).numbers != ()


@pytest.mark.parametrize(("first", "second"), [("12%", "12"), ("1.2bn", "1.2m"), ("up 12%", "up 13%")])
def test_other_figures_differ(first: str, second: str) -> None:
    assert text_terms(first).numbers != text_terms(second).numbers


def test_a_year_is_no_figure_and_frequent_words_are_no_terms() -> None:
    assert text_terms("in 2024").numbers == ()
    assert text_terms("after the report of what they said") == text_terms("")


def test_novelty_falls_by_a_quarter_with_each_document() -> None:
    assert [novelty(k) for k in range(9)] == [100, 75, 56, 42, 32, 24, 18, 13, 10]
    assert novelty(1000) == 0


def test_eighteen_copies_are_one_story_with_one_voice(wire: Wire) -> None:
    first = wire.send(HEADLINE)
    copies = [wire.send(f"UPDATE 1-{HEADLINE.upper()} - Wire {chr(65 + i)}", f"site {i}") for i in range(17)]
    assert (first.story, first.novelty, first.copy_of, first.is_voice) == (1, 100, None, True)
    assert {(each.story, each.copy_of, each.is_voice) for each in copies} == {(1, first.key, False)}
    assert [each.novelty for each in copies[:3]] == [75, 56, 42]
    assert [each.sequence for each in copies] == list(range(2, 19))


def test_a_copy_with_another_figure_is_none(wire: Wire) -> None:
    wire.send("Harbor Bank net profit rises 12% in third quarter as fees grow", entities=["harbor"])
    other = wire.send("Harbor Bank net profit rises 14% in third quarter as fees grow", entities=["harbor"])
    assert other.copy_of is None


def test_a_text_is_a_copy_for_a_day(wire: Wire) -> None:
    wire.send(HEADLINE)
    wire.send("Oil slips", at=COPY_WINDOW - timedelta(seconds=1))
    assert wire.send(HEADLINE, "b", COPY_WINDOW - timedelta(seconds=1)).copy_of is not None
    again = Wire(Assigner())
    again.send(HEADLINE)
    assert again.send(HEADLINE, "b", COPY_WINDOW + timedelta(seconds=1)).copy_of is None


def test_the_same_event_in_other_words_is_one_story(wire: Wire) -> None:
    one = wire.send(HEADLINE, entities=["alderbrook"], vector=direction(0))
    two = wire.send(
        "Spinach recall widens at Alderbrook", "ledger", entities=["alderbrook"], vector=direction(0)
    )
    other = wire.send("Oil slips on spinach supply", "harbor", entities=["oil"], vector=direction(1))
    assert (two.story, two.copy_of, two.is_voice) == (one.story, None, True)
    assert other.story == other.sequence == 3


def test_look_alikes_of_two_companies_are_two_stories(wire: Wire) -> None:
    one = wire.send("Dunmere Motors profit up 12%", entities=["dunmere"], vector=direction(0))
    two = wire.send("Kestrel Robotics profit up 12%", "b", entities=["kestrel"], vector=near(0))
    assert one.story != two.story


def near(number: int) -> bytes:
    """An embedding at 60 degrees from a direction."""
    vector = np.frombuffer(direction(number), np.int8).copy()
    vector[number], vector[-1] = 60, 104
    return vector.tobytes()


def test_embeddings_of_two_models_are_not_compared(wire: Wire) -> None:
    wire.send("Alderbrook recalls spinach", vector=direction(0))
    same = wire.send("Alderbrook pulls frozen greens", "b", vector=direction(0), space="n/en")
    assert same.story != 1


def test_an_origin_has_one_voice_an_hour_on_a_story(wire: Wire) -> None:
    def says(text: str, minutes: float, origin: str = "meridian") -> bool:
        at = timedelta(minutes=minutes)
        sent = wire.send(text, origin, at, entities=["northgate"], vector=direction(0))
        assert sent.story == 1
        return sent.is_voice

    assert says("Northgate Bank freezes withdrawals", 0)
    assert not says("Queues at Northgate Bank branches", 10)
    assert says("Northgate Bank: regulators meet over withdrawals", 20, "ledger")
    assert says("Rescue talks for Northgate Bank", VOICE_WINDOW / timedelta(minutes=1))


def test_novelty_is_100_again_after_a_day_of_silence(wire: Wire) -> None:
    def sent(text: str, hours: float) -> StoryAssignment:
        at = timedelta(hours=hours)
        return wire.send(text, at=at, entities=["northgate"], vector=direction(0))

    assert [sent(f"Northgate Bank statement, part {part}", 0).novelty for part in "abc"] == [100, 75, 56]
    later = sent("Northgate Bank reopens branches", 24.1)
    assert (later.story, later.novelty) == (1, 100)


def test_a_story_without_documents_for_two_days_is_over(wire: Wire) -> None:
    wire.send("Northgate Bank freezes withdrawals", entities=["northgate"], vector=direction(0))
    at = STORY_WINDOW + timedelta(minutes=1)
    assert wire.send("Northgate Bank reopens", at=at, entities=["northgate"], vector=direction(0)).story == 2


def test_a_clock_that_goes_back_does_not_bring_back_what_is_over(wire: Wire) -> None:
    wire.send(HEADLINE)
    wire.send("Oil slips", at=COPY_WINDOW + timedelta(minutes=1))
    late = wire.send(HEADLINE, "b", timedelta(hours=1))
    assert late.copy_of is None and late.seen_at == START + COPY_WINDOW + timedelta(minutes=1)


def test_the_same_documents_get_the_same_stories_again() -> None:
    def run(texts: Sequence[tuple[str, dict[str, Any]]]) -> list[StoryAssignment]:
        wire = Wire(Assigner())
        return [wire.send(text, **options) for text, options in texts]

    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(60)]
    texts = []
    for i in range(300):
        options = {
            "origin": f"o{rng.integers(9)}",
            "at": timedelta(minutes=int(i)),
            "entities": [f"e{rng.integers(5)}"],
            "vector": rng.integers(-60, 60, 8).astype(np.int8).tobytes(),
        }
        texts.append((" ".join(rng.choice(words, 8)), options))
    first = run(texts)
    assert first == run(texts)
    assert 1 < len({each.story for each in first}) < 300


def test_a_calibration_joins_as_many_pairs_as_it_must_and_keeps_others_apart() -> None:
    def document(number: int, text: str, cosine: float) -> StoryInput:
        vector = np.array([round(120 * cosine), round(120 * (1 - cosine**2) ** 0.5)], np.int8).tobytes()
        features = StoryFeatures(
            "wire", signature(tokens(core(text))), text_terms(core(text)), Embedding("m/en", vector)
        )
        return StoryInput(f"news:wire:{number}", Kind.NEWS, "wire", f"{number}", START, features)

    pairs = []
    for number in range(200):
        same = number % 2 == 0
        cosine = 0.5 + 0.002 * number if same else 0.1 + 0.001 * number
        pairs.append(Pair(document(0, "copper slips", 1), document(1, "metals ease", cosine), same))
    found = calibrate(pairs)
    assert found.joined >= 0.97 and found.kept_apart == 1
    assert 0.4 < found.weights.threshold < 0.6
