"""BERT, RoBERTa and MPNet in torch, without the package transformers.

The modules and parameters have the names, and the output the values, that transformers gives them.  Importing
transformers takes three seconds and 230 MB, which every start of the monitor would pay.  Training, export and
all other architectures still use it.
(Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa"; Song et al. 2020, "MPNet".)
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MPNET = "mpnet"
# Architectures by their name in config.json, and whether they count positions from the padding id on.
MODEL_TYPES = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True, MPNET: True}
# The kinds of distance that MPNet's bias tells apart.  transformers has no other number, whatever config.json
# says.
BUCKETS = 32
# Distances between tokens from this one on share a value of that bias.
MAX_DISTANCE = 128
# The padding id of MPNet's positions, whatever config.json says.
MPNET_PADDING = 1
# Values of config.json that this module computes, with the default of transformers.
REQUIRED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "relative_attention_num_buckets": BUCKETS,
}


@contextmanager
def without_values() -> Iterator[None]:
    """Build modules whose parameters have no values yet, and take no memory."""
    with torch.device("meta"), _WithoutInitialisation():
        yield


class _WithoutInitialisation(TorchFunctionMode):
    """Skips the functions of torch.nn.init: on the device "meta" they would load torch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return None
        return func(*args, **(kwargs or {}))


class BertLikeEncoder(nn.Module):
    """An encoder for inference: without dropout."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        if config.model_type == MPNET:
            self.encoder.relative_attention_bias = nn.Embedding(
                config.relative_attention_num_buckets, config.num_attention_heads
            )

    @classmethod
    def from_folder(cls, folder: Path) -> Self | None:
        """An encoder without values, on the device "meta"; None if this class does not compute it.

        Raises OSError, ValueError or KeyError for a config.json that cannot be used.
        """
        fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if fields["model_type"] not in MODEL_TYPES:
            return None
        if any(fields.get(name, default) != default for name, default in REQUIRED.items()):
            return None
        with without_values():
            return cls(SimpleNamespace(**REQUIRED | fields))

    def get_input_embeddings(self) -> nn.Module:
        words: nn.Module = self.embeddings.word_embeddings
        return words

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Any:
        """`last_hidden_state` [texts, tokens, hidden]; the padding of a text is at its end."""
        words = self.embeddings.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        vectors = self.embeddings(words)
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        bias = position_bias(self, words.shape[1])
        if bias is not None:
            matrices = bias_matrices(bias, words.shape[1])
            mask = matrices if mask is None else matrices.masked_fill(~mask, torch.finfo(words.dtype).min)
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            vectors = layer(vectors, mask)
        return SimpleNamespace(last_hidden_state=vectors)


def position_bias(encoder: Any, tokens: int) -> Tensor | None:
    """What attention adds to its scores: [heads, 2 tokens - 1], for the distances from 1 - tokens on.

    None if the encoder adds nothing.  The distance is the position of the key minus that of the query.  All
    layers add the same.  `encoder` is ours or one of transformers.
    (Raffel et al. 2020, "T5": each direction has buckets of its own, and far ones are wider.)
    """
    table = getattr(encoder.encoder, "relative_attention_bias", None)
    if table is None:
        return None
    bias: Tensor = table.weight[_buckets(tokens).to(table.weight.device)].T
    return bias


def bias_matrices(bias: Tensor, tokens: int) -> Tensor:
    """`position_bias` of so many tokens, or of more, by query and key: [heads, tokens, tokens]."""
    more = bias.shape[1] // 2 + 1 - tokens
    # The row of query i starts with the distance 0 - i.
    return bias[:, more : bias.shape[1] - more].unfold(1, tokens, 1).flip(1)


def _buckets(tokens: int) -> Tensor:
    """The bucket of each distance from 1 - tokens to tokens - 1."""
    distances = torch.arange(1 - tokens, tokens, device="cpu")
    per_direction = BUCKETS // 2
    exact = per_direction // 2
    far = distances.abs()
    # In float32 and in this order, like transformers: no rounding error must move the border of a bucket.
    logarithm = torch.log(far.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    wide = exact + (logarithm * (per_direction - exact)).long()
    return (distances > 0) * per_direction + torch.where(far < exact, far, wide.clamp(max=per_direction - 1))


class AttentionParts(NamedTuple):
    """The linear layers of a layer's attention, and the norm after it."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    norm: nn.LayerNorm


def attention_parts(layer: Any) -> AttentionParts:
    """Those of a layer of BERT, RoBERTa or MPNet, ours or of transformers."""
    attention = layer.attention
    if hasattr(attention, "attn"):
        own = attention.attn
        return AttentionParts(own.q, own.k, own.v, own.o, attention.LayerNorm)
    own, output = attention.self, attention.output
    return AttentionParts(own.query, own.key, own.value, output.dense, output.LayerNorm)


class _Embeddings(nn.Module):
    """The sum of word, position and segment vectors, normalised; all texts are of segment 0.

    MPNet has no segments.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        padding = _position_padding(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, padding_idx=padding)
        if config.model_type != MPNET:
            self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, words: Tensor) -> Tensor:
        normalised: Tensor = self.LayerNorm(words + position_vectors(self, words.shape[1]))
        return normalised


def position_vectors(embeddings: Any, count: int | None = None) -> Tensor:
    """What is added to word vectors [positions, hidden]: position and segment embeddings.

    All texts are of segment 0.  `embeddings` is ours or that of a class of transformers.  `count` limits the
    positions; None takes all.
    """
    # RoBERTa counts positions from the id after its padding token.
    padding = embeddings.position_embeddings.padding_idx
    vectors: Tensor = embeddings.position_embeddings.weight[0 if padding is None else padding + 1 :][:count]
    segments = getattr(embeddings, "token_type_embeddings", None)
    return vectors if segments is None else vectors + segments.weight[0]


def _position_padding(config: Any) -> int | None:
    """The id of padding among the positions; the first position follows it.  None: positions start at 0."""
    if config.model_type == MPNET:
        return MPNET_PADDING
    return config.pad_token_id if MODEL_TYPES[config.model_type] else None


class _SelfAttention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3)
        )

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        return _attend(vectors, (self.query, self.key, self.value), self.heads, mask)


class _MPNetSelfAttention(nn.Module):
    """The same under MPNet's names, with the projection of the output."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.q, self.k, self.v, self.o = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(4))

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        projected: Tensor = self.o(_attend(vectors, (self.q, self.k, self.v), self.heads, mask))
        return projected


def _attend(vectors: Tensor, projections: Sequence[nn.Module], heads: int, mask: Tensor | None) -> Tensor:
    """Attention over the projections to queries, keys and values."""
    query, key, value = (part(vectors).unflatten(-1, (heads, -1)).transpose(1, 2) for part in projections)
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).flatten(2)


class _Output(nn.Module):
    """A projection, added to the input of the block and normalised."""

    def __init__(self, inputs: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, vectors: Tensor, residual: Tensor) -> Tensor:
        normalised: Tensor = self.LayerNorm(self.dense(vectors) + residual)
        return normalised


class _Intermediate(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = functional.gelu

    def forward(self, vectors: Tensor) -> Tensor:
        return self.intermediate_act_fn(self.dense(vectors))


class _Attention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.hidden_size, config)

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        attended: Tensor = self.output(self.self(vectors, mask), vectors)
        return attended


class _MPNetAttention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attn = _MPNetSelfAttention(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        attended: Tensor = self.LayerNorm(self.attn(vectors, mask) + vectors)
        return attended


class _Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        is_mpnet = config.model_type == MPNET
        self.attention = _MPNetAttention(config) if is_mpnet else _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config)

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        attended = self.attention(vectors, mask)
        result: Tensor = self.output(self.intermediate(attended), attended)
        return result
