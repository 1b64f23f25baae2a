"""How fast a run trains: rows a second, and the share of what this machine's matrix products can do."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Progress shows the speed and the loss of so many steps.
RECENT_STEPS = 50
# The product that is timed to know the peak: [size, size] x [size, size], so many times.
PEAK_SIZE, PEAK_ROUNDS = 1536, 8


@dataclass(frozen=True)
class RunSpeed:
    """Of one run, without scoring and checkpoints.  `peak_share` is the share of the matrix peak, 0 to 1."""

    rows_per_second: float
    peak_share: float
    dtype: str


class SpeedMeter:
    """Counts the rows, the arithmetic and the time of training steps."""

    def __init__(self, encoder: nn.Module, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.rows, self.seconds, self.operations = 0, 0.0, 0.0
        self.recent: deque[tuple[float, int, float]] = deque(maxlen=RECENT_STEPS)
        self.per_token, self.per_pair = operations(encoder)
        self.started = clock()

    def start_step(self) -> None:
        """What was before, such as a checkpoint, does not count."""
        self.started = self.clock()

    def end_step(self, lengths: Sequence[int], loss: float) -> None:
        """A step over rows of so many tokens has ended with this loss.  Padding is no useful work."""
        seconds = self.clock() - self.started
        self.rows, self.seconds = self.rows + len(lengths), self.seconds + seconds
        self.operations += sum(self.per_token * n + self.per_pair * n * n for n in lengths)
        self.recent.append((seconds, len(lengths), loss))

    def __str__(self) -> str:
        """Rows a second and mean loss of the last steps."""
        seconds = max(sum(step[0] for step in self.recent), 1e-9)
        rate = sum(step[1] for step in self.recent) / seconds
        loss = sum(step[2] for step in self.recent) / max(1, len(self.recent))
        return f"{rate:.{0 if rate >= 10 else 1}f} rows/s, loss {loss:.3f}"

    def result(self, device: torch.device, dtype: torch.dtype) -> RunSpeed | None:
        """The speed of all steps; None if there were none."""
        if not self.rows:
            return None
        seconds = max(self.seconds, 1e-9)
        share = self.operations / seconds / matrix_peak(device, dtype)
        return RunSpeed(self.rows / seconds, share, str(dtype).removeprefix("torch."))


def operations(encoder: Any) -> tuple[float, float]:
    """The encoder's floating-point operations of a training step: for each token, and each pair of tokens.

    A product of a token with a weight is 2 in the forward pass, 2 for the gradient of the token and, unless
    it is frozen, 2 for that of the weight (Kaplan et al. 2020, section 2.1).  Attention multiplies each pair
    of tokens twice over the width.
    """
    per_token = 0.0
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            per_token += module.weight.numel() * (6 if module.weight.requires_grad else 4)
    config = encoder.config
    return per_token, 12.0 * config.num_hidden_layers * config.hidden_size


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product: the best of several rounds."""
    left = torch.ones(PEAK_SIZE, PEAK_SIZE, device=device, dtype=dtype)
    seconds = min(_product_seconds(left, left) for _ in range(PEAK_ROUNDS))
    return float(2 * PEAK_SIZE**3 / seconds)


@torch.inference_mode()
def _product_seconds(left: Tensor, right: Tensor) -> float:
    started = time.perf_counter()
    # Reading a value waits for a GPU.
    float((left @ right)[0, 0])
    return time.perf_counter() - started
