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

from alerts.backtest import Page, Text
from models.errors import DataError
from monitor.cli.backtest.outcome import Result
from monitor.web.rendering import format_duration, render
from stream.domain.documents import printable
from stream.domain.sums import window_start

DAY = timedelta(days=1)


def as_answer(results: Sequence[Result], documents: int) -> dict[str, Any]:
    """The first result as JSON; the one of a second rule file is under `against`."""
    first, *rest = results
    answer = _answer(first) | {"documents": documents}
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
                "fired_at": outcome.page.fired_at if outcome.page else None,
                "delay_seconds": outcome.delay.total_seconds() if outcome.delay is not None else None,
            }
            for outcome in outcomes
        ]
        answer["recall"] = len(paged) / len(outcomes)
        answer["false_pages"] = len(result.false_pages)
    return answer


def _page(page: Page) -> dict[str, Any]:
    fired = page.fired
    return {
        "rule": fired.rule,
        "topic": fired.topic,
        "entities": page.entities,
        "severity": fired.severity,
        "fired_at": page.fired_at,
        "resolved_at": page.now.resolved_at,
        "value": fired.value,
        "threshold": fired.threshold,
        "n": fired.n,
        "counted": fired.counted,
        "texts": fired.texts,
        "stories": fired.stories,
        "voices": fired.voices,
        "copies": fired.copies,
        "summary": fired.summary,
        "uncertainty": fired.uncertainty,
        "evidence": fired.evidence,
    }


def show(results: Sequence[Result], texts: Sequence[Text], console: Console) -> None:
    """Print the alerts of each rule file as a table, and which known events were paged."""
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
        if result.pages or result.others:
            console.print(_table(result))
        for outcome in result.event_outcomes:
            delay = outcome.delay
            verdict = "MISSED" if delay is None else f"paged after {format_duration(delay)}"
            console.print(f"{escape(outcome.event.name)}: {verdict}", highlight=False)
        if result.event_outcomes:
            console.print(f"pages that match no known event: {len(result.false_pages)}", highlight=False)


def _table(result: Result) -> Table:
    table = Table("fired (UTC)", "for", "rule", "severity", "what", "worst text")
    for page in sorted((*result.pages, *result.others), key=lambda page: page.fired_at):
        fired, ended = page.fired, page.now.resolved_at
        worst = printable(fired.evidence[0].content) if fired.evidence else ""
        table.add_row(
            f"{page.fired_at:%Y-%m-%d %H:%M}",
            format_duration(ended - page.fired_at) if ended else "open",
            fired.rule,
            fired.severity,
            escape("; ".join(filter(None, (fired.summary, fired.stories_text, fired.uncertainty)))),
            escape(worst),
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
        stamps: list[float] = [date2num(p.fired_at) for p in result.pages]  # type: ignore[no-untyped-call]
        height = -(number + 1) * 0.08 * max(bar.texts for bar in bars)
        axes.plot(stamps, [height] * len(stamps), "v", label=f"pages of {result.rules}")
    axes.xaxis_date()
    axes.legend(loc="upper left", fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
