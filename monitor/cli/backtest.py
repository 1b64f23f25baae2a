"""`monitor backtest`: rules over history, and how many pages they would have sent."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alerts.backtest import Page, Text, backtest
from alerts.detectors.base import Rule
from models import backend_selection
from models.data.dataset import fingerprint, records
from models.errors import DataError
from models.inference.engine import Engine
from models.settings import ModelSettings, user_cache
from monitor.runtime.settings import Settings
from stream.codec import Codec
from stream.domain.documents import EPOCH, SCORE_SCALE, Document, Kind, Prediction, printable
from stream.domain.errors import FeedError, Rejected
from stream.domain.sums import window_start
from stream.feed import FeedOptions, parse_stamp, to_message, unknown_field
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.reads import evidence_words

PAGE = Path(__file__).with_suffix(".html")
CHUNK = 512
DAY = timedelta(days=1)
# A page this long before an event is known to have begun, or this long after its end, is a page for it.
SLACK = timedelta(hours=2)
# Without an end an event is taken to last so long.
LASTS = timedelta(days=1)
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Event:
    """Something that should have paged."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Caught:
    """An event and the first page for it, if any."""

    event: Event
    page: Page | None

    @property
    def delay(self) -> timedelta | None:
        """From the start of the event to the page."""
        return self.page.fired_at - self.event.start if self.page else None


@dataclass(frozen=True)
class Result:
    """What one rule file would have done: `pages` are those of severity page, `others` the rest.

    With known events: which were caught, and the pages for none of them.
    """

    rules: str
    pages: Sequence[Page]
    others: Sequence[Page]
    caught: Sequence[Caught] = ()
    false: Sequence[Page] = ()


def judge(
    models: ModelSettings,
    file: Path,
    columns: Mapping[str, str],
    kind: Kind,
    end: datetime | None,
    progress: Progress,
) -> tuple[list[Text], list[str]]:
    """The texts before `end` of stamped JSON lines, classified, and complaints about lines left out.

    What a model said of a file is kept in the cache.  Raises DataError.
    """
    if complaint := unknown_field(columns):
        raise DataError(complaint)
    documents, complaints = _documents(file, FeedOptions(columns), kind)
    engine = Engine.load(backend_selection.cached_backend(models))
    known = _cache_file(file, [Text.__slots__, engine.info.version, sorted(columns.items()), kind])
    if known.is_file():
        texts = msgspec.json.decode(known.read_bytes(), type=list[Text])
    else:
        texts = list(_classified(engine, documents, progress))
        known.parent.mkdir(parents=True, exist_ok=True)
        unfinished = known.with_suffix(".part")
        unfinished.write_bytes(msgspec.json.encode(texts))
        unfinished.replace(known)
    return _in_order([text for text in texts if end is None or text.published_at < end]), complaints


def _classified(engine: Engine, documents: Sequence[Document], progress: Progress) -> Iterator[Text]:
    for at in range(0, len(documents), CHUNK):
        part = documents[at : at + CHUNK]
        given = engine.classify([d.content for d in part], [d.lang for d in part])
        for document, said in zip(part, given, strict=True):
            if said.topic is not None and said.score is not None:
                yield _text(document, said)
        progress("classifying", (at + len(part)) / len(documents))


def _cache_file(file: Path, made_from: object) -> Path:
    """Where what a model said of a file is kept: named by the model and by what the file says."""
    digest = hashlib.sha256(json.dumps([made_from, fingerprint(file)]).encode())
    return user_cache() / f"{digest.hexdigest()[:24]}.json"


def _in_order(texts: Sequence[Text]) -> list[Text]:
    if not texts:
        raise DataError("no judged documents in that time: give other times, or a file with --data")
    return sorted(texts, key=lambda text: text.published_at)


def _documents(file: Path, options: FeedOptions, kind: Kind) -> tuple[list[Document], list[str]]:
    """Every document once, as the stream would read it; a line that cannot be read is a complaint."""
    codec = Codec(timedelta(0), 1 << 30)
    found: dict[tuple[str, str], Document] = {}
    complaints = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                message, stamp = to_message(line, options)
                document = codec.decode(json.dumps(message).encode(), kind, stamp)
            except (FeedError, Rejected) as error:
                complaints.append(f"{file}:{number}: {error}")
                continue
            found.setdefault((document.source, document.id), document)
    return list(found.values()), complaints


def _text(document: Document, said: Prediction) -> Text:
    return Text(
        document.id, document.source, document.kind.value, document.published_at,
        document.title or document.text, said.topic or "", said.counted_sentiment,
        round((said.score or 0.0) * SCORE_SCALE), document.author, document.symbols, said.lang,
        evidence_words(msgspec.to_builtins(said.evidence)), document.url,
    )  # fmt: skip


def stored(
    settings: Settings, start: datetime | None, end: datetime | None, rule_files: Sequence[Sequence[Rule]]
) -> list[Text]:
    """The judged documents of the database before `end`, from as long before `start` as rules look back."""
    lengths = [r.baseline_spec.history for rules in rule_files for r in rules if r.baseline_spec]
    back = max(lengths, default=timedelta(0))
    since = start - back if start else EPOCH
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    return _in_order(
        [
            Text(
                row.id, row.source, row.kind, row.published_at, row.title or row.text, row.topic,
                row.sentiment, row.score, row.author, tuple(row.symbols), row.lang,
                evidence_words(row.evidence), row.url,
            )
            for row in store.reads.scored_documents(since, end or datetime.max.replace(tzinfo=UTC))
        ]
    )  # fmt: skip


def run(
    name: str,
    rules: Sequence[Rule],
    topics: Sequence[str],
    texts: Sequence[Text],
    start: datetime | None,
    events: Sequence[Event],
    progress: Progress,
) -> Result:
    """Drive the rules through the texts; texts before `start` are baseline alone."""
    pages = backtest(rules, topics, texts, start, lambda share: progress(f"replaying {name}", share))
    paging = [page for page in pages if page.fired.severity == "page"]
    others = [page for page in pages if page.fired.severity != "page"]
    caught = [
        Caught(event, next((page for page in paging if _is_for(page, event)), None)) for event in events
    ]
    false = [page for page in paging if not any(_is_for(page, event) for event in events)]
    return Result(name, paging, others, caught, false if events else ())


def _is_for(page: Page, event: Event) -> bool:
    return event.start - SLACK <= page.fired_at <= event.end + SLACK


def read_events(path: Path) -> list[Event]:
    """Known events of a .csv or .jsonl file: `name`, `start` and perhaps `end`.  Raises DataError."""
    events: list[Event] = []
    for where, row in records(path):
        try:
            start = parse_stamp(row.get("start"))
            end = parse_stamp(row["end"]) if row.get("end") else start + LASTS
        except FeedError as error:
            told = str(error).replace("published_at", "start or end")
            raise DataError(f"{where}: {told}") from error
        if end < start:
            raise DataError(f"{where}: the end lies before the start")
        events.append(Event(str(row.get("name") or f"event {len(events) + 1}"), start, end))
    if not events:
        raise DataError(f"{path}: no events; each line needs start, and may have name and end")
    return events


def as_answer(results: Sequence[Result], documents: int) -> dict[str, Any]:
    """The first result as JSON shows it; with a second rule file, that one under `against`."""
    first, *rest = results
    answer = _answer(first) | {"documents": documents}
    return answer | {"against": _answer(rest[0])} if rest else answer


def _answer(result: Result) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "rules": result.rules,
        "pages": [_page(page) for page in result.pages],
        "others": [_page(page) for page in result.others],
    }
    if result.caught:
        found = [caught for caught in result.caught if caught.delay is not None]
        answer["events"] = [
            {
                "name": caught.event.name,
                "start": caught.event.start,
                "fired_at": caught.page.fired_at if caught.page else None,
                "delay_seconds": caught.delay.total_seconds() if caught.delay is not None else None,
            }
            for caught in result.caught
        ]
        answer["recall"] = len(found) / len(result.caught)
        answer["false_pages"] = len(result.false)
    return answer


def _page(page: Page) -> dict[str, Any]:
    fired = page.fired
    return {
        "rule": fired.rule,
        "topic": fired.topic,
        "severity": fired.severity,
        "fired_at": page.fired_at,
        "resolved_at": page.now.resolved_at,
        "value": fired.value,
        "threshold": fired.threshold,
        "n": fired.n,
        "summary": fired.summary,
        "uncertainty": fired.uncertainty,
        "evidence": fired.evidence,
    }


def show(results: Sequence[Result], texts: Sequence[Text], console: Console) -> None:
    """The pages as tables for people, a rule file each, and what known events say of them."""
    first, last = texts[0].published_at, texts[-1].published_at
    days = max((last - first) / DAY, 1.0)
    console.print(f"{len(texts)} documents from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
    for result in results:
        rate = len(result.pages) / days * 30
        console.print(
            f"\n{escape(result.rules)}: {len(result.pages)} pages, {rate:.1f} a month, and "
            f"{len(result.others)} alerts of lower severity",
            highlight=False,
        )
        table = Table("fired (UTC)", "for", "rule", "severity", "what", "worst text")
        for page in sorted((*result.pages, *result.others), key=lambda page: page.fired_at):
            fired, ended = page.fired, page.now.resolved_at
            worst = printable(fired.evidence[0].content) if fired.evidence else ""
            table.add_row(
                f"{page.fired_at:%Y-%m-%d %H:%M}", _length(ended - page.fired_at) if ended else "open",
                fired.rule, fired.severity, escape(f"{fired.summary}; {fired.uncertainty}"), escape(worst),
            )  # fmt: skip
        if table.row_count:
            console.print(table)
        for caught in result.caught:
            told = f"paged after {_length(caught.delay)}" if caught.delay is not None else "MISSED"
            console.print(f"{escape(caught.event.name)}: {told}", highlight=False)
        if result.caught:
            console.print(f"pages for no known event: {len(result.false)}", highlight=False)


def _length(length: timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    sign, minutes = ("-" if minutes < 0 else ""), abs(minutes)
    return f"{sign}{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{sign}{minutes} min"


@dataclass(frozen=True)
class Bar:
    """One day of the timeline."""

    day: datetime
    texts: int
    negative: int


def timeline(texts: Sequence[Text]) -> list[Bar]:
    """Texts and negatives of each day, from the first to the last."""
    days: dict[datetime, tuple[int, int]] = {}
    for text in texts:
        day = window_start(text.published_at, DAY)
        n, negative = days.get(day, (0, 0))
        days[day] = (n + 1, negative + (text.sentiment == "negative"))
    first, last = min(days), max(days)
    every = [first + i * DAY for i in range((last - first) // DAY + 1)]
    return [Bar(day, *days.get(day, (0, 0))) for day in every]


def html(results: Sequence[Result], texts: Sequence[Text]) -> str:
    """The timeline and the pages as one page without scripts; everything from outside is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["lasting"] = _length
    bars = timeline(texts)
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        results=results, bars=bars, first=bars[0].day, most=max(bar.texts for bar in bars),
        documents=len(texts), day=DAY,
    )  # fmt: skip


def png(path: Path, results: Sequence[Result], texts: Sequence[Text]) -> None:
    """The timeline as a picture.  Raises DataError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.dates import date2num
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("--png needs matplotlib: pip install 'sentiment-monitor[plots]'") from error
    bars = timeline(texts)
    days: list[float] = [date2num(bar.day) for bar in bars]  # type: ignore[no-untyped-call]
    figure = Figure(figsize=(11, 2 + 0.5 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(days, [bar.texts for bar in bars], color="#c9d3df", label="texts a day")
    axes.bar(days, [bar.negative for bar in bars], color="#c0392b", label="negative")
    for number, result in enumerate(results):
        stamps: list[float] = [date2num(p.fired_at) for p in result.pages]  # type: ignore[no-untyped-call]
        height = -(number + 1) * 0.08 * max(bar.texts for bar in bars)
        axes.plot(stamps, [height] * len(stamps), "v", label=f"pages of {result.rules}")
    axes.xaxis_date()
    axes.legend(loc="upper left", fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
