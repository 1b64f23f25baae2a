"""What two models are as one: the mode, the version, and what they can do.  It needs no torch."""

import hashlib
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from models.inference import routing
from models.network.info import ModelInfo
from stream.domain.documents import shorten_name

# The longest version that SQL stores.
LONGEST_VERSION = 200


class Mode(StrEnum):
    """Which texts the second opinion labels."""

    ALL = "all"
    AUTO = "auto"
    OFF = "off"


def whole_version(first: ModelInfo, second: ModelInfo, mode: Mode) -> str:
    """The version of two models as one, which changes whenever labels may."""
    if mode is Mode.OFF:
        return first.version
    rest = "all"
    if mode is Mode.AUTO:
        routings = [(part.folder, part.routing or routing.DEFAULT) for part in first.parts]
        rest = f"auto-{hashlib.sha256(msgspec.json.encode(routings, order='sorted')).hexdigest()[:8]}"
    return shorten_name(f"{first.version}+{second.version}+{rest}", LONGEST_VERSION)


def whole_info(first: ModelInfo, second: ModelInfo, mode: Mode) -> ModelInfo:
    """What two models can do as one: languages, and languages with a sentiment towards names."""
    parts = [
        replace(
            part,
            target_sentiment=part.target_sentiment or answers_targets(second, part.languages[0]),
            event_thresholds=part.event_thresholds | event_thresholds(second, part.languages[0]),
        )
        for part in first.parts
    ]
    more = [part for part in second.parts if not set(part.languages) & set(first.languages)]
    return replace(first, version=whole_version(first, second, mode), parts=(*parts, *more))


def needs_first(first: ModelInfo, second: ModelInfo) -> bool:
    """Whether the small model answers anything that the larger one does not."""
    return any(
        second.part_of(language) is None
        or (answers_targets(first, language) and not answers_targets(second, language))
        or (event_thresholds(first, language) and not event_thresholds(second, language))
        for language in first.languages
    )


def answers_targets(info: ModelInfo, language: str | None) -> bool:
    part = info.part_of(language)
    return part is not None and part.target_sentiment


def event_thresholds(info: ModelInfo, language: str | None) -> dict[str, float]:
    """Those of the events that a model looks for in this language; empty if it looks for none."""
    part = info.part_of(language)
    return {} if part is None else part.event_thresholds
