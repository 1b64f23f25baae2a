"""Normalisation of texts before the tokenizer."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from models.inference.engine import Engine
from models.inference.normalize import for_plain_texts, is_plain, normal_form


def test_links_are_removed_case_and_width_are_folded_and_emoji_are_words() -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "ai": 1, "rocket": 2, "moon": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.normalizer = normal_form(tokenizer)
    encoding = tokenizer.encode("ＡＩ🚀🚀 MOON\U0001f3fd https://t.example/x?y=1")
    assert encoding.tokens == ["ai", "rocket", "rocket", "moon"]
    assert encoding.offsets[1] == (2, 3)


@given(st.text(st.characters(codec="ascii"), max_size=60).filter(is_plain))
@example("AT&T's $T  Falls\t20.5%\r\n(-3) <b>\x00\x7f[SEP] co-op ``quoted''")
def test_the_short_normaliser_gives_plain_texts_the_same_tokens(engine: Engine, text: str) -> None:
    tokenizer = engine.tokenizer.part("en").network.tokenizer
    expected, encoding = tokenizer.encode(text), for_plain_texts(tokenizer).encode(text)
    assert encoding.ids == expected.ids
    assert (encoding.offsets, encoding.word_ids) == (expected.offsets, expected.word_ids)


@pytest.mark.parametrize("text", ["see https://t.example", "Shares \U0001f680", "ＡＩ stocks", "café"])
def test_texts_with_links_emoji_wide_or_accented_letters_are_not_plain(text: str) -> None:
    assert not is_plain(text)
