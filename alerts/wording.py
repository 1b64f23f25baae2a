"""Numbers in the words that operators read in alerts: durations, chances, confidence."""

import math
from collections.abc import Sequence
from datetime import timedelta

from alerts.baselines.statistics import chances_per_year, standard_error, wilson_interval
from stream.domain.alerts import StoryCounts
from stream.domain.budgets import MARK, cut
from stream.domain.documents import SCORE_SCALE, printable
from stream.domain.incidents import LONGEST_TITLE
from stream.domain.sums import Aggregate, Counted

DAYS_PER_YEAR = 365.25
MONTHS_PER_YEAR = 12
RARE, VERY_RARE = 1e-3, 1e-6  # times a year
CENTURY = 0.01  # times a year
ALMOST_NOTHING, HARDLY_ANY, LESS_THAN_ONE = 0.01, 0.05, 0.75  # documents
# One thing, and several, of those that a rule counts.
NOUNS = {
    Counted.TEXTS: ("document", "documents"),
    Counted.VOICES: ("voice", "voices"),
    Counted.STORIES: ("story", "stories"),
}
# Who a title is about takes at most half of it.
LONGEST_SUBJECT = LONGEST_TITLE // 2
# Types of events that a sentence names.
SHOWN_EVENTS = 4


def events_text(events: Sequence[str]) -> str:
    """Types of events in a sentence, such as "default, guidance cut or recall"."""
    names = [event_text(name) for name in events[:SHOWN_EVENTS]]
    if len(events) > len(names):
        names.append(f"{len(events) - len(names)} other events")
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def event_text(name: str) -> str:
    """A type of event in words: guidance_cut is "guidance cut"."""
    return name.replace("_", " ")


def nouns(counted: Counted) -> str:
    """What sentences call several of the things that a rule counts."""
    return NOUNS[counted][1]


def number_text(n: int, counted: Counted, what: str = "") -> str:
    """Such as 1 document or 12 voices; `what` comes before the noun, such as "negative "."""
    return f"{n} {what}{NOUNS[counted][n != 1]}"


def story_counts_text(counts: StoryCounts, *, negative: bool) -> str:
    """Such as "51 negative texts in 4 stories, 38 voices, 13 copies"."""
    of = "negative " if negative else ""
    texts = f"{counts.texts} {of}{'text' if counts.texts == 1 else 'texts'}"
    stories, voices = number_text(counts.stories, Counted.STORIES), number_text(counts.voices, Counted.VOICES)
    copies = f"{counts.copies} {'copy' if counts.copies == 1 else 'copies'}"
    return f"{texts} in {stories}, {voices}, {copies}"


def duration_text(length: timedelta) -> str:
    """Such as 40 s, 15 min, 12 h or 7 days."""
    seconds = length.total_seconds()
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{seconds / size:.0f} {unit}"
    return f"{round(seconds / 86_400, 1):g} days"


def subject_title(subject: str, what: str) -> str:
    """Who and what within LONGEST_TITLE characters; what names who by itself gets no name before it."""
    what = " ".join(printable(what).split())
    shown = cut(what, LONGEST_TITLE)
    subject = cut(" ".join(printable(subject).split()), LONGEST_SUBJECT)
    if subject.casefold() in shown.casefold():
        return shown
    return cut(f"{subject}: {what}", LONGEST_TITLE)


def sentence(text: str) -> str:
    """A part of a sentence as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', MARK)) else '.'}" if text else ""


def span_text(length: timedelta) -> str:
    """A length of time in whole words, such as "15 minutes", "5 hours 20 minutes" or "1 day 2 hours"."""
    seconds = max(round(length.total_seconds()), 0)
    if seconds < 60:
        return counted_text(seconds, "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return counted_text(minutes, "minute")
    if minutes < 2880:
        return _two_units(*divmod(minutes, 60), "hour", "minute")
    return _two_units(*divmod(round(minutes / 60), 24), "day", "hour")


def _two_units(large: int, small: int, large_name: str, small_name: str) -> str:
    rest = f" {counted_text(small, small_name)}" if small else ""
    return f"{counted_text(large, large_name)}{rest}"


def counted_text(n: int, one: str, several: str = "") -> str:
    """Such as 1 hour or 3 hours; `several` is the plural if it is not `one` with an s."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def usual_text(amount: float) -> str:
    """What is usual, as a number of things, such as "1 is usual" or "40 are usual"."""
    if amount < HARDLY_ANY:
        return "hardly any is usual"
    if amount < LESS_THAN_ONE:
        return "less than 1 is usual"
    whole = round(amount)
    return f"{whole:,} are usual" if whole > 1 else "1 is usual"


def rarity_text(times_per_year: float) -> str:
    """How often chance alone does something, as far as a person on call needs to know."""
    often = "less than once in a century" if times_per_year < CENTURY else frequency_text(times_per_year)
    return f"chance alone would do this {often}"


def frequency_text(times_per_year: float) -> str:
    """How often something happens, such as "about 3 times a year" or "less than once in a million years"."""
    if times_per_year < VERY_RARE:
        return "less than once in a million years"
    if times_per_year < RARE:
        return "less than once in a thousand years"
    if times_per_year < 1:
        years = _two_digits(1 / times_per_year)
        return f"about once in {years:,} years" if years > 1 else "about once a year"
    if times_per_year < MONTHS_PER_YEAR:
        return f"about {_times(times_per_year)} a year"
    if times_per_year < DAYS_PER_YEAR:
        return f"about {_times(times_per_year / MONTHS_PER_YEAR)} a month"
    return "at least once a day"


def chance_text(chance: float, allowed: float, window: timedelta, share: float) -> str:
    """How often chance alone produces such a window, and how often the rule's budget lets it.

    `chance` and `allowed` are probabilities for a single window of a topic or entity that has this share of
    the rule's budget.  They become times a year by the number of independent windows that a year has
    (`statistics.chances_per_year`), over everything that the rule watches.
    """
    windows = chances_per_year(window.total_seconds()) / share
    return (
        f"would happen by chance {frequency_text(chance * windows)}; "
        f"the rule's limit is {frequency_text(allowed * windows)}"
    )


def ratio_text(observed: float, usual: float) -> str:
    """Such as "5.5 times the usual 0.7"; `usual` is above 0.  A ratio to almost nothing says little."""
    if usual < ALMOST_NOTHING:
        return f"usually less than {ALMOST_NOTHING:g}"
    ratio = observed / usual
    return f"{ratio:,.{1 if ratio < 100 else 0}f} times the usual {amount_text(usual)}"


def amount_text(amount: float) -> str:
    """A number of documents that need not be whole; small ones keep two digits."""
    return f"{amount:.1f}" if amount >= 0.1 else f"{amount:.2g}"


def share_confidence(window: Aggregate) -> str:
    """The confidence interval of a window's share of negative documents."""
    low, high = wilson_interval(window.negative, window.n)
    return f"share of negatives between {low:.0%} and {high:.0%} with 95% confidence"


def mean_confidence(window: Aggregate) -> str:
    """The standard error of a window's mean score."""
    squares = window.score_squares / SCORE_SCALE**2
    error = standard_error(window.n, window.score_sum / SCORE_SCALE, squares)
    return f"standard error of the mean score {error:.3f}" if math.isfinite(error) else "one document only"


def _times(count: float) -> str:
    whole = round(count)
    return {1: "once", 2: "twice"}.get(whole, f"{whole} times")


def _two_digits(number: float) -> int:
    """Rounded to two significant digits."""
    return int(float(f"{number:.1e}")) if number >= 10 else round(number)
