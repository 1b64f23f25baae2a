"""The encoder over packed texts: several texts share a row of tokens, so that next to no token is padding.

A batch of texts of unequal length is laid into rows of one width, as many as fit into each; every matrix
product then has one of a few shapes, whatever the texts.  Attention runs within a row, and a mask keeps
the texts of a row apart.  The numbers are the encoder's own: same weights, same steps.
(Packing: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination".)
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# A new shape of a matrix product costs the CPU's library ten milliseconds of preparation: few shapes.
ROW_WIDTHS = (64, 128, 256, 512)
STEPS = sorted({base << shift for shift in range(15) for base in range(8, 16)} | set(range(1, 8)))
KNOWN = ("BertModel", "RobertaModel", "XLMRobertaModel")


def step_up(count: int) -> int:
    """The next of the few sizes that are used, at most an eighth more than `count`."""
    return STEPS[bisect_left(STEPS, count)]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each text's tokens stand: `starts` [texts] in `rows` rows of `width` tokens laid end to end."""

    starts: list[int]
    rows: int
    width: int


def lay_out(lengths: Sequence[int], longest: int) -> Layout:
    """First fit, the longest text first.  Raises ValueError where a text is longer than `longest`."""
    most = max(lengths, default=1)
    if most > longest:
        raise ValueError(f"a text of {most} tokens does not fit into rows of {longest}")
    width = min(longest, next((width for width in ROW_WIDTHS if width >= most), longest))
    starts, rows = [0] * len(lengths), 0
    with_room: list[list[int]] = [[] for _ in range(width + 1)]
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        length = lengths[text]
        room = next((room for room in range(length, width) if with_room[room]), width)
        if room == width:
            row, rows = rows, rows + 1
        else:
            row = with_room[room].pop()
        starts[text] = row * width + width - room
        with_room[room - length].append(row)
    return Layout(starts, rows, width)


class PackedEncoder(nn.Module):
    """Stands where a BERT-like encoder stands, for the same call.  For inference alone.

    Takes `input_ids` and `attention_mask` [texts, tokens] on the CPU; each text's tokens come first, and a
    text may have none.  Answers with `last_hidden_state` [places, width] and `at` [texts, tokens], the place
    of each token and any where no token was, both on the encoder's device.
    """

    def __init__(self, encoder: Any, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        config, tables = encoder.config, encoder.embeddings
        self.heads = config.num_attention_heads
        self.device, self.dtype = device, dtype
        # RoBERTa counts positions from the one after its padding token.
        first = getattr(tables.position_embeddings, "padding_idx", None)
        self.first = 0 if first is None else first + 1
        self.longest = config.max_position_embeddings - self.first

        def own(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, dtype)

        self.words = own(tables.word_embeddings.weight)
        positions = tables.position_embeddings.weight + tables.token_type_embeddings.weight[0]
        self.positions = own(positions[self.first :])
        self.norm = _norm(tables.LayerNorm, own)
        self.layers = [_Layer(layer, self.heads, own) for layer in encoder.encoder.layer]

    @staticmethod
    def knows(encoder: nn.Module) -> bool:
        """Whether it is of an architecture whose steps are those below."""
        config: Any = encoder.config
        return (
            type(encoder).__name__ in KNOWN
            and getattr(config, "position_embedding_type", "absolute") == "absolute"
            and not config.is_decoder
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        lengths = attention_mask.sum(dim=1).tolist()
        layout = lay_out(lengths, self.longest)
        rows = step_up(max(layout.rows, 1))
        inside = attention_mask.bool().numpy()
        texts, at = np.nonzero(inside)
        places = np.asarray(layout.starts)[texts] + at
        ids, positions = (np.zeros(rows * layout.width, np.int64) for _ in range(2))
        # Each token of the filling is a text of its own, so that none has an empty row of the mask.
        owner = -1 - np.arange(rows * layout.width)
        ids[places], positions[places], owner[places] = input_ids.numpy()[inside], at, texts
        at_place = np.zeros(inside.shape, np.int64)
        at_place[inside] = places
        vectors = self._run(*(self._sent(array) for array in (ids, positions, owner.reshape(rows, -1))))
        return SimpleNamespace(last_hidden_state=vectors, at=self._sent(at_place))

    def _sent(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def _run(self, ids: Tensor, positions: Tensor, owner: Tensor) -> Tensor:
        """ids and positions [rows x width], owner [rows, width]; returns vectors [rows x width, hidden]."""
        apart = (owner.unsqueeze(2) != owner.unsqueeze(1)).unsqueeze(1)
        mask = apart.to(self.dtype).mul_(torch.finfo(self.dtype).min)
        vectors = self.norm(
            functional.embedding(ids, self.words) + functional.embedding(positions, self.positions)
        )
        for layer in self.layers:
            vectors = layer(vectors, mask)
        return vectors


class _Layer:
    """One encoder layer after Vaswani et al. 2017, with the norms after the sums, as in BERT."""

    def __init__(self, layer: Any, heads: int, own: Callable[[Tensor], Tensor]) -> None:
        attention = layer.attention.self
        self.heads = heads
        three = (attention.query, attention.key, attention.value)
        self.project = Product(
            own(torch.cat([part.weight for part in three])), own(torch.cat([part.bias for part in three]))
        )
        self.gather, self.norm = _output(layer.attention.output, own)
        self.widen = Product(own(layer.intermediate.dense.weight), own(layer.intermediate.dense.bias))
        self.activate = layer.intermediate.intermediate_act_fn
        self.gelu = _is_gelu(self.activate)
        self.narrow, self.last_norm = _output(layer.output, own)

    def __call__(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """vectors [rows x width, hidden]; mask [rows, 1, width, width], 0 within a text, else very low."""
        context = _attend(self.project(vectors), mask, self.heads)
        vectors = self.norm(self.gather.added(context, vectors))
        wide = self.widen.with_gelu(vectors) if self.gelu else self.activate(self.widen(vectors))
        return self.last_norm(self.narrow.added(wide, vectors))


def _attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention within rows from queries, keys and values [rows x width, 3 x hidden]."""
    rows, width = mask.shape[0], mask.shape[2]
    query, key, value = projected.view(rows, width, 3, heads, -1).permute(2, 0, 3, 1, 4)
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).reshape(rows * width, -1)


class Product:
    """x W' + b, on the CPU with the matrix laid out once as its library wants it."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.laid_out = _can_lay_out(weight)
        if self.laid_out:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1024)

    def __call__(self, vectors: Tensor) -> Tensor:
        if self.laid_out:
            return self._then(vectors, "none", "")
        return functional.linear(vectors, self.weight, self.bias)

    def with_gelu(self, vectors: Tensor) -> Tensor:
        """GELU of the product, in one pass."""
        if self.laid_out:
            return self._then(vectors, "gelu", "none")
        return torch.ops.aten.gelu_(functional.linear(vectors, self.weight, self.bias))  # type: ignore[no-any-return]

    def _then(self, vectors: Tensor, activation: str, how: str) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            vectors, self.weight, self.bias, activation, [], how
        )
        return result

    def added(self, vectors: Tensor, to: Tensor) -> Tensor:
        """The product and `to` in one pass."""
        if self.laid_out:
            result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                vectors, to, self.weight, self.bias, "add"
            )
            return result
        return functional.linear(vectors, self.weight, self.bias).add_(to)


def _can_lay_out(weight: Tensor) -> bool:
    """These operators are torch's own, made for its compiler: without them the plain product serves."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def _output(module: Any, own: Callable[[Tensor], Tensor]) -> tuple[Product, Callable[[Tensor], Tensor]]:
    return Product(own(module.dense.weight), own(module.dense.bias)), _norm(module.LayerNorm, own)


def _norm(norm: nn.LayerNorm, own: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    weight, bias, shape, eps = own(norm.weight), own(norm.bias), norm.normalized_shape, norm.eps
    return lambda vectors: functional.layer_norm(vectors, shape, weight, bias, eps)


def _is_gelu(activation: Any) -> bool:
    """Whether it is GELU as BERT has it, without an approximation."""
    return type(activation).__name__ == "GELUActivation" and activation.act is functional.gelu
