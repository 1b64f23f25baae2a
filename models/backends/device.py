"""The device and the number type to compute with."""

import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import ModelError

# How many times as fast as float32 bfloat16 must be to be taken: it rounds more, and a busy moment must not
# decide.
WORTH_ROUNDING = 1.2
# The product that is timed: [tokens, inputs] x [inputs, outputs] of a small encoder, so many times in each
# number type.
PROBE_SHAPE, PROBE_ROUNDS = (256, 384, 1536), 12


def compute_device(name: str) -> torch.device:
    """The device for the setting `models.device`.  Raises ModelError if there is no CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("models.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type for the setting `models.dtype`.

    auto is bfloat16 on GPUs since Ampere, and on a CPU that was measured to be clearly faster in it.
    """
    return _dtype(name, device, bfloat16_speedup)


def training_dtype(name: str, device: torch.device) -> torch.dtype:
    """The same for training, whose gradients are products of other shapes."""
    return _dtype(name, device, bfloat16_training_speedup)


def _dtype(name: str, device: torch.device, cpu_speedup: Callable[[], float]) -> torch.dtype:
    if name == "auto":
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else cpu_speedup() > WORTH_ROUNDING
        )
        name = "bfloat16" if fast else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


@cache
def bfloat16_speedup() -> float:
    """How many times as fast torch is in bfloat16 as in float32 on this CPU, measured once in 0.1 s.

    The instructions that a CPU has do not say: with AVX-512 BF16, AMD's are 2.6 times as fast as in float32
    and some of Intel's half as fast.
    """
    return _measure_speedup(_layer)


@cache
def bfloat16_training_speedup() -> float:
    """The same for a layer with its gradients, in 0.3 s."""
    return _measure_speedup(_layer_with_gradients)


@torch.inference_mode()
def _measure_speedup(layer: Callable[[Tensor, Tensor, Tensor], object]) -> float:
    threads = torch.get_num_threads()
    # The clock counts this thread alone.
    torch.set_num_threads(1)
    try:
        tokens, inputs, outputs = PROBE_SHAPE
        arrays = torch.ones(tokens, inputs), torch.ones(outputs, inputs), torch.ones(tokens, outputs)
        operands = [[array.to(dtype) for array in arrays] for dtype in (torch.float32, torch.bfloat16)]
        seconds = [[_seconds(layer, arrays) for arrays in operands] for _ in range(PROBE_ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    # The fastest round of each was disturbed least.  The first round also prepares the products.
    float32, bfloat16 = (min(rounds) for rounds in zip(*seconds, strict=True))
    return float(float32 / bfloat16)


def _seconds(layer: Callable[[Tensor, Tensor, Tensor], object], arrays: Sequence[Tensor]) -> float:
    """The time that the processor spent on it: on a busy machine others take most of a round."""
    started = time.thread_time()
    layer(*arrays)
    return time.thread_time() - started


def _layer(vectors: Tensor, weight: Tensor, gradient: Tensor) -> object:
    return functional.linear(vectors, weight)


def _layer_with_gradients(vectors: Tensor, weight: Tensor, gradient: Tensor) -> object:
    return functional.linear(vectors, weight), gradient @ weight, gradient.t() @ vectors
