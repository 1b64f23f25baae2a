"""Digests of what a page is made from, so that it can be computed again (`monitor verify`).  Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from alerts.detectors.base import Observation, Rule, Subject, SubjectWindow
from stream.domain.alerts import Alert
from stream.domain.incidents import (
    MOST_ALERT_INPUTS,
    MOST_DOCUMENTS,
    AlertInputs,
    Moment,
    PageDocument,
    PageInputs,
)

# A longer setting of a rule is kept as a digest, and so many models are named.
LONGEST_SETTING, MOST_MODELS = 100, 10
DIGEST = "sha256 "


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule saw of one of its subjects at an evaluation.

    `late` is whether it looked at a window of the past, for documents that arrived late.
    """

    rule: Rule
    subject: Subject
    window: SubjectWindow
    observation: Observation
    late: bool = False


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert that a page shows, with what its rule saw now and the negative documents in its window.

    `seen` is None if its rule was not evaluated: it is gone, or waits.
    """

    alert: Alert
    seen: Seen | None
    documents: Sequence[PageDocument] = ()


def rule_digest(rule: Rule) -> str:
    """The sha256, in hex, of all that a rule says; what it leaves to the defaults is no part of it, so that
    a later version with more settings has the same."""
    text = rule.model_dump_json(by_alias=True, exclude_defaults=True)
    return hashlib.sha256(f"{rule.type_name()} {text}".encode()).hexdigest()


def documents_digest(documents: Iterable[PageDocument]) -> str:
    """The sha256, in hex, over the sorted keys and versions of documents."""
    digest = hashlib.sha256()
    for key, version in sorted((document.key, document.version) for document in documents):
        digest.update(f"{key}\x1f{version}\x1e".encode())
    return digest.hexdigest()


def stories_digest(documents: Iterable[PageDocument]) -> str:
    """The same over key, story and whether it is a voice."""
    digest = hashlib.sha256()
    for key, story, is_voice in sorted((one.key, one.story or 0, bool(one.is_voice)) for one in documents):
        digest.update(f"{key}\x1f{story}\x1f{int(is_voice)}\x1e".encode())
    return digest.hexdigest()


def rule_fields(rule: Rule) -> dict[str, str]:
    """The settings of a rule that are no defaults, as JSON by their names in a rule file; a long one is the
    digest of it."""
    dumped = rule.model_dump(by_alias=True, exclude_defaults=True)
    return {name: _short(_as_written(name, value)) for name, value in sorted(dumped.items())}


def is_kept(setting: str) -> bool:
    """Whether a setting of `rule_fields` was short enough to be kept."""
    return not setting.startswith(DIGEST)


def _as_written(name: str, value: Any) -> Any:
    """A setting as a rule file could say it."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if name == "entities" and value is not None:
        return value["text"] if value.get("ids") is None else value["ids"]
    return value


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) <= LONGEST_SETTING:
        return text
    return f"{DIGEST}{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def page_inputs(shown: Sequence[ShownAlert], moment: Moment) -> PageInputs:
    """What a page that shows these alerts was made from."""
    documents = [document for each in shown for document in each.documents]
    gazetteers = sorted({document.gazetteer for document in documents if document.gazetteer})
    return PageInputs(
        known_at=moment.known_at,
        alerts=tuple(_alert_inputs(each, each.seen) for each in shown[:MOST_ALERT_INPUTS] if each.seen),
        models=tuple(sorted({document.model for document in documents if document.model})[:MOST_MODELS]),
        gazetteer=gazetteers[-1] if gazetteers else None,
        story_seq=moment.story_seq,
        offsets=moment.offsets,
    )


def _alert_inputs(shown: ShownAlert, seen: Seen) -> AlertInputs:
    are_digested = len(shown.documents) < MOST_DOCUMENTS and seen.rule.has_evidence
    return AlertInputs(
        alert=shown.alert.id,
        rule=shown.alert.rule,
        rule_digest=rule_digest(seen.rule),
        start=seen.window.start,
        end=seen.window.end,
        value=shown.alert.value,
        documents=documents_digest(shown.documents) if are_digested else None,
        n=len(shown.documents),
        topic=shown.alert.topic,
        entity=shown.alert.entity,
        count=seen.observation.n,
        usual=seen.observation.usual,
        has_value=seen.observation.value is not None,
        stories=stories_digest(shown.documents) if are_digested else None,
        rule_fields=rule_fields(seen.rule),
    )
