"""The encoder over packed texts: several texts share a row of tokens, so that hardly any token is padding.

The texts of a batch are placed into rows of one width, as many as fit into each row.  So every matrix
product has one of a few shapes.  Attention runs within a row, and a mask keeps the texts of a row apart. If
the device has kernels for texts of unequal length (FlashAttention), the texts are concatenated without
rows.  Weights and steps are those of the original encoder.
(Packing: Krell et al. 2021, "Efficient Sequence
Packing without Cross-contamination"; Dao 2023, "FlashAttention-2".)
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.encoder import (
    AttentionParts,
    attention_parts,
    bias_matrices,
    position_bias,
    position_vectors,
)

# Few widths: for each new shape of a matrix product the CPU's library prepares for ten milliseconds.
ROW_WIDTHS = (64, 128, 256, 512)
# Numbers of rows: few, for the same reason.
ROW_COUNTS = sorted({base << shift for shift in range(15) for base in range(8, 16)} | set(range(1, 8)))
# From queries, keys and values [slots, 3 x hidden] the context [slots, hidden].
Attend = Callable[[Tensor], Tensor]
SUPPORTED = ("BertLikeEncoder", "BertModel", "RobertaModel", "XLMRobertaModel", "MPNetModel")


def round_up(count: int) -> int:
    """The smallest of ROW_COUNTS that is at least `count`; it is at most an eighth more."""
    return ROW_COUNTS[bisect_left(ROW_COUNTS, count)]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where texts are in a packed batch of `rows` rows of `width` slots.

    `starts` [texts] is the slot of each text's first token, counted over the concatenated rows.
    """

    starts: list[int]
    rows: int
    width: int


def concatenate(lengths: Sequence[int]) -> Layout:
    """One row with all texts; it has one slot if there is no token."""
    starts = [0, *itertools.accumulate(lengths)]
    return Layout(starts[:-1], 1, max(starts[-1], 1))


def pack_rows(lengths: Sequence[int], max_width: int) -> Layout:
    """Best fit, the longest text first.  Raises ValueError if a text is longer than `max_width`."""
    longest = max(lengths, default=1)
    if longest > max_width:
        raise ValueError(f"a text of {longest} tokens does not fit into rows of {max_width}")
    width = min(max_width, next((width for width in ROW_WIDTHS if width >= longest), max_width))
    starts, rows = [0] * len(lengths), 0
    # The rows by the number of slots that are free.
    rows_by_room: list[list[int]] = [[] for _ in range(width + 1)]
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        length = lengths[text]
        room = next((room for room in range(length, width) if rows_by_room[room]), width)
        if room == width:
            row, rows = rows, rows + 1
        else:
            row = rows_by_room[room].pop()
        starts[text] = row * width + width - room
        rows_by_room[room - length].append(row)
    return Layout(starts, rows, width)


@dataclass(frozen=True, slots=True)
class PackedOutput:
    """Token vectors of a packed batch, on the encoder's device.

    `last_hidden_state` is [slots, hidden].  `slots` int64 [texts, tokens] is the slot of each token; it is
    arbitrary for padding.  `scores` are the pooling scores [slots] of tasks, if the encoder computes them.
    """

    last_hidden_state: Tensor
    slots: Tensor
    scores: Mapping[str, Tensor] = field(default_factory=dict)


class PackedEncoder(nn.Module):
    """Replaces a BERT-like encoder: the same call.  For inference only.

    Takes `input_ids` and `attention_mask` [texts, tokens] on the CPU.  The padding of a text is at its end; a
    text may have no tokens.
    """

    def __init__(self, encoder: Any, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        config, tables = encoder.config, encoder.embeddings
        self.heads = config.num_attention_heads
        self.device, self.dtype = device, dtype

        def convert(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, dtype)

        self.words = convert(tables.word_embeddings.weight)
        self.positions = convert(position_vectors(tables))
        self.longest = len(self.positions)
        bias = position_bias(encoder, self.longest)
        self.bias = None if bias is None else convert(bias)
        # The kernels for texts of unequal length add no bias to the scores.
        self.concatenates = bias is None and _can_attend_unpadded(device, dtype)
        self.norm = _norm(tables.LayerNorm, convert)
        self.layers = [_PackedLayer(layer, convert) for layer in encoder.encoder.layer]

    @staticmethod
    def supports(encoder: nn.Module) -> bool:
        """Whether the architecture of the encoder is one that this class computes."""
        config: Any = encoder.config
        return (
            type(encoder).__name__ in SUPPORTED
            and getattr(config, "position_embedding_type", "absolute") == "absolute"
            and not getattr(config, "is_decoder", False)
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> PackedOutput:
        lengths = attention_mask.sum(dim=1).tolist()
        layout = concatenate(lengths) if self.concatenates else pack_rows(lengths, self.longest)
        size = round_up(layout.rows) * layout.width
        is_token = attention_mask.bool().numpy()
        texts, positions_in_text = np.nonzero(is_token)
        slots = np.asarray(layout.starts)[texts] + positions_in_text
        ids, positions = (np.zeros(size, np.int64) for _ in range(2))
        ids[slots], positions[slots] = input_ids.numpy()[is_token], positions_in_text
        if self.concatenates:
            attend = self._attention_within_bounds([*layout.starts, size])
        else:
            # Each padding slot is a text of its own, so that no row of the mask is empty.
            owner = -1 - np.arange(size)
            owner[slots] = texts
            attend = self._attention_within_rows(owner.reshape(-1, layout.width))
        slot_of_token = np.zeros(is_token.shape, np.int64)
        slot_of_token[is_token] = slots
        vectors = self.encode(self._to_device(ids), self._to_device(positions), attend)
        return PackedOutput(vectors, self._to_device(slot_of_token))

    def _attention_within_rows(self, owner: np.ndarray) -> Attend:
        """owner [rows, width] is the text of each slot."""
        owners = self._to_device(owner)
        different = (owners.unsqueeze(2) != owners.unsqueeze(1)).unsqueeze(1)
        mask = different.to(self.dtype).mul_(torch.finfo(self.dtype).min)
        if self.bias is not None:
            # The tokens of a text are side by side, so their distance is that of their slots.
            lowest = torch.finfo(self.dtype).min
            mask = bias_matrices(self.bias, owner.shape[1]).masked_fill(different, lowest)
        return lambda projected: _attend(projected, mask, self.heads)

    def _attention_within_bounds(self, bounds: Sequence[int]) -> Attend:
        """bounds [texts + 1] are the slots where the texts start, and where the last one ends."""
        array = np.asarray(bounds, np.int32)
        tensor, longest = self._to_device(array), int(np.diff(array).max())
        return lambda projected: _attend_unpadded(projected, tensor, longest, self.heads)

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor

    def encode(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Vectors [slots, hidden] from token ids and their positions in their texts, both [slots]."""
        vectors = self.norm(
            functional.embedding(ids, self.words) + functional.embedding(positions, self.positions)
        )
        for layer in self.layers:
            vectors = layer(vectors, attend)
        return vectors


class _PackedLayer:
    """One encoder layer (Vaswani et al. 2017), with the norms after the sums, as in BERT."""

    def __init__(self, layer: Any, convert: Callable[[Tensor], Tensor]) -> None:
        attention = attention_parts(layer)
        self.qkv = Product(*map(convert, projection(attention)))
        self.attention_output = _product(attention.output, convert)
        self.attention_norm = _norm(attention.norm, convert)
        self.intermediate = _product(layer.intermediate.dense, convert)
        self.activate = layer.intermediate.intermediate_act_fn
        self.gelu = is_gelu(self.activate)
        self.output = _product(layer.output.dense, convert)
        self.output_norm = _norm(layer.output.LayerNorm, convert)

    def __call__(self, vectors: Tensor, attend: Attend) -> Tensor:
        """From vectors [slots, hidden] to vectors [slots, hidden]."""
        vectors = self.attention_norm(self.attention_output.plus(attend(self.qkv(vectors)), vectors))
        intermediate = (
            self.intermediate.with_gelu(vectors) if self.gelu else self.activate(self.intermediate(vectors))
        )
        return self.output_norm(self.output.plus(intermediate, vectors))


def _attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Attention within rows from queries, keys and values [rows x width, 3 x hidden].

    mask [rows, 1 or heads, width, width] is what is added to the scores: the lowest number between texts.
    """
    rows, width = mask.shape[0], mask.shape[2]
    query, key, value = projected.view(rows, width, 3, heads, -1).permute(2, 0, 3, 1, 4)
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return context.transpose(1, 2).reshape(rows * width, -1)


def _attend_unpadded(projected: Tensor, bounds: Tensor, longest: int, heads: int) -> Tensor:
    """Attention within concatenated texts, from queries, keys and values [slots, 3 x hidden].

    bounds int32 [texts + 1] are the slots where texts start and end; `longest` is the longest text in tokens.
    """
    # Importing it loads torch's compiler: a second and 150 MB that only a GPU needs.
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = projected.view(projected.shape[0], 3, heads, -1).unbind(1)
    context: Any = varlen_attn(query, key, value, bounds, bounds, longest, longest)
    unpadded: Tensor = context.reshape(projected.shape[0], -1)
    return unpadded


def _can_attend_unpadded(device: torch.device, dtype: torch.dtype) -> bool:
    """FlashAttention supports GPUs since Ampere, and number types of 16 bits."""
    return (
        device.type == "cuda"
        and dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


class Product:
    """x W' + b; on the CPU the matrix is reordered once into the layout of oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.reordered = _can_reorder(weight)
        if self.reordered:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1024)

    def __call__(self, vectors: Tensor) -> Tensor:
        if self.reordered:
            return self._pointwise(vectors, "none", "")
        return functional.linear(vectors, self.weight, self.bias)

    def with_gelu(self, vectors: Tensor) -> Tensor:
        """GELU of the product, fused."""
        if self.reordered:
            return self._pointwise(vectors, "gelu", "none")
        return torch.ops.aten.gelu_(functional.linear(vectors, self.weight, self.bias))  # type: ignore[no-any-return]

    def _pointwise(self, vectors: Tensor, activation: str, algorithm: str) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            vectors, self.weight, self.bias, activation, [], algorithm
        )
        return result

    def plus(self, vectors: Tensor, residual: Tensor) -> Tensor:
        """The product plus `residual`, fused."""
        if self.reordered:
            result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                vectors, residual, self.weight, self.bias, "add"
            )
            return result
        return functional.linear(vectors, self.weight, self.bias).add_(residual)


def _can_reorder(weight: Tensor) -> bool:
    """Whether torch has these operators, which are internal to its compiler; else linear() is used."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))


def projection(attention: AttentionParts) -> tuple[Tensor, Tensor]:
    """Weight [3 x hidden, hidden] and bias [3 x hidden] of queries, keys and values, concatenated."""
    linears = (attention.query, attention.key, attention.value)
    return torch.cat([part.weight for part in linears]), torch.cat([part.bias for part in linears])


def _product(linear: nn.Linear, convert: Callable[[Tensor], Tensor]) -> Product:
    return Product(convert(linear.weight), convert(linear.bias))


def _norm(norm: nn.LayerNorm, convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    weight, bias, shape, eps = convert(norm.weight), convert(norm.bias), norm.normalized_shape, norm.eps
    return lambda vectors: functional.layer_norm(vectors, shape, weight, bias, eps)


def is_gelu(activation: Any) -> bool:
    """Whether it is exact GELU as in BERT, without an approximation."""
    return getattr(activation, "act", activation) is functional.gelu
