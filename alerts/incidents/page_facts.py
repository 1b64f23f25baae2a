"""What a page says, before words: gathered from the alerts of an incident, what their rules saw, and stories.

Pure, apart from the few reads of names, headlines and origins that it asks of the reader.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.detectors.base import ALL_TOPICS, Rule, Subject
from alerts.incidents.joining import URGENCY
from alerts.incidents.page_inputs import Seen, ShownAlert
from alerts.incidents.robustness import Robustness, robustness
from alerts.ports import AggregateReader, WordCheck
from alerts.windows.evidence import distinct_stories
from alerts.windows.window_reader import (
    EVIDENCE_CANDIDATES,
    EVIDENCE_ITEMS,
    NAMED_SOURCES,
    all_texts,
    scope_of,
)
from alerts.wording import subject_title
from stream.domain.alerts import FIRING_STATES, Alert, EvidenceItem, Severity
from stream.domain.documents import Kind
from stream.domain.incidents import MOST_DOCUMENTS, Headline, Incident, PageDocument, PageKind
from stream.domain.sums import Counted, Scope, TimeRange

# A page shows so many alerts, topics and names of who it is about.
SHOWN_ALERTS, SHOWN_TOPICS, SHOWN_NAMES = 20, 5, 20
ALL_NEWS, FEED = "All topics", "The feed"

FindRunbook = Callable[[Rule | None], str | None]


def no_runbook(rule: Rule | None) -> str | None:
    """For a monitor without runbooks."""
    return None


@dataclass(frozen=True, slots=True)
class Named:
    """An entity: its id, and how a reader knows it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """One alert of an incident: the episode, and what its rule saw, in words.

    `window` is how far the rule looks back, None if it is gone.  `chance_per_year` is how often chance alone
    does this, None if the rule computes no such chance.
    """

    alert: Alert
    in_words: str
    rule: Rule | None = None
    window: timedelta | None = None
    chance_per_year: float | None = None
    runbook: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """How large an incident was on a page, so that the next one says what changed.

    `rules` are those that saw it.  `largest` is what the leading rule saw on the page with most voices so
    far, and `most_voices` how many that had.
    """

    at: datetime
    severity: str
    voices: int
    stories: int
    entities: tuple[str, ...]
    rules: tuple[str, ...]
    largest: str
    most_voices: int


@dataclass(frozen=True, slots=True)
class PageFacts:
    """All that a page says.

    `who` are the entities that it is about, none if it is about a topic: `subject` is what readers call that.
    `headline` stands for the largest story, None if stories are not known.  `alerts` come with the leading
    one first: of those that fire the most urgent, and of these the least likely by chance.  `window`, `usual`
    and `chance_per_year` are those of the leading alert; `texts`, `voices`, `stories`, `origins`, `authors`,
    `copies`, `topics` and `sources` count the negative texts in its window, on the last page those of the
    whole incident.  `at_least` is whether those are only the latest of more.  `seen_since` is when the
    largest story was first seen, and `seen_by` where.  `evidence` has one text of each story, the worst
    first.  `before` is how large the incident was on the last page.
    """

    incident: Incident
    kind: PageKind
    number: int
    at: datetime
    subject: str
    who: tuple[Named, ...]
    headline: Headline | None
    alerts: tuple[AlertFacts, ...]
    texts: int
    voices: int
    stories: int
    origins: int
    authors: int
    copies: int
    at_least: bool
    seen_since: datetime
    seen_by: str
    topics: Mapping[str, int]
    sources: Mapping[str, int]
    evidence: tuple[EvidenceItem, ...]
    robustness: Robustness | None = None
    before: Figures | None = None
    link: str = ""

    @property
    def leading(self) -> AlertFacts:
        return self.alerts[0]

    @property
    def window(self) -> timedelta | None:
        return self.leading.window

    @property
    def usual(self) -> float | None:
        return self.leading.alert.usual

    @property
    def chance_per_year(self) -> float | None:
        return self.leading.chance_per_year

    @property
    def runbook(self) -> str | None:
        return self.leading.runbook

    @property
    def severity(self) -> Severity:
        """How urgent the page is: as its incident."""
        return self.incident.severity

    @property
    def what(self) -> str:
        """What happened: the headline, or else the worst text, or what the rule saw."""
        if self.headline is not None:
            return self.headline.text
        return self.evidence[0].content if self.evidence else self.leading.in_words

    @property
    def title(self) -> str:
        """Who and what, as short as a receiver shows it: the incident's, or the one for a new incident."""
        return self.incident.title or subject_title(self.subject, self.what)


def page_facts(
    incident: Incident,
    kind: PageKind,
    number: int,
    shown: Sequence[ShownAlert],
    reader: AggregateReader,
    *,
    at: datetime,
    rules: Mapping[str, Rule] = {},
    before: Mapping[str, Any] | None = None,
    link: str = "",
    runbook: FindRunbook = no_runbook,
    check_words: WordCheck = lambda item: item,
) -> PageFacts:
    """The facts of a page of an incident at a time.

    `shown` are its alerts, one or more: those that fire, with the negative documents in their windows; for
    the last page all of them.  `rules` are the present ones by name, and `before` is the message of the last
    page.  Raises StoreUnavailable.
    """
    shown = sorted(shown, key=_prominence)
    leading = shown[0]
    documents = leading.documents
    if kind is PageKind.END:
        documents = _all_documents([each.alert for each in shown], rules, reader, at)
    voices = [document for document in documents if document.counts_as_voice]
    who = _who(incident, leading.alert, reader)
    headline = _headline(voices or documents, reader, at)
    seen_since, seen_by = _first_seen(headline, documents, incident)
    return PageFacts(
        incident=incident,
        kind=kind,
        number=number,
        at=at,
        subject=_subject(who, leading),
        who=who,
        headline=headline,
        alerts=tuple(_alert_facts(each, rules, runbook) for each in shown[:SHOWN_ALERTS]),
        texts=len(documents),
        voices=len(voices),
        stories=len({document.story for document in documents} - {None}),
        origins=len({voice.origin for voice in voices} - {None}),
        authors=len({voice.author for voice in voices} - {None}),
        copies=sum(document.copy_of is not None for document in documents),
        at_least=len(documents) >= MOST_DOCUMENTS,
        seen_since=seen_since,
        seen_by=seen_by,
        topics=_most_common((voice.topic for voice in voices), SHOWN_TOPICS),
        sources=_most_common((document.source for document in documents), NAMED_SOURCES),
        evidence=_evidence(incident, shown, kind, reader, check_words),
        robustness=None if kind is PageKind.END else _robustness(leading, reader),
        before=None if before is None else figures(before),
        link=link,
    )


def figures(message: Mapping[str, Any]) -> Figures | None:
    """How large an incident was by the message of a page; None if an older version wrote that."""
    found = message.get("figures")
    return None if found is None else _as_figures(found)


def _as_figures(found: Mapping[str, Any]) -> Figures:
    at = found["at"]
    return Figures(**{
        **found,
        "at": datetime.fromisoformat(at) if isinstance(at, str) else at,
        "entities": tuple(found["entities"]),
        "rules": tuple(found["rules"]),
    })  # fmt: skip


def _prominence(shown: ShownAlert) -> tuple[bool, int, float, str, str, str]:
    """The order in which a page shows alerts: those that fire first, but for those that show an earlier
    value, since their window has too few documents now."""
    alert, seen = shown.alert, shown.seen.observation if shown.seen else None
    rarity = float("inf") if seen is None or seen.chance_per_year is None else seen.chance_per_year
    quiet = alert.state not in FIRING_STATES or (seen is not None and seen.value is None)
    return quiet, URGENCY[alert.severity], rarity, alert.rule, alert.topic, alert.entity or ""


def _all_documents(
    alerts: Iterable[Alert], rules: Mapping[str, Rule], reader: AggregateReader, at: datetime
) -> list[PageDocument]:
    """The negative documents of an incident from the first window of each alert on, each once; no more than
    MOST_DOCUMENTS."""
    found: dict[str, PageDocument] = {}
    for alert in alerts:
        rule, room = rules.get(alert.rule), MOST_DOCUMENTS - len(found)
        if rule is not None and rule.has_evidence and room > 0:
            time = TimeRange((alert.fired_at or alert.since) - rule.window, at)
            scope = all_texts(scope_of(rule, Subject(alert.topic, alert.entity), time))
            documents = reader.negative_documents(scope, rule.min_relevance, room)
            found |= {document.key: document for document in documents}
    return list(found.values())


def _who(incident: Incident, alert: Alert, reader: AggregateReader) -> tuple[Named, ...]:
    """Whom a page is about: the leading alert's entity first, then the others in the order they came."""
    own = () if alert.entity is None else (alert.entity,)
    ids = tuple(dict.fromkeys((*own, *incident.lead_entities)))[:SHOWN_NAMES]
    names = reader.entity_names(ids) if ids else {}
    known = {} if alert.entity is None else {alert.entity: alert.entity_name or alert.entity}
    return tuple(Named(id_, names.get(id_) or known.get(id_, id_)) for id_ in ids)


def _subject(who: Sequence[Named], leading: ShownAlert) -> str:
    """What a reader calls what a page is about."""
    if who:
        return ", ".join(each.name for each in who[:2]) + (f" and {len(who) - 2} more" if who[2:] else "")
    rule = leading.seen.rule if leading.seen else None
    if rule is not None and not rule.has_evidence:
        return f"{FEED} {', '.join(rule.sources)}".rstrip()
    return ALL_NEWS if leading.alert.topic == ALL_TOPICS else leading.alert.topic


def _headline(documents: Iterable[PageDocument], reader: AggregateReader, at: datetime) -> Headline | None:
    """What stands for the largest story that news tells, else for the largest; of several, for the one with
    the worst text."""
    sizes: Counter[int] = Counter()
    in_news: set[int] = set()
    worst: dict[int, float] = {}
    for document in documents:
        if document.story is not None:
            sizes[document.story] += 1
            worst[document.story] = min(document.score, worst.get(document.story, document.score))
            if document.kind == Kind.NEWS:
                in_news.add(document.story)
    if not sizes:
        return None
    largest = min(sizes, key=lambda story: (story not in in_news, -sizes[story], worst[story], story))
    return reader.headlines([largest], at).get(largest)


def _first_seen(
    headline: Headline | None, documents: Sequence[PageDocument], incident: Incident
) -> tuple[datetime, str]:
    """When and where the largest story was first seen, or else the first of the documents."""
    if headline is not None:
        return headline.first_seen_at, headline.first_seen_by
    if not documents:
        return incident.began_at, ""
    first = min(documents, key=lambda document: (document.received_at, document.key))
    return first.received_at, first.source


def _most_common(names: Iterable[str], most: int) -> dict[str, int]:
    """The most frequent names, in an order that equal names always have."""
    counts = Counter(names)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def _alert_facts(shown: ShownAlert, rules: Mapping[str, Rule], runbook: FindRunbook) -> AlertFacts:
    alert, seen = shown.alert, shown.seen
    rule = seen.rule if seen else rules.get(alert.rule)
    chance = seen.observation.chance_per_year if seen else None
    if rule is None:
        return AlertFacts(alert, alert.summary.removeprefix(f"{alert.subject}: "))
    return AlertFacts(alert, rule.in_words(alert), rule, rule.window, chance, runbook(rule))


def _evidence(
    incident: Incident,
    shown: Sequence[ShownAlert],
    kind: PageKind,
    reader: AggregateReader,
    check_words: WordCheck,
) -> tuple[EvidenceItem, ...]:
    """One text of each story, the worst first: what the alerts began with, and on an update the worst now.

    Where some are negative, the others say nothing about the event; where some are about its leading
    entities, nor do those that are about none of them.
    """
    leads, seen = set(incident.lead_entities), shown[0].seen
    documents = (text for each in shown for text in each.documents)
    others = {text.key for text in documents if leads and leads.isdisjoint(text.entities)}
    of_alerts = [item for each in shown for item in each.alert.evidence]
    found = [item for item in of_alerts if item.key not in others]
    is_short = kind is PageKind.BEGIN and len(found) < len(of_alerts)
    if (is_short or kind is PageKind.UPDATE) and seen is not None and seen.rule.has_evidence:
        worst = reader.most_negative(all_texts(_scope(seen)), EVIDENCE_CANDIDATES)
        now = [item for item in worst if item.key not in others]
        found = [*map(check_words, distinct_stories(now, EVIDENCE_ITEMS)), *found]
    found = found or of_alerts
    found = [item for item in found if item.score < 0] or found
    of_stories: dict[object, EvidenceItem] = {}
    for item in sorted(found, key=lambda item: (item.score, item.published_at, item.key)):
        of_stories.setdefault(item.key or item.id if item.story is None else item.story, item)
    return tuple(of_stories.values())[:EVIDENCE_ITEMS]


def _scope(seen: Seen) -> Scope:
    """The documents that a rule counted in its window."""
    window = TimeRange(seen.window.start, seen.window.end)
    return scope_of(seen.rule, seen.subject, window, late=seen.late)


def _robustness(leading: ShownAlert, reader: AggregateReader) -> Robustness | None:
    """That of an alert that its rule raises now; None if it is not known: some text has no origin yet."""
    seen = leading.seen
    if seen is None or not seen.observation.breached or not seen.rule.has_evidence or seen.rule.step_length:
        return None
    rule, scope = seen.rule, _scope(seen)
    origins = reader.sums_by_origin(scope)
    if None in origins:
        return None
    writers = _writers(rule, leading.documents)
    return robustness(
        rule,
        rule.firing(rule.subject_text(seen.subject), seen.window),
        {origin: total for origin, total in origins.items() if origin is not None},
        voices=_voices(scope, reader) if rule.min_voices > 1 else None,
        sources=None if writers is None else writers[0],
        authors=None if writers is None else writers[1],
    )


def _voices(scope: Scope, reader: AggregateReader) -> Mapping[str, int]:
    """The negative voices of each origin, whatever the rule counts."""
    voices = replace(scope, selection=replace(scope.selection, counted=Counted.VOICES))
    sums = reader.sums_by_origin(voices).items()
    return {origin: total.negative for origin, total in sums if origin is not None}


def _writers(
    rule: Rule, documents: Sequence[PageDocument]
) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]] | None:
    """The sources and the authors of the negative documents that a rule counts, by origin; None if not all of
    them are known."""
    if len(documents) >= MOST_DOCUMENTS or rule.count is Counted.STORIES:
        return None
    sources, authors = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for document in documents:
        if rule.count is Counted.VOICES and not document.is_voice:
            continue
        if document.origin is None:
            return None
        sources[document.origin].add(document.source)
        if document.author:
            authors[document.origin].add(document.author)
    return sources, authors
