"""Groups texts into batches for the forward pass, by their lengths alone."""

from collections.abc import Sequence
from heapq import heapify, heappush, heapreplace


def token_batches(shapes: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Indexes into `shapes`, largest first, in batches whose padded size is at most `budget` tokens.

    A shape is (windows, tokens of the longest window).  The padded size of a batch is its number of windows
    times its longest window.  Sorting keeps padding small; the largest first means that a batch that is too
    large for the memory fails at once.  A text over the budget is a batch of its own.
    """
    order = sorted(range(len(shapes)), key=lambda i: (-shapes[i][0] * shapes[i][1], -shapes[i][1], i))
    batches: list[list[int]] = []
    windows = longest = 0
    for i in order:
        own, tokens = shapes[i]
        if batches and (windows + own) * max(longest, tokens) <= budget:
            batches[-1].append(i)
            windows, longest = windows + own, max(longest, tokens)
        else:
            batches.append([i])
            windows, longest = own, tokens
    return batches


def packed_batches(sizes: Sequence[int], budget: int, wide: int) -> list[list[int]]:
    """Indexes into `sizes` (tokens of a text) in batches of about equal sums within `budget`.

    For encoders that pack texts into rows.  Texts of more than `wide` tokens need wider rows: they go into as
    few batches as possible, the largest first.  Each other text goes to the smallest batch, so that every
    batch has short texts to fill its rows with.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    total = sum(sizes)
    fair = total / max(1, -(-total // budget))
    batches: list[list[int]] = []
    batch_sizes: list[int] = []
    long = [i for i in order if sizes[i] > wide]
    for i in long:
        if not batches or batch_sizes[-1] >= fair or batch_sizes[-1] + sizes[i] > budget:
            batches.append([])
            batch_sizes.append(0)
        batches[-1].append(i)
        batch_sizes[-1] += sizes[i]
    short = order[len(long) :]
    room = sum(max(0, budget - size) for size in batch_sizes)
    more = max(0, -(-(sum(sizes[i] for i in short) - room) // budget))
    batches += [[] for _ in range(more)]
    smallest = [(size, batch) for batch, size in enumerate(batch_sizes + [0] * more)]
    heapify(smallest)
    for i in short:
        size, batch = smallest[0]
        if size + sizes[i] > budget and size:
            size, batch = 0, len(batches)
            batches.append([])
            heappush(smallest, (0, batch))
        batches[batch].append(i)
        heapreplace(smallest, (size + sizes[i], batch))
    return batches
