"""Make an encoder smaller: keep only the word vectors and layers that are needed."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from models.errors import WeightsError


def trim_vocabulary(
    encoder: Any, tokenizer: Tokenizer, texts: Iterable[str], size: int
) -> tuple[Tokenizer, list[int]]:
    """Keep the `size` most useful pieces of the tokenizer and of the encoder's word vectors.

    First come the special tokens, then single characters that the texts use and those in ASCII, then the
    pieces that the texts use most, then the first ones of the original vocabulary, which lists common pieces
    first.  A word whose piece is removed is split into smaller pieces.  The encoder is changed in place;
    returns the new tokenizer and the kept old ids, in their new order.  Raises WeightsError for a tokenizer
    that is neither WordPiece nor Unigram.
    """
    tokenizer.no_truncation()
    spec = json.loads(tokenizer.to_str())
    kept = _most_useful_pieces(spec, _piece_counts(tokenizer, texts), size)
    _keep_pieces(spec, kept)
    _keep_rows(encoder, kept)
    encoder.config.pad_token_id = kept.index(encoder.config.pad_token_id)
    return Tokenizer.from_str(json.dumps(spec, ensure_ascii=False)), kept


def _piece_counts(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[int]:
    """How often the texts use each id."""
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(list(texts)):
        counts.update(encoding.ids)
    return counts


def _pieces(model: Mapping[str, Any]) -> list[str]:
    """The pieces of a vocabulary by id; `model` is the tokenizer file's object of that name."""
    match model["type"]:
        case "Unigram":
            return [piece for piece, _ in model["vocab"]]
        case "WordPiece":
            return sorted(model["vocab"], key=model["vocab"].get)
        case other:
            raise WeightsError(f"the vocabulary of a {other} tokenizer cannot be trimmed")


def _most_useful_pieces(spec: Mapping[str, Any], counts: Counter[int], size: int) -> list[int]:
    """The ids to keep, ascending."""
    pieces = _pieces(spec["model"])
    special = {token["content"] for token in spec["added_tokens"]}
    prefix = spec["model"].get("continuing_subword_prefix") or "▁"

    def rank(piece_id: int) -> tuple[int, int, int]:
        piece = pieces[piece_id]
        single = len(piece.removeprefix(prefix)) <= 1 and (counts[piece_id] > 0 or piece.isascii())
        return (0 if piece in special else 1 if single else 2, -counts[piece_id], piece_id)

    return sorted(sorted(range(len(pieces)), key=rank)[:size])


def _keep_pieces(spec: dict[str, Any], kept: Sequence[int]) -> None:
    """Reduce a tokenizer file to the kept ids, in place."""
    model = spec["model"]
    pieces = _pieces(model)
    new_ids = {pieces[old]: new for new, old in enumerate(kept)}
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in kept]
        model["unk_id"] = kept.index(model["unk_id"])
    else:
        model["vocab"] = new_ids
    spec["added_tokens"] = [
        token | {"id": new_ids[token["content"]]}
        for token in spec["added_tokens"]
        if token["content"] in new_ids
    ]
    processor = spec.get("post_processor") or {}
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new_ids[name] for name in token["tokens"]]
    # Other kinds of post-processor have a name and an id for each of the two tokens around a text.
    for place in {"cls", "sep"} & processor.keys():
        name, _ = processor[place]
        processor[place] = [name, new_ids[name]]


def _keep_rows(encoder: Any, kept: Sequence[int]) -> None:
    """Reduce the encoder's word vectors to the kept ids, in place."""
    old = encoder.get_input_embeddings()
    padding = kept.index(old.padding_idx) if old.padding_idx is not None else None
    new = nn.Embedding(len(kept), old.embedding_dim, padding_idx=padding)
    with torch.no_grad():
        new.weight.copy_(old.weight[torch.tensor(kept)])
    encoder.set_input_embeddings(new)
    encoder.config.vocab_size = len(kept)


def drop_layers(encoder: Any, keep: int) -> list[int]:
    """Keep `keep` layers of the encoder, evenly spaced and always the last; returns their numbers from 0.

    Raises WeightsError if the encoder has fewer layers.
    """
    layers = encoder.encoder.layer
    if not 0 < keep <= len(layers):
        raise WeightsError(f"the encoder has {len(layers)} layers; {keep} of them cannot be kept")
    step = len(layers) / keep
    kept = [round((i + 1) * step) - 1 for i in range(keep)]
    encoder.encoder.layer = nn.ModuleList(layers[i] for i in kept)
    encoder.config.num_hidden_layers = keep
    return kept
