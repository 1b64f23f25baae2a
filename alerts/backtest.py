"""Rules over history: the alert loop itself, driven through the past over texts held in memory."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from alerts.delivery.pages import Delivery
from alerts.detectors.base import Rule
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from stream.domain.alerts import OPEN_STATES, Alert, EvidenceItem, PageRequest, Transition
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import SUM_FIELDS, Aggregate, Scope, Selection, contribution, window_start

MINUTE = timedelta(minutes=1)
# How often the past is looked at where no text asks for it: while an alert is open, and otherwise.
OPEN_STEP, QUIET_STEP = timedelta(minutes=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Text:
    """A judged document of the past; `sentiment` is None where the model was not certain, `score` is in
    fixed point."""

    id: str
    source: str
    kind: str
    published_at: datetime
    content: str
    topic: str
    sentiment: str | None
    score: int
    author: str | None = None
    symbols: tuple[str, ...] = ()
    lang: str | None = None
    words: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One firing notification: the episode as it was when it fired, and as it is now."""

    fired: Alert
    now: Alert

    @property
    def fired_at(self) -> datetime:
        return self.fired.fired_at or self.fired.since


class MemoryStore:
    """The alert room's store over a fixed list of texts: sums are differences of running totals."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.texts = sorted(texts, key=lambda text: text.published_at)
        self.stamps = np.array([_micros(text.published_at) for text in self.texts], np.int64)
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for at, text in enumerate(self.texts):
            places[text.topic, text.kind].append(at)
        self._groups = {key: self._running(found) for key, found in sorted(places.items())}
        self._selected: dict[Selection, MemoryStore] = {}
        self.alerts: dict[str, Alert] = {}
        self.fired: dict[str, Alert] = {}

    def _running(self, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Stamps in microseconds [n] and running totals [n + 1, len(SUM_FIELDS)] of one topic and kind."""
        rows = np.zeros((len(places) + 1, len(SUM_FIELDS)), np.int64)
        for row, at in enumerate(places, 1):
            rows[row] = contribution(self.texts[at].sentiment, self.texts[at].score)
        return self.stamps[list(places)], rows.cumsum(0)

    def _of(self, selection: Selection) -> "MemoryStore":
        if not selection:
            return self
        if selection not in self._selected:
            self._selected[selection] = MemoryStore([t for t in self.texts if _chosen(t, selection)])
        return self._selected[selection]

    def _within(self, scope: Scope) -> list[Text]:
        own = self._of(scope.selection)
        first, last = np.searchsorted(own.stamps, [_micros(scope.start), _micros(scope.end)])
        found = own.texts[first:last]
        return [t for t in found if scope.topic in (None, t.topic) and t.kind in scope.kinds]

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        found = []
        for (topic, kind), (stamps, totals) in self._of(selection)._groups.items():
            first, last = np.searchsorted(stamps, [_micros(start), _micros(end)])
            if last > first:
                found.append(Aggregate(start, topic, kind, *map(int, totals[last] - totals[first])))
        return found

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        found = []
        size = width // timedelta(microseconds=1)
        for (topic, kind), (stamps, totals) in self._of(selection)._groups.items():
            first, last = np.searchsorted(stamps, [_micros(start), _micros(end)])
            numbers = stamps[first:last] // size
            edges = [first, *(np.flatnonzero(np.diff(numbers)) + 1 + first), last]
            for a, b in pairwise(edges):
                if b > a:
                    at = EPOCH + int(stamps[a] // size) * width
                    found.append(Aggregate(at, topic, kind, *map(int, totals[b] - totals[a])))
        return sorted(found, key=lambda cell: cell.start)

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        found = [t for t in self._within(scope) if t.sentiment is not None]
        found.sort(key=lambda t: (t.score, t.published_at, t.source, t.id))
        return [
            EvidenceItem(t.source, t.id, t.published_at, t.content, t.score / SCORE_SCALE, t.words, t.url)
            for t in found[:limit]
        ]

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        found = [t for t in self._within(scope) if t.sentiment == "negative"]
        tally = Counter(t.source for t in found)
        sources = dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))
        return sources, len({t.author for t in found if t.author})

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        return {t.source: t.published_at for t in self._within(scope)}

    def late_windows(self, since: datetime, before: datetime) -> list[datetime]:
        return []  # a file's texts came when they were published

    def open_alerts(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.state in OPEN_STATES]

    def past_alerts(self, since: datetime) -> list[Alert]:
        ended = [(a.resolved_at, a) for a in self.alerts.values() if a.fired_at and a.resolved_at]
        return [alert for at, alert in sorted(ended, key=lambda pair: pair[0]) if at >= since]

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
    ) -> None:
        for alert in changed:
            self.alerts[alert.id] = alert
            if alert.fired_at == now:
                self.fired.setdefault(alert.id, alert)
        for id_ in dropped:
            self.alerts.pop(id_, None)


def backtest(
    rules: Sequence[Rule],
    topics: Sequence[str],
    texts: Sequence[Text],
    start: datetime | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Page]:
    """What `rules` would have sent over the texts from `start` on, in order; older texts are baseline.

    The clock goes from text to text by the minute, and looks in between for what should end.
    """
    store = MemoryStore(texts)
    if not store.texts:
        return []
    evaluator = AlertEvaluator(
        rules=rules,
        topics=topics,
        reader=store,
        episodes=store,
        delivery=Delivery(),
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )
    moments = _moments(store, start)
    first, last = moments[0], moments[-1]
    before: datetime | None = None
    for moment in moments:
        while before is not None and store.open_alerts() and before + OPEN_STEP < moment:
            before += OPEN_STEP
            evaluator.evaluate(before)
        evaluator.evaluate(moment)
        before = moment
        progress((moment - first) / (last - first) if last > first else 1.0)
    pages = [Page(alert, store.alerts.get(id_, alert)) for id_, alert in store.fired.items()]
    return sorted(pages, key=lambda page: (page.fired_at, page.fired.rule))


def _moments(store: MemoryStore, start: datetime | None) -> list[datetime]:
    """Each minute's end in which a text came, and each hour."""
    begin = max(start or store.texts[0].published_at, store.texts[0].published_at)
    end = store.texts[-1].published_at + MINUTE
    found = {
        window_start(text.published_at, MINUTE) + MINUTE for text in store.texts if text.published_at >= begin
    }
    return sorted(found | set(_steps(begin, end)))


def _steps(start: datetime, end: datetime) -> Iterator[datetime]:
    at = window_start(start, QUIET_STEP) + QUIET_STEP
    while at < end:
        yield at
        at += QUIET_STEP


def _micros(stamp: datetime) -> int:
    return (stamp.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def _chosen(text: Text, selection: Selection) -> bool:
    return (
        (not selection.sources or text.source in selection.sources)
        and (not selection.languages or text.lang in selection.languages)
        and (not selection.symbols or bool(set(selection.symbols) & set(text.symbols)))
    )
