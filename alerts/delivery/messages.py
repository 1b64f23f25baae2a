"""The messages of pages and of the alerts topic, as JSON, and smaller forms of them.  Pure.

A page tells of an incident (`incident_message`).  It has all fields of the message of its leading alert, as
version 0.4 sent them, so that the receivers of that version go on working.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from alerts.detectors.base import Rule
from alerts.incidents import page_words
from alerts.incidents.joining import URGENCY
from alerts.incidents.page_facts import AlertFacts, Figures, PageFacts
from stream.domain.alerts import Alert, AlertState, EvidenceItem
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD
from stream.domain.incidents import Headline, PageKind, page_key

# A page shows the beginning of an article, and of the sources those with the most negative documents.
LONGEST_URL, SHOWN_SOURCES = 2048, 50
# The longest headline in a message, and what is left of a sentence and of a list in the shortest form.
LONGEST_HEADLINE, LONGEST_SENTENCE, SHORTEST_LIST = 500, 200, 3
# The sentences of a page about an incident.
SENTENCES = ("what", "how_much", "since_text", "counts_text", "robustness_text", "lasted_text")


def alert_key(alert: Alert) -> str:
    """The key of a change of an episode's state, by which a consumer recognises a repeat."""
    return f"{alert.id}:{alert.state}"


def alert_message(
    alert: Alert, rule: Rule | None = None, link: str = "", runbook: str | None = None
) -> dict[str, Any]:
    """A change of an alert's state, as JSON on the alerts topic."""
    return {
        "key": alert_key(alert),
        "id": alert.id,
        "incident": alert.incident,
        "rule": alert.rule,
        "topic": alert.topic,
        "entity": alert.entity,
        "entity_name": alert.entity_name,
        "state": alert.state,
        "severity": alert.severity,
        "message": alert.message or alert.summary,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        "usual": alert.usual,
        "n": alert.n,
        "counted": alert.counted,
        "texts": alert.texts,
        "stories": alert.stories,
        "voices": alert.voices,
        "copies": alert.copies,
        "stories_text": alert.stories_text,
        "uncertainty": alert.uncertainty,
        "since": alert.since,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "labels": labels_of(alert, rule),
        "runbook": runbook,
        "link": link,
        "sources": dict(islice(alert.sources.items(), SHOWN_SOURCES)),
        "evidence": [_shown(item) for item in alert.evidence],
    }


def incident_message(facts: PageFacts) -> dict[str, Any]:
    """A page, as JSON.

    `id` is that of the incident, as receivers recognise its end by that.  The fields that end in `_text`, and
    `what`, `how_much` and `changes`, are the words of a page; the others are for programs.
    """
    leading, incident, kind = facts.leading, facts.incident, facts.kind
    ended = kind is PageKind.END
    return {
        **alert_message(leading.alert, leading.rule, facts.link, leading.runbook),
        "key": page_key(incident.id, kind, facts.number),
        "id": incident.id,
        "incident": incident.id,
        "page": kind,
        "number": facts.number,
        "at": facts.at,
        "state": AlertState.RESOLVED if ended else leading.alert.state,
        "severity": facts.severity,
        "resolved_at": (incident.ended_at or facts.at) if ended else None,
        "title": facts.title,
        "subject": facts.subject,
        "who": [asdict(each) for each in facts.who],
        "entities": [each.id for each in facts.who],
        "what": cut(facts.what, LONGEST_HEADLINE),
        "headline": _headline(facts.headline),
        "how_much": page_words.how_much(facts),
        "changes": page_words.changes(facts),
        "since_text": page_words.since(facts),
        "lasted_text": page_words.lasted(facts),
        "counts_text": page_words.counts(facts),
        "robustness_text": page_words.robust(facts.robustness),
        "began_at": incident.began_at,
        "seen_since": facts.seen_since,
        "seen_by": facts.seen_by,
        "texts": facts.texts,
        "voices": facts.voices,
        "stories": facts.stories,
        "origins": facts.origins,
        "authors": facts.authors,
        "copies": facts.copies,
        "at_least": facts.at_least,
        "window_seconds": None if facts.window is None else facts.window.total_seconds(),
        "chance_per_year": facts.chance_per_year,
        "topics": facts.topics,
        "sources": facts.sources,
        "evidence": [_shown(item) for item in facts.evidence],
        "robustness": None if facts.robustness is None else asdict(facts.robustness),
        "acknowledged_by": incident.acknowledged_by,
        "alerts": [_seen_by_rule(each) for each in facts.alerts],
        "figures": asdict(_figures(facts)),
    }


def _headline(headline: Headline | None) -> dict[str, Any] | None:
    return None if headline is None else asdict(headline) | {"text": cut(headline.text, LONGEST_HEADLINE)}


def _seen_by_rule(facts: AlertFacts) -> dict[str, Any]:
    """What one rule saw, with its numbers."""
    alert = facts.alert
    names = ("id", "rule", "topic", "entity", "entity_name", "state", "severity", "summary", "uncertainty",
             "value", "threshold", "usual", "n", "counted", "fired_at", "resolved_at")  # fmt: skip
    seen = {name: getattr(alert, name) for name in names}
    return seen | {"in_words": facts.in_words, "message": alert.message, "runbook": facts.runbook}


def _figures(facts: PageFacts) -> Figures:
    """How large the incident is on this page, for the next one."""
    before, words = facts.before, facts.leading.in_words
    is_end, voices = facts.kind is PageKind.END, facts.voices or facts.leading.alert.n
    is_largest = before is None or (not is_end and voices > before.most_voices)
    return Figures(
        at=facts.at,
        severity=facts.severity,
        voices=facts.voices,
        stories=facts.stories,
        entities=tuple(each.id for each in facts.who),
        rules=tuple(sorted({each.alert.rule for each in facts.alerts})),
        largest=words if before is None or is_largest else before.largest,
        most_voices=voices if before is None or is_largest else before.most_voices,
    )


def is_of_incident(message: Mapping[str, Any]) -> bool:
    """Whether a message tells of an incident; one that version 0.4 queued tells of an alert."""
    return "page" in message


def subject_of(page: Mapping[str, Any]) -> str:
    """What a page is about, as readers call it.  A page that version 0.3.0 queued knows no entity."""
    return str(page.get("subject") or page.get("entity_name") or page["topic"])


def labels_of(alert: Alert, rule: Rule | None) -> Mapping[str, str]:
    """The labels with which the alert fired; those of its rule if it was stored before they were kept."""
    if alert.labels is not None:
        return alert.labels
    return rule.labels if rule else {}


def _shown(item: EvidenceItem) -> EvidenceItem:
    """An item with its words and its address within limits; a cut address would lead elsewhere."""
    words = tuple(cut(word, LONGEST_WORD) for word in item.words)
    return replace(item, words=words, url=item.url if len(item.url or "") <= LONGEST_URL else None)


def page_forms(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A page, and the same with less and less in it: the last has title and link alone.

    Every form has the fields of the first.  One with less in it says so: `shortened` is true.
    """
    others = page.get("others", [])
    yield page
    if others:
        yield {**page, "others": [_without_details(other) for other in others], "shortened": True}
    for smaller in (_without_details, _title_and_link):
        form = smaller(page)
        yield {**form, "others": [smaller(other) for other in others]} if others else form


def _without_details(message: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {"evidence": [], "sources": {}}
    if is_of_incident(message):
        details |= {"alerts": [], "topics": {}}
    return {**message, **details, "shortened": True}


def _title_and_link(message: Mapping[str, Any]) -> dict[str, Any]:
    form = {**_without_details(message), "uncertainty": "", "labels": {}, "runbook": None}
    sentences = ["message", "summary"]
    if is_of_incident(message):
        sentences += SENTENCES
        form |= {name: message[name][:SHORTEST_LIST] for name in ("who", "entities", "changes")}
        form |= {"headline": None, "figures": {}}
    return form | {name: cut(message[name], LONGEST_SENTENCE) for name in sentences}


def _urgency(message: Mapping[str, Any]) -> int:
    """A severity that another version queued, and this one does not know, is urgent."""
    return URGENCY.get(message.get("severity", ""), 0)


def merge_pages(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pages that go together as one page: the first of the most urgent, with the rest as its `others`.

    A merged page has a key made of the keys of all, so that a receiver that already has one of them does not
    drop the rest as a repeat.
    """
    first, *others = sorted(messages, key=_urgency)
    keys = [message["key"] for message in (first, *others)]
    key = keys[0]
    if others:
        key = f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:24]}:{first['state']}"
    return {**first, "key": key, "keys": keys, "others": others}
