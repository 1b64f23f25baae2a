"""Make an encoder smaller: keep only the word vectors and layers that are needed."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from models.errors import WeightsError


def trim_vocabulary(
    encoder: Any, tokenizer: Tokenizer, texts: Iterable[str], size: int
) -> tuple[Tokenizer, list[int]]:
    """Keep the `size` most useful pieces of the tokenizer and of the encoder's word vectors.

    Kept are special tokens, single letters, digits and signs that the texts use, then the pieces the
    texts use most, then the first of the original vocabulary, which lists the common ones first.  What
    is left out is spelled with smaller pieces.  The encoder is changed in place; returns the new
    tokenizer and the kept old ids, in their new order.
    """
    tokenizer.no_truncation()
    used: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(list(texts)):
        used.update(encoding.ids)
    spec = json.loads(tokenizer.to_str())
    model = spec["model"]
    if model["type"] not in ("WordPiece", "Unigram"):
        raise WeightsError(f"the vocabulary of a {model['type']} tokenizer cannot be trimmed")
    unigram = model["type"] == "Unigram"
    pieces = (
        [piece for piece, _ in model["vocab"]] if unigram else sorted(model["vocab"], key=model["vocab"].get)
    )
    special = {token["content"] for token in spec["added_tokens"]}
    prefix = model.get("continuing_subword_prefix") or "▁"

    def rank(old: int) -> tuple[int, int, int]:
        piece = pieces[old]
        single = len(piece.removeprefix(prefix)) <= 1 and (used[old] > 0 or piece.isascii())
        return (0 if piece in special else 1 if single else 2, -used[old], old)

    kept = sorted(sorted(range(len(pieces)), key=rank)[:size])
    if unigram:
        model["vocab"] = [model["vocab"][old] for old in kept]
        model["unk_id"] = kept.index(model["unk_id"])
    else:
        model["vocab"] = {pieces[old]: new for new, old in enumerate(kept)}
    place = {pieces[old]: new for new, old in enumerate(kept)}
    spec["added_tokens"] = [token | {"id": place[token["content"]]} for token in spec["added_tokens"]
                            if token["content"] in place]  # fmt: skip
    for token in (spec.get("post_processor") or {}).get("special_tokens", {}).values():
        token["ids"] = [place[name] for name in token["tokens"]]
    _keep_rows(encoder, kept)
    encoder.config.pad_token_id = kept.index(encoder.config.pad_token_id)
    return Tokenizer.from_str(json.dumps(spec, ensure_ascii=False)), kept


def _keep_rows(encoder: Any, kept: Sequence[int]) -> None:
    old = encoder.get_input_embeddings()
    padding = kept.index(old.padding_idx) if old.padding_idx is not None else None
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=padding)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(kept)])
    encoder.set_input_embeddings(new)
    encoder.config.vocab_size = len(kept)


def drop_layers(encoder: Any, keep: int) -> list[int]:
    """Keep `keep` layers of the encoder, spread evenly, the last always; returns which (from 0)."""
    layers = encoder.encoder.layer
    if not 0 < keep <= len(layers):
        raise WeightsError(f"the encoder has {len(layers)} layers; {keep} of them cannot be kept")
    step = len(layers) / keep
    kept = [round((i + 1) * step) - 1 for i in range(keep)]
    encoder.encoder.layer = nn.ModuleList(layers[i] for i in kept)
    encoder.config.num_hidden_layers = keep
    return kept
