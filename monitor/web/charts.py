"""The data of charts, in the form that `static/desk.js` draws."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from monitor.web.mood import Mood, Span
from stream.storage.desk.stories import Stretch

Tone = Literal["ink", "good", "bad", "quiet"]


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """One value for each of the chart's times; None where it is missing.  A band has `low` and `high`."""

    label: str
    kind: Literal["line", "band", "bars"]
    scale: Literal["mood", "count"]
    values: Sequence[float | None] = ()
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    tone: Tone = "ink"


class Mark(msgspec.Struct, frozen=True):
    """A stretch of time that is drawn behind the chart, in seconds since 1970; it lasts if `end` is None."""

    start: float
    end: float | None
    label: str


class Chart(msgspec.Struct, frozen=True):
    """`times` are in seconds since 1970."""

    times: Sequence[float]
    series: Sequence[Series]
    marks: Sequence[Mark] = ()

    @property
    def attribute(self) -> str:
        """What a figure has in `data-chart`."""
        return msgspec.json.encode({"data": self}).decode()


def mood_chart(mood: Mood) -> Chart:
    """The mean score with how sure it is, where it usually is, how many texts there are, and the alerts."""
    points = mood.points
    series = [
        Series("texts", "bars", "count", [None if point.is_missing else point.n for point in points]),
        # Where there is no text, hardly any mean would be unusual.
        _band("usually", [point.usual if point.n else None for point in points], "quiet"),
        _band("how sure (95 %)", [point.sure for point in points], "ink"),
        Series("mood", "line", "mood", [_short(point.mean) for point in points]),
    ]
    marks = [
        Mark(alert.fired_at.timestamp(), alert.until.timestamp() if alert.until else None, alert.rule)
        for alert in mood.alerts
    ]
    return Chart([point.start.timestamp() for point in points], series, marks)


def spread_chart(stretches: Sequence[Stretch], width: timedelta, end: datetime) -> Chart:
    """How many texts and voices a story had at each time, up to its `end`."""
    times: list[float] = []
    texts, voices = [0], [0]
    for stretch in stretches:
        if not times or stretch.start.timestamp() > times[-1]:
            times.append(stretch.start.timestamp())
            texts.append(texts[-1])
            voices.append(voices[-1])
        times.append(min(stretch.start + width, end).timestamp())
        texts.append(texts[-1] + stretch.texts)
        voices.append(voices[-1] + stretch.voices)
    return Chart(
        times,
        [
            Series("texts so far, copies too", "line", "count", texts[1:], tone="quiet"),
            Series("voices so far", "line", "count", voices[1:]),
        ],
    )


def _band(label: str, spans: Sequence[Span | None], tone: Tone) -> Series:
    low = [_short(span.low if span else None) for span in spans]
    high = [_short(span.high if span else None) for span in spans]
    return Series(label, "band", "mood", low=low, high=high, tone=tone)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
