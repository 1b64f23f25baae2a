"""Computing pages again from what the database knew when they were made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from sys import intern

import msgspec

from alerts.backtest import replay
from alerts.detectors.base import Rule
from alerts.history.known_store import KnownStore, KnownText
from alerts.history.memory_store import Text
from alerts.incidents.verification import (
    NO_CALENDARS,
    Verdict,
    Verification,
    not_known,
    recorded_rule,
    time_range,
    verify,
)
from alerts.schedules.calendars import TradingCalendars
from alerts.settings import AlertSettings
from models.errors import DataError
from monitor.cli.backtest.report import BacktestScope
from monitor.cli.backtest.texts import time_read
from stream.domain.alerts import Alert
from stream.domain.documents import SCORE_SCALE, Kind, Precision
from stream.domain.entities import EntityMention
from stream.domain.incidents import Moment, Page, PageInputs, PageKind
from stream.domain.sums import TimeRange
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.events import EventCause
from stream.storage.known import KnownDocument, changes_kept_since, known_documents

# A page is not computed again from more documents than this: they are held in memory, a kilobyte each, so
# 3 GB at most.
MOST_DOCUMENTS = 3_000_000
SAID = {
    EventCause.CORRECTED: "was corrected by its source",
    EventCause.RELABELLED: "was labelled again",
    EventCause.ENTITIES: "has other entities",
    EventCause.ERASED: "lost its text",
}


class PageVerifier:
    """Verifies pages of one database, by the rules of now."""

    def __init__(
        self,
        store: Store,
        episodes: SqlEpisodeStore,
        rules: Iterable[Rule],
        calendars: TradingCalendars = NO_CALENDARS,
    ) -> None:
        self._store, self._episodes, self._calendars = store, episodes, calendars
        self._rules: Mapping[str, Rule] = {rule.name: rule for rule in rules}

    def verify(self, page: Page) -> Verification:
        """Compute a page again.  Raises StoreUnavailable."""
        if not page.inputs.alerts:
            # The end of an incident shows no numbers of its own.
            missing = not_known("the page says nothing of what it was made from")
            return Verification() if page.kind is PageKind.END else missing
        since = changes_kept_since(self._store.engine)
        if since is None or page.inputs.known_at < since:
            kept = "are not kept" if since is None else f"are kept since {since:%Y-%m-%d %H:%M:%S} UTC"
            return not_known(f"changes of documents {kept}, and the page is older")
        by_offsets = self._verify_at(page, page.inputs.moment)
        if by_offsets.verdict is Verdict.EQUAL:
            return by_offsets
        # A topic that was made anew meanwhile counts its offsets from 0.
        by_time = self._verify_at(page, replace(page.inputs.moment, offsets=None))
        return by_time if by_time.verdict is Verdict.EQUAL else by_offsets

    def _verify_at(self, page: Page, moment: Moment) -> Verification:
        inputs = page.inputs
        then = [recorded_rule(each, self._rules.get(each.rule)) for each in inputs.alerts]
        rules = [rule for rule in then if rule is not None]
        texts: list[KnownText] = []
        if rules:
            published = time_range(rules, inputs.alerts, self._store.width)
            texts = self._known_texts(published, moment)
            if len(texts) > MOST_DOCUMENTS:
                return not_known(f"what is usual comes from more than {MOST_DOCUMENTS:,} documents")
        first = texts[0].text.published_at if texts else page.at
        alerts = alerts_at(page.at, [*self._episodes.past_alerts(first), *self._episodes.open_alerts()])
        known = KnownStore(texts, self._store.width, alerts, self._store.reads.voices_since())
        width, evidence = self._store.width, evidence_of(page)
        return verify(inputs, page.at, self._rules, known, width, evidence, self._calendars)

    def _known_texts(self, published: TimeRange, moment: Moment) -> list[KnownText]:
        """In order of publication; one more than MOST_DOCUMENTS if there are too many."""
        kinds = [kind.value for kind in Kind]
        found = known_documents(self._store.engine, published, moment, kinds)
        texts = map(known_text, islice(found, MOST_DOCUMENTS + 1))
        return sorted(texts, key=lambda each: each.text.published_at)


def alerts_at(moment: datetime, alerts: Iterable[Alert]) -> list[Alert]:
    """The alerts as they were at a moment, open or ended; those that are dismissed by now are not known."""
    return [
        alert if alert.resolved_at and alert.resolved_at <= moment else replace(alert, resolved_at=None)
        for alert in alerts
        if alert.since <= moment
    ]


@dataclass(frozen=True)
class BacktestPage:
    """A page in the JSON of a backtest."""

    key: str
    inputs: PageInputs


@dataclass(frozen=True)
class BacktestPages:
    """What is needed of the JSON of a backtest."""

    pages: tuple[BacktestPage, ...]
    others: tuple[BacktestPage, ...]
    tested: BacktestScope


def read_backtest(file: Path) -> BacktestPages:
    """The pages in what `monitor backtest --json` printed.  Raises DataError."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=BacktestPages)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{file} is not what `monitor backtest --json` printed: {error}") from error


def texts_of_backtest(
    store: Store, tested: BacktestScope, rules: Sequence[Rule]
) -> tuple[list[Text], datetime | None]:
    """The texts that a backtest of the database read, as they were then, and since when they have stories.

    Raises StoreUnavailable.
    """
    published = time_read(tested.start, tested.end, rules)
    moment = tested.moment or Moment(datetime.now(UTC))
    found = known_documents(store.engine, published, moment, [kind.value for kind in Kind])
    texts = [each.text for each in map(known_text, found) if each.counts]
    return sorted(texts, key=lambda text: text.published_at), store.reads.voices_since()


def tested_again(
    settings: AlertSettings,
    topics: Sequence[str],
    rules: Sequence[Rule],
    texts: Sequence[Text],
    start: datetime | None,
    stories_since: datetime | None,
    calendars: TradingCalendars,
) -> dict[str, PageInputs]:
    """The inputs of the pages of a backtest by their keys, when all is tested again."""
    pages = replay(
        rules,
        topics,
        texts,
        start,
        stories_since=stories_since,
        policy=settings.incidents.policy,
        calendars=calendars,
    ).pages
    return {page.page.key: page.page.inputs for page in pages}


def evidence_of(page: Page) -> list[str]:
    """The keys of the documents that a page shows, as far as its message is there still."""
    shown = page.message.get("evidence") or ()
    return [str(item["key"]) for item in shown if item.get("key")]


def known_text(document: KnownDocument) -> KnownText:
    """A document as rules see it.  What it says is no matter.

    The words that most documents share are held once: there may be millions of documents.
    """
    row, counts = document.row, document.score is not None and document.topic is not None
    text = Text(
        id=row.id,
        source=intern(row.source),
        kind=intern(row.kind),
        published_at=row.published_at,
        content="",
        topic=intern(document.topic or ""),
        sentiment=document.sentiment and intern(document.sentiment),
        score=document.score or 0,
        author=row.author,
        symbols=tuple(row.symbols),
        lang=row.lang,
        precision=Precision(row.published_precision),
        entities=tuple(
            EntityMention(
                entity,
                entity,
                (),
                mention.relevance,
                mention.sentiment and intern(mention.sentiment),
                None,
                None if mention.score is None else mention.score / SCORE_SCALE,
            )
            for mention in document.mentions
            for entity in [intern(mention.entity)]
        ),
        events=document.events,
        assignment=document.story,
        origin=row.origin if document.story else None,
    )
    return KnownText(
        text,
        document.version,
        intern(document.model),
        document.received_at,
        counts,
        _said(document),
        document.is_unsettled,
    )


def _said(document: KnownDocument) -> str:
    """What changed since, in words."""
    said = ", ".join(dict.fromkeys(SAID[cause] for cause in document.since))
    row = document.row
    if (row.topic, row.sentiment) == (document.topic, document.sentiment):
        return said
    then, now = _label(document.topic, document.sentiment), _label(row.topic, row.sentiment)
    return f"{said}: {then} then, {now} now" if said else f"is {now} now, {then} then"


def _label(topic: str | None, sentiment: str | None) -> str:
    return f"{sentiment or 'without a certain sentiment'} on {topic or 'no topic'}"
