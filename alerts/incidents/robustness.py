"""How robust an alert is: without how many of its origins it would still fire.  Pure.

Origins say texts, and the sums of their texts add up to the sums of the window.  An alert is silent without a
set of origins if its rule would not fire on what is left.  What is usual stays as it is.

The fewest origins whose removal silences a rule are found in three ways:

- A rule that fires when each of some sums reaches a limit of its own (`Rule.limited_sums`) is silent exactly
  if one of them falls below it.  Of one sum, no k origins take away more than the k that have most of it.  So
  taking those, one by one, finds the fewest for that sum, and the fewest of all sums are the answer.
- A rule that, with the number of documents given, fires the more easily the worse one other sum is
  (`Rule.worsening_sum`): of the sets of k origins with n documents in all, the one that takes most of that
  sum silences the rule if any does.  A set that silences it is found first, and then shown to be the
  smallest: no smaller one can take as much as a bound for its k and n, and the rule survives that
  (`_Sets.first_suspect`).  Where it would not, a knapsack table says what such sets really take (`_table`).
- Any other rule is asked for every set, from the smallest on, within a budget.

What a rule also demands (`min_negative`, `min_sources`, `min_authors`, `min_voices`) silences it by itself:
the smallest of all answers counts.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations

import numpy as np

from alerts.detectors.base import Rule, SumField
from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate

# A page waits for a search, so that it stops with what it knows by then: after so many sets, so many cells of
# a table, or questions about so many documents.  Each question costs as much as some documents more.
MOST_SETS, MOST_CELLS, MOST_DOCUMENTS, COST_OF_QUESTION = 2000, 50_000_000, 6_000_000, 200
# Prices of a document that bounds are made from, and kinds of origins that those come from.
MOST_PRICES, MOST_COMPARED = 24, 300
NONE_TAKEN = np.iinfo(np.int64).min // 2
# More than floating-point sums of the largest scores are wrong by; amounts are whole numbers.
ROUNDING = 1e-3

Fires = Callable[[Aggregate], bool]


@dataclass(frozen=True, slots=True)
class Robustness:
    """An alert with so many `origins` fires without any `still_fires_without` of them, whichever they are.

    Without some set of one origin more it would be silent, unless `at_least`: then the search ended before it
    found one.
    """

    origins: int
    still_fires_without: int
    at_least: bool = False


@dataclass(frozen=True, slots=True, order=True)
class _Limit:
    """One way to silence an alert: it still fires without any so many origins; see Robustness."""

    still_fires_without: int
    at_least: bool = False


def robustness(
    rule: Rule,
    fires: Fires,
    origins: Mapping[str, Aggregate],
    *,
    voices: Mapping[str, int] | None = None,
    sources: Mapping[str, Collection[str]] | None = None,
    authors: Mapping[str, Collection[str]] | None = None,
) -> Robustness | None:
    """The robustness of an alert that fires on the sum of its `origins`; None if it does not.

    `fires` is `Rule.firing`.  `voices` are the negative voices of each origin, `sources` and `authors` those
    of its negative documents: all three are needed only where the rule demands so many of them.  None if one
    that is needed is missing.
    """
    parts = list(origins.values())
    total = sum(parts, Aggregate(EPOCH, "", ""))
    if not parts or not fires(total):
        return None
    limits = [_of_sums(rule, fires, parts, total)]
    if rule.required_negatives:
        limits.append(_of_limited_sum([part.negative for part in parts], rule.required_negatives))
    if rule.min_voices > 1:
        if voices is None:
            return None
        limits.append(_of_limited_sum(list(voices.values()), rule.min_voices))
    for names, fewest, always in ((sources, rule.min_sources, 1), (authors, rule.min_authors, 0)):
        if fewest > always:
            if names is None:
                return None
            limits.append(_of_distinct(list(names.values()), fewest))
    smallest = min(limits)
    return Robustness(len(parts), smallest.still_fires_without, smallest.at_least)


def _of_sums(rule: Rule, fires: Fires, parts: Sequence[Aggregate], total: Aggregate) -> _Limit:
    """Without how many origins a rule would still fire by what its detector says of sums."""
    if rule.limited_sums:
        return min(_of_one_sum(fires, name, parts, total) for name in rule.limited_sums)
    if rule.worsening_sum is not None:
        return _of_weighed_sum(fires, rule.worsening_sum, parts, total)
    return _of_any_set(
        len(parts), lambda taken: fires(total - sum(map(parts.__getitem__, taken), Aggregate(EPOCH, "", "")))
    )


def _of_one_sum(fires: Fires, name: SumField, parts: Sequence[Aggregate], total: Aggregate) -> _Limit:
    """Take the origins with most of one sum, and of nothing else, until the rule is silent."""
    gone = list(accumulate(sorted((getattr(part, name) for part in parts), reverse=True)))

    def is_silent(amount: int) -> bool:
        return not fires(replace(total, **{name: getattr(total, name) - amount}))

    return _Limit(bisect_left(gone, True, key=is_silent))


def _of_limited_sum(amounts: Sequence[int], limit: int, total: int | None = None) -> _Limit:
    """How many of the largest amounts can go until what is left of their sum, or of `total`, falls below the
    limit."""
    left = sum(amounts) if total is None else total
    for taken, amount in enumerate(sorted(amounts, reverse=True)):
        left -= amount
        if left < limit:
            return _Limit(taken)
    return _Limit(len(amounts))


def _of_weighed_sum(fires: Fires, name: SumField, parts: Sequence[Aggregate], total: Aggregate) -> _Limit:
    """Find a set that silences the rule, and then whether one with fewer origins can."""
    sign = -1 if name == "score_sum" else 1
    sets = _Sets([(part.n, sign * int(getattr(part, name))) for part in parts])
    asked = _Asked(
        lambda n, amount: fires(_without(total, name, n, sign * amount)),
        MOST_DOCUMENTS // (total.n + COST_OF_QUESTION),
    )
    known = 0
    try:
        found, documents = sets.first_silent(asked)
        most = sets.within_reach(found - 1, asked.left)
        while (suspect := sets.first_suspect(asked, known, most, documents)) is not None:
            known = suspect - 1
            if sets.some_is_silent(asked, suspect):
                return _Limit(known)
            known = suspect
        return _Limit(most, at_least=most < found - 1)
    except _TooMuchAsked:
        return _Limit(known, at_least=True)


def _without(total: Aggregate, name: SumField, n: int, amount: int) -> Aggregate:
    """What is left of a window: of other sums than those two the rule asks nothing, or apart from them."""
    return replace(total, n=total.n - n, **{name: getattr(total, name) - amount})


class _TooMuchAsked(Exception):
    """The search has used up what it may ask or compute."""


class _Asked:
    """Asks whether an alert is silent without so many documents and so much of a sum, no more often than it
    must: what it survives it survives with less taken, and what silences it does with more."""

    def __init__(self, fires: Callable[[int, int], bool], most: int) -> None:
        self._fires, self.left = fires, most
        self._survived: dict[int, int] = {}
        self._silent: dict[int, int] = {}

    def is_silent(self, n: int, amount: int) -> bool:
        if amount <= self._survived.get(n, NONE_TAKEN):
            return False
        if n in self._silent and amount >= self._silent[n]:
            return True
        if self.left <= 0:
            raise _TooMuchAsked
        self.left -= 1
        silent = not self._fires(n, amount)
        (self._silent if silent else self._survived)[n] = amount
        return silent


class _Sets:
    """The sets of origins, each origin with its documents and so much of a sum that is taken with them."""

    def __init__(self, items: Sequence[tuple[int, int]]) -> None:
        self._items = sorted(items, key=lambda item: (item[1], item[0]), reverse=True)
        self._n, self._amounts = np.array(self._items, np.int64).T
        self._slopes = self._price_steps()
        # The documents of the k largest origins, and of the k smallest.
        self._largest = np.concatenate([[0], np.sort(self._n)[::-1].cumsum()])
        self._smallest = np.concatenate([[0], np.sort(self._n).cumsum()])

    def _price_steps(self) -> np.ndarray:
        """Prices of a document, at which another set is the heaviest: where two origins weigh the same."""
        kinds = np.unique(np.stack([self._n, self._amounts]), axis=1)
        kinds = kinds[:, :: kinds.shape[1] // MOST_COMPARED + 1]
        n, amounts = kinds[:, :, None] - kinds[:, None, :]
        steps = np.unique(np.concatenate([[0.0], amounts[n > 0] / n[n > 0]]))
        chosen: np.ndarray = steps[np.linspace(0, len(steps) - 1, min(len(steps), MOST_PRICES)).astype(int)]
        return chosen

    def first_silent(self, asked: _Asked) -> tuple[int, int]:
        """The fewest origins of a set that silences the alert, of those that are the heaviest at some price
        of a document, and its documents.  All origins do."""
        found = (len(self._items), int(self._n.sum()))
        for price in self._slopes:
            order = np.argsort(price * self._n - self._amounts, kind="stable")
            n, amounts = self._n[order].cumsum(), self._amounts[order].cumsum()
            fewest = 1 + bisect_left(
                range(found[0] - 1), True, key=lambda i: asked.is_silent(int(n[i]), int(amounts[i]))
            )
            if fewest < found[0]:
                found = (fewest, int(n[fewest - 1]))
        return found

    def within_reach(self, most: int, questions: int) -> int:
        """Of so many origins the largest number that can be searched with so many questions."""
        sizes = np.arange(most + 1)
        cells = sizes * (self._largest[: most + 1] + 1) * len(self._slopes)
        fits = (cells <= MOST_CELLS) & (1.5 * self._largest[: most + 1] <= questions)
        return int(sizes[fits][-1])

    def first_suspect(self, asked: _Asked, known: int, most: int, near: int) -> int | None:
        """The smallest number of origins, above `known` and up to `most`, that may silence the alert by the
        bounds; None if none can.  It asks first where sets have about `near` documents."""
        if most <= known:
            return None
        bounds = np.maximum.accumulate(self._bounds(most)[known + 1 :])
        first = most + 1
        for n in sorted(range(bounds.shape[1]), key=lambda n: abs(n - near)):
            amounts = bounds[: first - known - 1, n].tolist()

            def may_be_silent(amount: int, n: int = n) -> bool:
                return amount > NONE_TAKEN and asked.is_silent(n, amount)

            if amounts and may_be_silent(amounts[-1]):
                first = known + 1 + bisect_left(amounts, True, key=may_be_silent)
        return first if first <= most else None

    def _bounds(self, most: int) -> np.ndarray:
        """int64 [most + 1, documents + 1]: so many origins with so many documents weigh no more than this;
        NONE_TAKEN where no set has so many.

        At any price of a document, a set weighs at most what the best set of its size does, less what that
        pays for its documents, plus what it pays itself (the Lagrangian bound of the knapsack problem).
        """
        documents = np.arange(self._largest[most] + 1)
        bounds = np.full((most + 1, len(documents)), np.inf)
        for price in self._slopes:
            gains = np.sort(price * self._n - self._amounts)[:most]
            best = np.concatenate([[0.0], -gains.cumsum()])
            np.minimum(bounds, best[:, None] + price * documents, out=bounds)
        possible = (documents >= self._smallest[: most + 1, None]) & (
            documents <= self._largest[: most + 1, None]
        )
        return np.where(possible, np.floor(bounds + ROUNDING), NONE_TAKEN).astype(np.int64)

    def some_is_silent(self, asked: _Asked, size: int) -> bool:
        """Whether some set of so many origins silences the alert, by a table of all that there are."""
        documents = int(self._largest[size])
        candidates = _heaviest(self._items, size)
        if len(candidates) * size * documents > MOST_CELLS:
            raise _TooMuchAsked
        reached = _table(candidates, size, documents)[size].tolist()
        return any(amount > NONE_TAKEN and asked.is_silent(n, amount) for n, amount in enumerate(reached))


def _heaviest(items: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Of the items with each number of documents, so many that weigh most: no set of that size needs more.
    The items come with the heaviest first."""
    by_documents: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item in items:
        of_same = by_documents[item[0]]
        if len(of_same) < most:
            of_same.append(item)
    return [item for of_same in by_documents.values() for item in of_same]


def _table(items: Sequence[tuple[int, int]], most: int, documents: int) -> np.ndarray:
    """int64 [most + 1, documents + 1]: the largest weight of so many items with so many documents in all;
    NONE_TAKEN where there is no such set."""
    best = np.full((most + 1, documents + 1), NONE_TAKEN, np.int64)
    best[0, 0] = 0
    for n, weight in items:
        if n <= documents:
            with_item = best[:-1, : documents + 1 - n] + weight
            reached = best[:-1, : documents + 1 - n] > NONE_TAKEN
            np.maximum(best[1:, n:], np.where(reached, with_item, NONE_TAKEN), out=best[1:, n:])
    return best


def _of_distinct(names: Sequence[Collection[Hashable]], fewest: int) -> _Limit:
    """Without how many origins there are still `fewest` distinct names among those of the others.

    No k origins take more names away than the k that have most.  Where origins share no name, so many go;
    else larger sets are tried.
    """
    own = [set(each) for each in names]
    distinct = set[Hashable]().union(*own)
    bound = _of_limited_sum([len(each) for each in own], fewest, len(distinct))
    if sum(map(len, own)) == len(distinct):
        return bound

    def enough(taken: Collection[int]) -> bool:
        left = set[Hashable]().union(*(each for at, each in enumerate(own) if at not in taken))
        return len(left) >= fewest

    return _of_any_set(len(own), enough, bound.still_fires_without)


def _of_any_set(size: int, survives: Callable[[tuple[int, ...]], bool], known: int = 0) -> _Limit:
    """Try every set of more than `known` origins, from the smallest on."""
    sets = 0
    for taken in range(known + 1, size + 1):
        for some in combinations(range(size), taken):
            sets += 1
            if sets > MOST_SETS:
                return _Limit(taken - 1, at_least=True)
            if not survives(some):
                return _Limit(taken - 1)
    return _Limit(size)
