"""Which texts share a forward pass: pure arithmetic over lengths."""

from collections.abc import Sequence


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


def packed_batches(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Positions of `sizes` (tokens of a text), largest first, in groups of about equal sums within `budget`.

    For an encoder that takes texts without padding.  The heads after it still see all texts of a group
    as wide as its largest, so that is bound too: at twice the budget.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    total = sum(sizes)
    fair = total / max(1, -(-total // budget))
    batches: list[list[int]] = []
    held = 0
    for i in order:
        fits = batches and held < fair and held + sizes[i] <= budget
        if fits and (len(batches[-1]) + 1) * sizes[batches[-1][0]] <= 2 * budget:
            batches[-1].append(i)
            held += sizes[i]
        else:
            batches.append([i])
            held = sizes[i]
    return batches
