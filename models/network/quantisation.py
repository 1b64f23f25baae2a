"""How a part's weights are stored: matrices in 8 or 4 bits, everything else in float32.

8 bits    int8 [rows, columns], and a float32 scale for each row
4 bits    two values in a byte, uint8 [rows, columns / 2], and a float16 scale for each GROUP of columns:
          4.5 bits a value.  The columns i and i + GROUP / 2 of a group are the low and the high half of byte
          i of the group.  A half is from 0 to 15 and stands for -8 to 7.

In 4 bits are the matrices of the encoder's layers and its word vectors, which are nearly all of a part.  The
heads are small and stay in 8 bits.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Bits = Literal[4, 8]

SCALE = ".scale"
# Matrices of at least so many values are quantised.
LARGE = 1 << 16
INT8_MAX = 127
GROUP = 32
# What a half of a byte is above the value that it stands for.
ZERO = 8
# Parts of the names of the matrices that can be stored in 4 bits.
IN_4_BITS = ("encoder.encoder.layer.", "encoder.embeddings.word_embeddings.")
# Steps to try for a group, relative to the one that just reaches its largest value.  A smaller one cuts off
# the largest value and is closer to all others.
STEPS = (1.0, 0.93, 0.87, 0.81, 0.75)


def pack(state: Mapping[str, Tensor], large: int = LARGE, bits: Bits = 8) -> dict[str, Tensor]:
    """Quantise matrices of `large` values or more."""
    packed: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.ndim != 2 or value.numel() < large:
            packed[key] = value.contiguous()
        elif bits == 4 and key.startswith(IN_4_BITS) and value.shape[1] % GROUP == 0:
            packed[key], packed[key + SCALE] = _to_4_bits(value)
        else:
            scale = value.abs().amax(dim=1).clamp(min=1e-12) / INT8_MAX
            packed[key] = (value / scale[:, None]).round().to(torch.int8)
            packed[key + SCALE] = scale
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `pack`, in float32."""
    return {
        key: _restored(value, packed[key + SCALE]) if key + SCALE in packed else value
        for key, value in packed.items()
        if not key.endswith(SCALE)
    }


def _restored(value: Tensor, scale: Tensor) -> Tensor:
    if value.dtype != torch.uint8:
        return value.float().mul_(scale[:, None])
    halves = value.view(*scale.shape, 1, GROUP // 2)
    groups = torch.cat((halves & 15, halves >> 4), dim=-2).view(*scale.shape, GROUP)
    return groups.float().sub_(ZERO).mul_(scale.float().unsqueeze(-1)).view(len(value), -1)


def _to_4_bits(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The bytes [rows, columns / 2] and scales [rows, columns / GROUP] with the least squared error."""
    groups = matrix.reshape(len(matrix), -1, GROUP)
    # The value that is farthest from 0 becomes -8, the longer end: so its sign is that of the scale, turned.
    farthest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True)).squeeze(-1)
    best = torch.zeros_like(farthest, dtype=torch.float16)
    least = torch.full_like(farthest, torch.inf)
    for step in STEPS:
        scale = (farthest * (step / -ZERO)).half()
        error = (
            (_halves(groups, scale).sub_(ZERO).mul_(scale.float().unsqueeze(-1)) - groups).square().sum(-1)
        )
        # Not a number if a weight is: its group stays so.
        better = ~(error >= least)
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    low, high = _halves(groups, best).nan_to_num_().to(torch.uint8).chunk(2, dim=-1)
    return (low | high << 4).flatten(1), best


def _halves(groups: Tensor, scale: Tensor) -> Tensor:
    """The values as numbers from 0 to 15."""
    divisor = torch.where(scale == 0, torch.inf, scale.float()).unsqueeze(-1)
    return (groups / divisor).round_().add_(ZERO).clamp_(0, 15)
