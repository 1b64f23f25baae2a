"""Digests of what a page is made from, so that it can be computed again (`monitor verify`).  Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def page_inputs(shown: Sequence[ShownAlert], moment: Moment) -> PageInputs:
    """What a page that shows these alerts was made from."""
    documents = [document for each in shown for document in each.documents]
    gazetteers = sorted({document.gazetteer for document in documents if document.gazetteer})
    return PageInputs(
        known_at=moment.known_at,
        alerts=tuple(_alert_inputs(each, each.seen) for each in shown[:MOST_ALERT_INPUTS] if each.seen),
        models=tuple(sorted({document.model for document in documents if document.model})),
        gazetteer=gazetteers[-1] if gazetteers else None,
        story_seq=moment.story_seq,
        offsets=moment.offsets,
    )


def _alert_inputs(shown: ShownAlert, seen: Seen) -> AlertInputs:
    whole = len(shown.documents) < MOST_DOCUMENTS
    return AlertInputs(
        alert=shown.alert.id,
        rule=shown.alert.rule,
        rule_digest=rule_digest(seen.rule),
        start=seen.window.start,
        end=seen.window.end,
        value=shown.alert.value,
        documents=documents_digest(shown.documents) if whole and seen.rule.has_evidence else None,
        n=len(shown.documents),
    )
