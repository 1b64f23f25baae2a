"""How robust an alert is: without how many of its origins it would still fire.  Pure.

Origins say texts, and the sums of their texts add up to the sums of the window.  An alert is silent without a
set of origins if its rule would not fire on what is left.  What is usual stays as it is.

The fewest origins whose removal silences a rule are found in three ways:

- A rule that fires when each of some sums reaches a limit of its own (`Rule.limited_sums`) is silent exactly
  if one of them falls below it.  Of one sum, no k origins take away more than the k that have most of it.  So
  taking those, one by one, finds the fewest for that sum, and the fewest of all sums are the answer.
- A rule that, with the number of documents given, fires the more easily the worse one other sum is
  (`Rule.worsening_sum`): of the sets of k origins with n documents in all, the one that takes most of that
  sum silences the rule if any does.  A knapsack table finds it for every k and n (`_table`).  Of origins with
  as many documents, those that have more of the sum are taken first: others in their place take no more.
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
MOST_SETS, MOST_CELLS, MOST_DOCUMENTS, COST_OF_QUESTION = 2000, 100_000_000, 1_000_000, 200
FEWEST_TRIED = 8
NONE_TAKEN = np.iinfo(np.int64).min // 2

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
    """Take the sets that leave the best sum, for every number of origins and documents."""
    sign = -1 if name == "score_sum" else 1
    items = [(part.n, sign * int(getattr(part, name))) for part in parts]
    asked = _Asked(lambda n, amount: fires(_without(total, name, n, sign * amount)))
    known, tried = 0, min(FEWEST_TRIED, len(items))
    while True:
        candidates = _heaviest(items, tried)
        documents = sum(sorted((n for n, _ in items), reverse=True)[:tried])
        if len(candidates) * tried * documents > MOST_CELLS:
            return _Limit(known, at_least=True)
        table = _table(candidates, tried, documents)
        silent = np.zeros(table.shape, bool)
        for n in range(documents + 1):
            amounts = table[:, n]
            reached = np.unique(amounts[amounts > NONE_TAKEN])
            first = asked.first_silent(n, reached.tolist())
            if asked.questions * (total.n + COST_OF_QUESTION) > MOST_DOCUMENTS:
                return _Limit(known, at_least=True)
            if first < len(reached):
                silent[:, n] = amounts >= reached[first]
        if silent.any():
            return _Limit(int(np.flatnonzero(silent.any(axis=1))[0]) - 1)
        known, tried = tried, min(4 * tried, len(items))


def _without(total: Aggregate, name: SumField, n: int, amount: int) -> Aggregate:
    """What is left of a window: of other sums than those two the rule asks nothing, or apart from them."""
    return replace(total, n=total.n - n, **{name: getattr(total, name) - amount})


def _heaviest(items: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Of the items with each number of documents, so many that weigh most: no set of that size needs more."""
    by_documents: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item in sorted(items, key=lambda item: -item[1]):
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


class _Asked:
    """Asks whether an alert is silent without so many documents and so much of a sum, no more often than it
    must: what it survives it survives with less taken, and what silences it does with more."""

    def __init__(self, fires: Callable[[int, int], bool]) -> None:
        self._fires = fires
        self._survived: dict[int, int] = {}
        self._silent: dict[int, int] = {}
        self.questions = 0

    def first_silent(self, n: int, amounts: Sequence[int]) -> int:
        """The index of the first of these rising amounts that silences the alert; their number if none does.

        What it survived with one document less is a good guess.
        """
        guess = self._survived.get(n - 1)
        if guess is not None and amounts and amounts[0] <= guess < amounts[-1]:
            _ = self.is_silent(n, guess), self.is_silent(n, guess + 1)
        return bisect_left(amounts, True, key=lambda amount: self.is_silent(n, amount))

    def is_silent(self, n: int, amount: int) -> bool:
        if amount <= self._survived.get(n, NONE_TAKEN):
            return False
        if n in self._silent and amount >= self._silent[n]:
            return True
        self.questions += 1
        silent = not self._fires(n, amount)
        (self._silent if silent else self._survived)[n] = amount
        return silent


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
