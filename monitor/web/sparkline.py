"""A small chart of a mood over time as SVG: line, uncertainty, volume, and what is missing.  Pure.

All coordinates are in a box of WIDTH by HEIGHT that the browser stretches to the room there is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

from stream.domain.documents import SCORE_SCALE
from stream.domain.sums import Aggregate

WIDTH, HEIGHT = 240, 60
# The bars of the volume take so much at the bottom.
VOLUME_HEIGHT = 12
MOOD_HEIGHT = HEIGHT - VOLUME_HEIGHT - 4
# The half width of an interval that holds the mean in 95 of 100 cases, in standard errors.
INTERVAL = 1.96
# What is between two texts at least, from -1 to 1, where they are too few to tell.
WIDEST = 1.0


@dataclass(frozen=True)
class Bar:
    """A rectangle from the top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Sparkline:
    """What the template draws.  `line` and `band` are paths; `missing` are stretches without texts."""

    line: str
    band: str
    volumes: tuple[Bar, ...]
    missing: tuple[Bar, ...]
    last: tuple[float, float] | None
    zero: float


def uncertainty(sums: Aggregate) -> float:
    """The half width of the interval that holds the mean score in 95 of 100 cases."""
    if sums.n < 2:
        return WIDEST
    mean = sums.score_sum / sums.n
    variance = max(sums.score_squares / sums.n - mean * mean, 0.0) * sums.n / (sums.n - 1)
    return min(INTERVAL * sqrt(variance / sums.n) / SCORE_SCALE, WIDEST)


def sparkline(bins: Sequence[Aggregate | None], reach: float) -> Sparkline:
    """The chart of bins of equal width, from old to new; None for one without texts.

    The mood goes from -`reach` to `reach`; what is beyond is drawn at the edge.
    """
    step = WIDTH / max(len(bins), 1)
    xs = [step * (i + 0.5) for i in range(len(bins))]
    highest = max((sums.n for sums in bins if sums), default=0) or 1
    runs = list(_runs(bins))
    return Sparkline(
        line=" ".join(_line([(xs[i], _y(bins[i], 0, reach)) for i in run]) for run in runs),
        band=" ".join(_band(bins, xs, run, reach) for run in runs if len(run) > 1),
        volumes=tuple(
            _volume(i * step, step, sums.n / highest) for i, sums in enumerate(bins) if sums is not None
        ),
        missing=tuple(
            Bar(round(i * step, 1), 0, round(step, 1), HEIGHT) for i, s in enumerate(bins) if s is None
        ),
        last=(round(xs[runs[-1][-1]], 1), _y(bins[runs[-1][-1]], 0, reach)) if runs else None,
        zero=_level(0, reach),
    )


def _runs(bins: Sequence[Aggregate | None]) -> Iterator[list[int]]:
    """The indexes of the bins with texts, in stretches without a gap."""
    for has_texts, group in groupby(range(len(bins)), key=lambda i: bins[i] is not None):
        if has_texts:
            yield list(group)


def _y(sums: Aggregate | None, shift: float, reach: float) -> float:
    mean = sums.mean if sums else None
    return _level((mean or 0.0) + shift, reach)


def _level(value: float, reach: float) -> float:
    inside = max(-reach, min(reach, value))
    return round((reach - inside) / (2 * reach) * MOOD_HEIGHT + 1, 1)


def _line(points: Sequence[tuple[float, float]]) -> str:
    """A path through the points; a single one is a dot, by the round end of a line of no length."""
    first, *rest = points
    return f"M{first[0]:.1f} {first[1]}" + ("".join(f"L{x:.1f} {y}" for x, y in rest) or "h0")


def _band(bins: Sequence[Aggregate | None], xs: Sequence[float], run: Sequence[int], reach: float) -> str:
    widths = {i: uncertainty(sums) for i in run if (sums := bins[i]) is not None}
    upper = [(xs[i], _y(bins[i], widths[i], reach)) for i in run]
    lower = [(xs[i], _y(bins[i], -widths[i], reach)) for i in reversed(run)]
    return _line([*upper, *lower]) + "Z"


def _volume(x: float, step: float, share: float) -> Bar:
    height = round(VOLUME_HEIGHT * share, 1)
    return Bar(round(x + step * 0.1, 1), round(HEIGHT - height, 1), round(step * 0.8, 1), height)
