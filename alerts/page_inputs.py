"""What a page was made from, as digests: by them it can be told later whether it comes out the same.  Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from alerts.detectors.base import Rule
from stream.domain.alerts import Alert
from stream.domain.incidents import (
    MOST_ALERT_INPUTS,
    MOST_DOCUMENTS,
    AlertInputs,
    Moment,
    PageDocument,
    PageInputs,
)
from stream.domain.sums import TimeRange

# A longer setting of a rule is kept as a digest, and so many models are named.
LONGEST_SETTING, MOST_MODELS = 100, 10
DIGEST = "sha256 "


@dataclass(frozen=True, slots=True)
class EvaluatedAlert:
    """An alert on a page, as it was evaluated when the page was made.

    `documents` are the negative documents in its window, the latest first and at most MOST_DOCUMENTS; None if
    its rule shows none.  `is_late` is whether the window has late documents alone.
    """

    alert: Alert
    rule: Rule
    window: TimeRange
    documents: Sequence[PageDocument] | None = None
    is_late: bool = False


def page_inputs(evaluated: Sequence[EvaluatedAlert], moment: Moment) -> PageInputs:
    """The inputs of a page that shows these alerts, all of them read at one moment."""
    documents = [document for each in evaluated for document in each.documents or ()]
    gazetteers = sorted({document.gazetteer for document in documents if document.gazetteer})
    return PageInputs(
        known_at=moment.at,
        alerts=tuple(map(alert_inputs, evaluated[:MOST_ALERT_INPUTS])),
        models=tuple(sorted({document.model for document in documents if document.model})[:MOST_MODELS]),
        gazetteer=gazetteers[-1] if gazetteers else None,
        story_seq=moment.story_seq,
        offsets=moment.offsets,
    )


def alert_inputs(each: EvaluatedAlert) -> AlertInputs:
    """What the page says about one alert, with the digests."""
    alert, documents = each.alert, each.documents
    is_whole = documents is not None and len(documents) < MOST_DOCUMENTS
    return AlertInputs(
        alert=alert.id,
        rule=alert.rule,
        rule_digest=rule_digest(each.rule),
        start=each.window.start,
        end=each.window.end,
        value=alert.value,
        documents=documents_digest(documents) if documents is not None and is_whole else None,
        n=len(documents or ()),
        topic=alert.topic,
        entity=alert.entity,
        counted=alert.counted,
        count=alert.n,
        usual=alert.usual,
        is_late=each.is_late,
        is_calm=alert.clear_since is not None,
        stories=stories_digest(documents) if documents is not None and is_whole else None,
        rule_fields=rule_fields(each.rule),
    )


def documents_digest(documents: Iterable[PageDocument]) -> str:
    """The sha256 over the sorted pairs of key and version."""
    return _digest(sorted((document.key, document.version) for document in documents))


def stories_digest(documents: Iterable[PageDocument]) -> str:
    """The same over key, story and whether it is a voice."""
    return _digest(sorted((one.key, one.story or 0, one.is_voice is True) for one in documents))


def rule_digest(rule: Rule) -> str:
    """The sha256 over all settings of a rule, defaults too."""
    return _digest(_settings(rule))


def rule_fields(rule: Rule) -> dict[str, str]:
    """The settings of a rule that are no defaults, as JSON by their names in a rule file; a long one is the
    digest of it."""
    return {name: _short(value) for name, value in _settings(rule, exclude_defaults=True).items()}


def is_digest(setting: str) -> bool:
    """Whether a setting of `rule_fields` was too long to be kept."""
    return setting.startswith(DIGEST)


def _settings(rule: Rule, **options: Any) -> dict[str, Any]:
    """The settings of a rule as its file could say them."""
    dumped = rule.model_dump(by_alias=True, **options)
    return {name: _as_written(value) for name, value in sorted(dumped.items())}


def _as_written(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, dict) and value.keys() == {"text", "ids"}:  # WatchedEntities
        return value["text"] if value["ids"] is None else value["ids"]
    return value


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST_SETTING else f"{DIGEST}{_digest(value)[:16]}"


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
