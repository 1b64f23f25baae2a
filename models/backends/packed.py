"""The encoder over packed texts: several texts share a row of tokens, so that next to no token is padding.

A batch of texts of unequal length is laid into rows of one width, as many as fit into each; every matrix
product then has one of a few shapes, whatever the texts.  Attention runs within a row, and a mask keeps
the texts of a row apart.  Where the device has kernels for texts of unequal length (FlashAttention) they lie
end to end without rows.  The numbers are the encoder's own: same weights, same steps.
(Packing: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination"; Dao 2023,
"FlashAttention-2".)
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

# A new shape of a matrix product costs the CPU's library ten milliseconds of preparation: few shapes.
ROW_WIDTHS = (64, 128, 256, 512)
STEPS = sorted({base << shift for shift in range(15) for base in range(8, 16)} | set(range(1, 8)))
# From queries, keys and values [places, 3 x hidden] the context [places, hidden].
Attend = Callable[[Tensor], Tensor]
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


def end_to_end(lengths: Sequence[int]) -> Layout:
    """One row of all texts, and of one place where there is no token."""
    starts = [0, *itertools.accumulate(lengths)]
    return Layout(starts[:-1], 1, max(starts[-1], 1))


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
        self.without_rows = _can_attend_unpadded(device, dtype)

        def own(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, dtype)

        self.words = own(tables.word_embeddings.weight)
        self.positions = own(self.positions_of(tables))
        self.longest = len(self.positions)
        self.norm = _norm(tables.LayerNorm, own)
        self.layers = [_Layer(layer, own) for layer in encoder.encoder.layer]

    @staticmethod
    def positions_of(tables: Any) -> Tensor:
        """What a token's place in its text adds to it, with what the only segment does [places, hidden]."""
        # RoBERTa counts positions from the one after its padding token.
        padding = getattr(tables.position_embeddings, "padding_idx", None)
        first = 0 if padding is None else padding + 1
        added: Tensor = tables.position_embeddings.weight + tables.token_type_embeddings.weight[0]
        return added[first:]

    @staticmethod
    def supports(encoder: nn.Module) -> bool:
        """Whether it is of an architecture whose steps are those below."""
        config: Any = encoder.config
        return (
            type(encoder).__name__ in KNOWN
            and getattr(config, "position_embedding_type", "absolute") == "absolute"
            and not config.is_decoder
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        lengths = attention_mask.sum(dim=1).tolist()
        layout = end_to_end(lengths) if self.without_rows else lay_out(lengths, self.longest)
        size = step_up(layout.rows) * layout.width
        inside = attention_mask.bool().numpy()
        texts, at = np.nonzero(inside)
        places = np.asarray(layout.starts)[texts] + at
        ids, positions = (np.zeros(size, np.int64) for _ in range(2))
        ids[places], positions[places] = input_ids.numpy()[inside], at
        if self.without_rows:
            attend = self._within_bounds([*layout.starts, size])
        else:
            # Each token of the filling is a text of its own, so that none has an empty row of the mask.
            owner = -1 - np.arange(size)
            owner[places] = texts
            attend = self._within_rows(owner.reshape(-1, layout.width))
        at_place = np.zeros(inside.shape, np.int64)
        at_place[inside] = places
        vectors = self._run(self._sent(ids), self._sent(positions), attend)
        return SimpleNamespace(last_hidden_state=vectors, at=self._sent(at_place))

    def _within_rows(self, owner: np.ndarray) -> Attend:
        """owner [rows, width]: which text each token is of."""
        owners = self._sent(owner)
        apart = (owners.unsqueeze(2) != owners.unsqueeze(1)).unsqueeze(1)
        mask = apart.to(self.dtype).mul_(torch.finfo(self.dtype).min)
        return lambda projected: _attend(projected, mask, self.heads)

    def _within_bounds(self, bounds: Sequence[int]) -> Attend:
        """bounds [texts + 1]: where the texts begin and the last one ends."""
        ends = np.asarray(bounds, np.int32)
        bounds_there, most = self._sent(ends), int(np.diff(ends).max())
        return lambda projected: _attend_unpadded(projected, bounds_there, most, self.heads)

    def _sent(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def _run(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """ids and positions [places]; returns vectors [places, hidden]."""
        vectors = self.norm(
            functional.embedding(ids, self.words) + functional.embedding(positions, self.positions)
        )
        for layer in self.layers:
            vectors = layer(vectors, attend)
        return vectors


class _Layer:
    """One encoder layer after Vaswani et al. 2017, with the norms after the sums, as in BERT."""

    def __init__(self, layer: Any, own: Callable[[Tensor], Tensor]) -> None:
        self.project = Product(*map(own, projection(layer.attention.self)))
        self.gather, self.norm = _output(layer.attention.output, own)
        self.widen = Product(own(layer.intermediate.dense.weight), own(layer.intermediate.dense.bias))
        self.activate = layer.intermediate.intermediate_act_fn
        self.gelu = is_gelu(self.activate)
        self.narrow, self.last_norm = _output(layer.output, own)

    def __call__(self, vectors: Tensor, attend: Attend) -> Tensor:
        """vectors [places, hidden]."""
        vectors = self.norm(self.gather.added(attend(self.project(vectors)), vectors))
        wide = self.widen.with_gelu(vectors) if self.gelu else self.activate(self.widen(vectors))
        return self.last_norm(self.narrow.added(wide, vectors))


def _attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention within rows from queries, keys and values [rows x width, 3 x hidden].

    mask [rows, 1, width, width] is 0 within a text, else very low.
    """
    rows, width = mask.shape[0], mask.shape[2]
    query, key, value = projected.view(rows, width, 3, heads, -1).permute(2, 0, 3, 1, 4)
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).reshape(rows * width, -1)


def _attend_unpadded(projected: Tensor, bounds: Tensor, most: int, heads: int) -> Tensor:
    """Attention within texts end to end, from queries, keys and values [places, 3 x hidden].

    bounds int32 [texts + 1] are where they begin and end, `most` the tokens of the longest.
    """
    query, key, value = projected.view(projected.shape[0], 3, heads, -1).unbind(1)
    context: Any = varlen_attn(query, key, value, bounds, bounds, most, most)
    unpadded: Tensor = context.reshape(projected.shape[0], -1)
    return unpadded


def _can_attend_unpadded(device: torch.device, dtype: torch.dtype) -> bool:
    """FlashAttention's kernels are for GPUs since Ampere and for numbers of 16 bits."""
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


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


def projection(attention: Any) -> tuple[Tensor, Tensor]:
    """Weight [3 x hidden, hidden] and bias of queries, keys and values in one product."""
    three = (attention.query, attention.key, attention.value)
    return torch.cat([part.weight for part in three]), torch.cat([part.bias for part in three])


def _output(module: Any, own: Callable[[Tensor], Tensor]) -> tuple[Product, Callable[[Tensor], Tensor]]:
    return Product(own(module.dense.weight), own(module.dense.bias)), _norm(module.LayerNorm, own)


def _norm(norm: nn.LayerNorm, own: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    weight, bias, shape, eps = own(norm.weight), own(norm.bias), norm.normalized_shape, norm.eps
    return lambda vectors: functional.layer_norm(vectors, shape, weight, bias, eps)


def is_gelu(activation: Any) -> bool:
    """Whether it is GELU as BERT has it, without an approximation."""
    return type(activation).__name__ == "GELUActivation" and activation.act is functional.gelu
