"""Trimming the vocabulary and the layers of an encoder."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import RobertaProcessing
from transformers import BertConfig, BertModel

from models.errors import WeightsError
from models.settings import SHIPPED_WEIGHTS
from models.training.trimming import drop_layers, trim_vocabulary

TEXTS = ["Profit rises 20% at the bank", "公司股价暴跌，投资者损失惨重"]


def make_encoder(vocabulary: int, padding: int = 0) -> Any:
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        num_hidden_layers=6,
        num_attention_heads=1,
        intermediate_size=8,
        pad_token_id=padding,
    )
    return BertModel(config).eval()


@pytest.mark.parametrize("part", ["en", "zh"], ids=["WordPiece", "Unigram"])
def test_texts_in_the_kept_vocabulary_get_the_same_pieces_and_word_vectors(part: str) -> None:
    file = str(SHIPPED_WEIGHTS / part / "tokenizer.json")
    original = Tokenizer.from_file(file)
    size = original.get_vocab_size()
    encoder = make_encoder(size)
    old_vectors = encoder.get_input_embeddings().weight.detach().clone()
    trimmed, kept = trim_vocabulary(encoder, Tokenizer.from_file(file), TEXTS, size // 2)
    assert len(kept) == trimmed.get_vocab_size() == encoder.config.vocab_size == size // 2
    assert kept == sorted(kept)
    new_vectors = encoder.get_input_embeddings().weight
    for text in TEXTS:
        before, after = original.encode(text), trimmed.encode(text)
        assert after.tokens == before.tokens
        assert torch.equal(new_vectors[after.ids], old_vectors[before.ids])


def test_the_special_tokens_of_every_kind_of_post_processor_keep_their_places() -> None:
    vocabulary = {"<unused>": 0, "rises": 1, "[UNK]": 2, "</s>": 3, "profit": 4, "<s>": 5}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(["[UNK]", "</s>", "<s>"])
    tokenizer.post_processor = RobertaProcessing(("</s>", 3), ("<s>", 5))
    trimmed, kept = trim_vocabulary(make_encoder(6, padding=3), tokenizer, ["profit"], 4)
    assert kept == [2, 3, 4, 5]
    assert trimmed.encode("profit").tokens == ["<s>", "profit", "</s>"]
    assert trimmed.encode("profit").ids == [3, 2, 1]


def test_the_vocabulary_of_another_kind_of_tokenizer_is_an_error() -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "profit": 1}, unk_token="[UNK]"))
    with pytest.raises(WeightsError, match="the vocabulary of a WordLevel tokenizer cannot be trimmed"):
        trim_vocabulary(make_encoder(2), tokenizer, ["profit"], 1)


def test_kept_layers_are_evenly_spaced_and_include_the_last() -> None:
    encoder = make_encoder(10)
    layers = list(encoder.encoder.layer)
    assert drop_layers(encoder, 3) == [1, 3, 5]
    assert list(encoder.encoder.layer) == [layers[1], layers[3], layers[5]]
    assert encoder.config.num_hidden_layers == 3
    with pytest.raises(WeightsError, match="the encoder has 3 layers; 4 of them cannot be kept"):
        drop_layers(encoder, 4)
