"""How a part's weights are stored: matrices in 8 or 4 bits, everything else in float32.

8 bits    int8 [rows, columns], and a float32 scale for each row
4 bits    two values in a byte, uint8 [rows, columns / 2], and a float16 scale for each GROUP of columns:
          4.5 bits a value.  The columns i and i + GROUP / 2 of a group are the low and the high half of byte
          i of the group.  A half is from 0 to 15 and stands for -8 to 7.

In 4 bits are the matrices of the encoder's layers and its word vectors, which are nearly all of a part.  The
heads are small and stay in 8 bits.

Rounded one by one, 4-bit weights cost a large model too much.  With what a matrix is multiplied with
(`Moments`), the error of each column is made up for by the columns after it: GPTQ, arXiv 2210.17323.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Bits = Literal[4, 8]

# For the name of a matrix of weights [rows, columns], the sum over inputs x of x times its transpose, float32
# [columns, columns].
Moments = Mapping[str, Tensor]

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
# What is added to the diagonal of the moments, relative to its mean, so that they can be inverted.
DAMPING = 0.01
# So many columns are rounded before those after them are changed.
BLOCK = 64


def pack(
    state: Mapping[str, Tensor], large: int = LARGE, bits: Bits = 8, moments: Moments | None = None
) -> dict[str, Tensor]:
    """Quantise matrices of `large` values or more.

    A matrix in 4 bits that has `moments` is rounded so that its products change least, any other so that its
    values do.
    """
    moments = moments or {}
    packed: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.ndim != 2 or value.numel() < large:
            packed[key] = value.contiguous()
        elif bits == 4 and key.startswith(IN_4_BITS) and value.shape[1] % GROUP == 0:
            packed[key], packed[key + SCALE] = _to_4_bits(value, moments.get(key))
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
    return _values(groups.float(), scale).view(len(value), -1)


def _to_4_bits(matrix: Tensor, moments: Tensor | None) -> tuple[Tensor, Tensor]:
    """The bytes [rows, columns / 2] and scales [rows, columns / GROUP]."""
    groups = matrix.reshape(len(matrix), -1, GROUP)
    # Not a number stays what it is: nothing could make up for it.
    if moments is None or not matrix.isfinite().all():
        scale = _best_scale(groups)
        halves = _halves(groups, scale)
    else:
        halves, scale = _compensated(matrix, moments)
    low, high = halves.nan_to_num_().to(torch.uint8).chunk(2, dim=-1)
    return (low | high << 4).flatten(1), scale


def _best_scale(groups: Tensor) -> Tensor:
    """The float16 scale of each group of values [..., GROUP] with the least squared error."""
    # The value that is farthest from 0 becomes -8, the longer end: so its sign is that of the scale, turned.
    farthest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True)).squeeze(-1)
    best = torch.zeros_like(farthest, dtype=torch.float16)
    least = torch.full_like(farthest, torch.inf)
    for step in STEPS:
        scale = (farthest * (step / -ZERO)).half()
        error = (_values(_halves(groups, scale), scale) - groups).square().sum(-1)
        # Not a number if a weight is: its group stays so.
        better = ~(error >= least)
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best


def _compensated(matrix: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
    """The halves [rows, groups, GROUP] and scales [rows, groups] that change the products least.

    Column by column, those with the largest inputs first: what rounding one adds to the products is taken off
    again by changing those after it.
    """
    scale = _best_scale(matrix.reshape(len(matrix), -1, GROUP))
    order = moments.diagonal().argsort(descending=True)
    left, scales = matrix[:, order], scale.repeat_interleave(GROUP, dim=1)[:, order]
    factor = _inverse_factor(moments[order][:, order])
    halves = torch.empty_like(matrix)
    for start in range(0, matrix.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        errors = torch.zeros_like(left[:, block])
        for i in range(start, min(start + BLOCK, matrix.shape[1])):
            rounded = _halves(left[:, i, None], scales[:, i])
            halves[:, order[i]] = rounded[:, 0]
            error = (left[:, i] - _values(rounded, scales[:, i])[:, 0]) / factor[i, i]
            left[:, i : block.stop] -= error[:, None] * factor[i, i : block.stop]
            errors[:, i - start] = error
        left[:, block.stop :] -= errors @ factor[block, block.stop :]
    return halves.view(len(matrix), -1, GROUP), scale


def _inverse_factor(moments: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the moments, which says how columns stand in for others."""
    damped = moments.double()
    damped.diagonal().add_(DAMPING * damped.diagonal().mean().clamp(min=1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def _halves(groups: Tensor, scale: Tensor) -> Tensor:
    """The values as numbers from 0 to 15."""
    divisor = torch.where(scale == 0, torch.inf, scale.float()).unsqueeze(-1)
    return (groups / divisor).round_().add_(ZERO).clamp_(0, 15)


def _values(halves: Tensor, scale: Tensor) -> Tensor:
    """What numbers from 0 to 15 stand for."""
    return (halves - ZERO) * scale.float().unsqueeze(-1)
