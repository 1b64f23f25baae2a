"""The report of a backtest: JSON, a table, a page, or a picture."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alerts.backtest import SentPage
from alerts.history.memory_store import Text
from models.errors import DataError
from monitor.cli.backtest.outcome import Result
from monitor.web.rendering import format_duration, render
from stream.domain.documents import printable
from stream.domain.incidents import Moment, PageKind
from stream.domain.sums import window_start

DAY = timedelta(days=1)


@dataclass(frozen=True)
class BacktestScope:
    """What was tested, by which it can be tested again: the options --from and --to, and the moment at which
    the database was read; None for a file."""

    start: datetime | None = None
    end: datetime | None = None
    moment: Moment | None = None


def as_answer(
    results: Sequence[Result], documents: int, tested: BacktestScope = BacktestScope()
) -> dict[str, Any]:
    """The first result as JSON; the one of a second rule file is under `against`."""
    first, *rest = results
    answer = _answer(first) | {"documents": documents, "tested": tested}
    return answer | {"against": _answer(rest[0])} if rest else answer


def _answer(result: Result) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "rules": result.rules,
        "pages": [_page(page) for page in result.pages],
        "others": [_page(page) for page in result.others],
    }
    if outcomes := result.event_outcomes:
        paged = [outcome for outcome in outcomes if outcome.delay is not None]
        answer["events"] = [
            {
                "name": outcome.event.name,
                "start": outcome.event.start,
                "fired_at": outcome.page.at if outcome.page else None,
                "delay_seconds": outcome.delay.total_seconds() if outcome.delay is not None else None,
            }
            for outcome in outcomes
        ]
        answer["recall"] = len(paged) / len(outcomes)
        answer["false_pages"] = len(result.false_pages)
    return answer


def _page(page: SentPage) -> dict[str, Any]:
    alert, message = page.alert, page.message
    return {
        "incident": page.page.incident,
        "page": page.kind,
        "number": page.page.number,
        "title": message["title"],
        "rule": alert.rule,
        "rules": [seen["rule"] for seen in message["alerts"]],
        "topic": alert.topic,
        "entities": message["entities"],
        "severity": message["severity"],
        "fired_at": page.at,
        "resolved_at": page.incident.ended_at,
        "value": alert.value,
        "threshold": alert.threshold,
        "n": alert.n,
        "counted": alert.counted,
        "texts": message["texts"],
        "stories": message["stories"],
        "voices": message["voices"],
        "copies": message["copies"],
        "robustness": message["robustness"],
        "summary": alert.summary,
        "uncertainty": alert.uncertainty,
        "evidence": message["evidence"],
        "key": page.page.key,
        "inputs": page.page.inputs,
    }


def show(results: Sequence[Result], texts: Sequence[Text], console: Console) -> None:
    """Print the alerts of each rule file as a table, and which known events were paged."""
    first, last = texts[0].published_at, texts[-1].published_at
    days = max((last - first) / DAY, 1.0)
    console.print(f"{len(texts)} documents from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
    for result in results:
        rate = result.incidents / days * 30
        console.print(
            f"\n{escape(result.rules)}: {_counted(result.incidents, 'incident')} that page, {rate:.1f} a "
            f"month, with {_counted(len(result.pages), 'page')}, and {_counted(len(result.others), 'page')} "
            "of lower severity",
            highlight=False,
        )
        if result.pages or result.others:
            console.print(_table(result))
        for outcome in result.event_outcomes:
            delay = outcome.delay
            verdict = "MISSED" if delay is None else f"paged after {format_duration(delay)}"
            console.print(f"{escape(outcome.event.name)}: {verdict}", highlight=False)
        if result.event_outcomes:
            console.print(f"pages that match no known event: {len(result.false_pages)}", highlight=False)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _table(result: Result) -> Table:
    table = Table("sent (UTC)", "page", "severity", "what", "rule", "saw")
    for page in sorted((*result.pages, *result.others), key=lambda page: page.at):
        alert = page.alert
        lasted = f" after {format_duration(page.at - page.incident.began_at)}" if page.page.number > 1 else ""
        table.add_row(
            f"{page.at:%Y-%m-%d %H:%M}",
            f"{page.kind}{lasted}",
            str(page.message["severity"]),
            escape(printable(page.message["title"])),
            alert.rule,
            escape("; ".join(filter(None, (alert.summary, alert.stories_text, alert.uncertainty)))),
        )
    return table


@dataclass(frozen=True)
class DayCounts:
    """One day of the timeline."""

    day: datetime
    texts: int
    negative: int


def timeline(texts: Sequence[Text]) -> list[DayCounts]:
    """The texts and negative texts of each day, from the first day to the last."""
    days: dict[datetime, tuple[int, int]] = {}
    for text in texts:
        day = window_start(text.published_at, DAY)
        n, negative = days.get(day, (0, 0))
        days[day] = (n + 1, negative + (text.sentiment == "negative"))
    first, last = min(days), max(days)
    days_in_order = [first + i * DAY for i in range((last - first) // DAY + 1)]
    return [DayCounts(day, *days.get(day, (0, 0))) for day in days_in_order]


def backtest_html(results: Sequence[Result], texts: Sequence[Text]) -> str:
    """The timeline and the pages as one HTML page without scripts, all texts escaped."""
    bars = timeline(texts)
    return render(
        "backtest.html",
        results=results,
        bars=bars,
        first=bars[0].day,
        highest=max(bar.texts for bar in bars),
        documents=len(texts),
        day=DAY,
    )


def require_plots() -> None:
    """Raises DataError where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise DataError("--png needs matplotlib: pip install 'sentiment-monitor[plots]'")


def png(path: Path, results: Sequence[Result], texts: Sequence[Text]) -> None:
    """The timeline as a picture.  Needs matplotlib: see `require_plots`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import date2num
    from matplotlib.figure import Figure

    bars = timeline(texts)
    days: list[float] = [date2num(bar.day) for bar in bars]  # type: ignore[no-untyped-call]
    figure = Figure(figsize=(11, 2 + 0.5 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(days, [bar.texts for bar in bars], color="#c9d3df", label="texts a day")
    axes.bar(days, [bar.negative for bar in bars], color="#c0392b", label="negative")
    for number, result in enumerate(results):
        stamps: list[float] = [date2num(p.at) for p in result.pages if p.kind is PageKind.BEGIN]  # type: ignore[no-untyped-call]
        height = -(number + 1) * 0.08 * max(bar.texts for bar in bars)
        axes.plot(stamps, [height] * len(stamps), "v", label=f"pages of {result.rules}")
    axes.xaxis_date()
    axes.legend(loc="upper left", fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
