"""Which texts share a forward pass: pure arithmetic over lengths."""

from collections.abc import Sequence
from heapq import heapify, heappush, heapreplace


def token_batches(shapes: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Positions of `shapes`, largest first, in groups whose padded size fits `budget` tokens.

    A shape is (windows, tokens of the longest window); a group's padded size is all its windows
    times its longest.  Sorting keeps padding small, and the largest first means that a batch too big
    for the memory fails at once and not at the end.  A text over the budget is a group of its own.
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
    """Positions of `sizes` (tokens of a text) in groups of about equal sums within `budget`.

    For an encoder that lays texts into rows.  Texts over `wide` tokens need wider rows: they go largest
    first into as few groups as hold them.  All others are dealt out, each to the group that has least, so
    that every group has short ones to fill its rows with.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    total = sum(sizes)
    fair = total / max(1, -(-total // budget))
    batches: list[list[int]] = []
    held: list[int] = []
    long = [i for i in order if sizes[i] > wide]
    for i in long:
        if not batches or held[-1] >= fair or held[-1] + sizes[i] > budget:
            batches.append([])
            held.append(0)
        batches[-1].append(i)
        held[-1] += sizes[i]
    short = order[len(long) :]
    room = sum(max(0, budget - of_group) for of_group in held)
    more = max(0, -(-(sum(sizes[i] for i in short) - room) // budget))
    batches += [[] for _ in range(more)]
    least = [(of_group, at) for at, of_group in enumerate(held + [0] * more)]
    heapify(least)
    for i in short:
        of_group, at = least[0]
        if of_group + sizes[i] > budget and of_group:
            of_group, at = 0, len(batches)
            batches.append([])
            heappush(least, (0, at))
        batches[at].append(i)
        heapreplace(least, (of_group + sizes[i], at))
    return batches
