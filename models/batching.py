"""Which texts share a forward pass: pure arithmetic over lengths."""

from collections.abc import Sequence


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of `lengths`, longest first, in groups whose padded size fits `budget` tokens.

    Sorting keeps padding small, and the longest group first means that a batch too big for the
    memory fails at once and not at the end.  A text longer than the budget is a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
