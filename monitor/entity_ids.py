"""The ids of entities that people write, in rule files: what they are now, and what was meant."""

import difflib
from collections.abc import Callable
from functools import cache, partial

from models.entities.gazetteer import Gazetteer, normal_ticker
from models.settings import ModelSettings


def resolver(gazetteer: Callable[[], Gazetteer | None]) -> Callable[[str], str]:
    """A function that gives the id now of an entity of the gazetteer, as that is at the call.

    It raises ValueError, with a suggestion, for what is no id.  Without a gazetteer it takes every id.
    """

    def resolve(entity: str) -> str:
        known = gazetteer()
        if known is None or not known.entities:
            return entity
        current = known.resolve(entity)
        if current is None:
            meant = _suggestion(entity, known)
            raise ValueError(f"unknown entity {entity!r}" + (f" (did you mean {meant!r}?)" if meant else ""))
        return current

    return resolve


def resolver_of_settings(settings: ModelSettings) -> Callable[[str], str]:
    """The same for the gazetteer of the settings, which is loaded when the first entity is named."""
    return resolver(cache(partial(Gazetteer.load, settings.entities)))


def _suggestion(written: str, gazetteer: Gazetteer) -> str | None:
    """The id that was meant: by ticker, by name, or by a spelling that is close."""
    prefix, _, last = written.rpartition(":")
    for ticker in (written, last):
        if found := gazetteer.by_ticker.get(normal_ticker(ticker)):
            return found
    name = written.strip().casefold()
    for entity in gazetteer.entities.values():
        if name in (entity.name.casefold(), entity.chinese_name):
            return entity.id
    same_prefix = [id_ for id_ in gazetteer.entities if id_.startswith(f"{prefix}:")]
    near = difflib.get_close_matches(written, same_prefix or gazetteer.entities, 1)
    return near[0] if near else None
