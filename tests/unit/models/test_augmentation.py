"""Meaning-preserving edits and the augmentation sets."""

import random

import pytest

from models.data.augmentation_sets import generated_sentences, written_sentences
from models.evaluation.robustness import read_pairs
from models.training.augment import EMOJI, augment, other_name
from stream.domain.documents import SENTIMENTS


def test_no_check_pair_is_in_the_augmentation_sets() -> None:
    for language in ("en", "zh"):
        training_texts = {sentence.text for sentence in generated_sentences(language, 4000, seed=1)}
        pairs = read_pairs(f"same_{language}.csv") + read_pairs(f"directions_{language}.csv")
        training_texts |= {sentence.text for sentence in written_sentences(language)}
        kinds = {row["text"] for row in read_pairs(f"kinds_{language}.csv")}
        assert not training_texts & ({pair[side] for pair in pairs for side in "ab"} | kinds)


def test_edits_vary_the_text_and_replace_names_only_within_their_industry() -> None:
    rng = random.Random(3)
    text = "Tesla $TSLA shares plunge 20.5% after $2bn loss"
    edited_texts = {augment(text, rng, rate=0.5) for _ in range(200)}
    assert len(edited_texts) > 50
    assert augment(text, rng, rate=0.0) == text
    assert any(emoji in text for text in edited_texts for emoji in EMOJI)
    assert all("$" in text or "USD" in text for text in edited_texts)
    assert {text for text in edited_texts if "Tesla" not in text}, "names are replaced"
    assert not any("Pfizer" in text for text in edited_texts), "by names of the same industry"
    assert any(amount in text for text in edited_texts for amount in ("5 percent", "2 billion", "USD 2"))


def test_a_company_is_replaced_consistently_and_only_as_a_whole_word() -> None:
    edited = other_name("Ford recalls; Ford says Fordham is unaffected", random.Random(1))
    first, second = edited.split("; ")
    name = first.removesuffix(" recalls")
    assert name != "Ford" and second == f"{name} says Fordham is unaffected"
    assert other_name("贵州茅台涨停", random.Random(1)) != "贵州茅台涨停"


def test_generated_sentences_are_distinct_balanced_and_reproducible() -> None:
    for language in ("en", "zh"):
        sentences = generated_sentences(language, 900, seed=2)
        assert sentences == generated_sentences(language, 900, seed=2)
        assert len({sentence.text for sentence in sentences}) == 900
        sentiments = [labels["sentiment"] for _, labels, _ in sentences]
        assert all(sentiments.count(sentiment) == 300 for sentiment in SENTIMENTS)
        assert len({labels["topic"] for _, labels, _ in sentences}) == 21
    with pytest.raises(ValueError, match="xx"):
        generated_sentences("xx", 10, seed=1)
