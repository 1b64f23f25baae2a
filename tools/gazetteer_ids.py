"""Ids that never change: an entity keeps the id that it was published by, whatever its listings do."""

from collections.abc import Iterable, Mapping, Sequence

from tools.gazetteer_drafts import LEGAL_NAME, Draft, name_key

# How much a name that an entity had before is its own: less than the names that it has now.
FORMER_NAME = LEGAL_NAME + 1


def keep_ids(drafts: Sequence[Draft], published: Iterable[Draft], ids: Mapping[str, str]) -> list[Draft]:
    """The drafts, with the ids that they were published by, and the published entities that no list has now.

    A published entity is known again by its listing and a name, by the number of its registration, or by its
    usual name.  Of two that have become one, the one with the new id stays; the other is a former id.
    """
    index = _Index(drafts)
    result = list(drafts)
    kept: dict[int, list[Draft]] = {}
    for before in published:
        now = index.find(before)
        if now is None:
            result.append(before)
        else:
            kept.setdefault(id(now), []).append(before)
    for now in drafts:
        _take_over(now, kept.get(id(now), []))
    _find_free_ids([now for now in drafts if id(now) not in kept], result, ids)
    _release_tickers(result)
    for entity, current in ids.items():
        if entity != current:
            _add_former(result, entity, current)
    return result


class _Index:
    """Drafts by what an entity is known by."""

    def __init__(self, drafts: Iterable[Draft]) -> None:
        self._keys: dict[str, Draft | None] = {}
        self._tickers: dict[str, Draft] = {}
        self._names: dict[tuple[str, str], Draft | None] = {}
        for draft in drafts:
            for key in draft.keys:
                self._keys[key] = None if key in self._keys else draft
            self._tickers.update(dict.fromkeys((draft.id, *draft.tickers), draft))
            for name in {name_key(name) for name in draft.names}:
                known = self._names.setdefault((draft.kind, name), draft)
                if known is not draft:
                    self._names[draft.kind, name] = None

    def find(self, before: Draft) -> Draft | None:
        """The draft of the same entity; None if there is none, or no single one."""
        now = self._tickers.get(before.id)
        if now is not None and (now.kind != "company" or _share_name(now, before)):
            return now
        for key in before.keys:
            if (now := self._keys.get(key)) is not None:
                return now
        return self._names.get((before.kind, name_key(before.name)))


def _share_name(one: Draft, other: Draft) -> bool:
    return not {name_key(name) for name in one.names}.isdisjoint(name_key(name) for name in other.names)


def _take_over(now: Draft, befores: Sequence[Draft]) -> None:
    """Give a draft the id, and what else it had, of the entities that it was published as."""
    if not befores:
        return
    first = next((before for before in befores if before.id == now.id), befores[0])
    now.id = first.id
    for before in befores:
        if before is not first:
            now.former_ids.append(before.id)
        now.tickers += [ticker for ticker in before.tickers if ticker not in now.tickers]
        if name_key(before.name) != name_key(now.name):
            now.add_name(before.name, FORMER_NAME)


def _find_free_ids(new: Sequence[Draft], drafts: Iterable[Draft], ids: Mapping[str, str]) -> None:
    """New entities never get an id that another has or had, though they now have its ticker."""
    taken = set(ids) | {draft.id for draft in drafts if all(draft is not other for other in new)}
    for draft in new:
        numbered = (f"{draft.id}.{number}" for number in range(2, 1000))
        draft.id = next(entity for entity in (draft.id, *draft.tickers, *numbered) if entity not in taken)
        taken.add(draft.id)


def _release_tickers(drafts: Sequence[Draft]) -> None:
    """A ticker belongs to the entity that has it in the lists now, which is the one that was read first."""
    owners: dict[str, Draft] = {}
    for draft in drafts:
        for ticker in draft.tickers:
            owners.setdefault(ticker, draft)
    for draft in drafts:
        draft.tickers = [ticker for ticker in draft.tickers if owners[ticker] is draft]


def _add_former(drafts: Iterable[Draft], entity: str, current: str) -> None:
    for draft in drafts:
        if draft.id == current or current in draft.former_ids:
            if entity not in draft.former_ids:
                draft.former_ids.append(entity)
            return
