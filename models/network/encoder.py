"""BERT and RoBERTa in torch, without the package transformers.

The modules and parameters have the names, and the output the values, that transformers gives them.  Importing
transformers takes three seconds and 230 MB, which every start of the monitor would pay.  Training, export and
all other architectures still use it.
(Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa".)
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Architectures by their name in config.json, and whether they count positions from the padding id on.
MODEL_TYPES = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}
# Values of config.json that this module computes, with the default of transformers.
REQUIRED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
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
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            vectors = layer(vectors, mask)
        return SimpleNamespace(last_hidden_state=vectors)


class _Embeddings(nn.Module):
    """The sum of word, position and segment vectors, normalised; all texts are of segment 0."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        padding = config.pad_token_id if MODEL_TYPES[config.model_type] else None
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, padding_idx=padding)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.first_position = 0 if padding is None else padding + 1

    def forward(self, words: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[self.first_position :][: words.shape[1]]
        normalised: Tensor = self.LayerNorm(words + positions + self.token_type_embeddings.weight[0])
        return normalised


class _SelfAttention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (
            nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3)
        )

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            part(vectors).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
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


class _Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config)

    def forward(self, vectors: Tensor, mask: Tensor | None) -> Tensor:
        attended = self.attention(vectors, mask)
        result: Tensor = self.output(self.intermediate(attended), attended)
        return result
