"""The facts of a page in the words of somebody who was asleep.  Pure.

Times are in UTC, with how long before the page they were.  No sentence has an end, so that every form of a
page can join them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from alerts.incidents.page_facts import PageFacts
from alerts.incidents.robustness import Robustness
from alerts.wording import counted_text, number_text, rarity_text, span_text
from stream.domain.incidents import PageKind
from stream.domain.sums import Counted

MINUTE = timedelta(minutes=1)
SMALL_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def how_much(facts: PageFacts) -> str:
    """How much and how unusual, such as "23 negative voices in 15 minutes where 1 is usual; chance alone
    would do this less than once in a century"; of an incident that is over, how much it was at most."""
    before = facts.before
    if facts.kind is PageKind.END:
        return "" if before is None else f"at its largest: {before.largest}"
    said = facts.leading.in_words
    return said if facts.chance_per_year is None else f"{said}; {rarity_text(facts.chance_per_year)}"


def since(facts: PageFacts) -> str:
    """Since when, and where it was first seen."""
    if facts.kind is PageKind.END:
        return f"first seen {time_text(facts.seen_since)} at {facts.seen_by}" if facts.seen_by else ""
    where = f", first seen at {facts.seen_by}" if facts.seen_by else ""
    return f"since {moment_text(facts.seen_since, facts.at)}{where}"


def lasted(facts: PageFacts) -> str:
    """How long an incident lasted that is over; empty for one that is not."""
    if facts.kind is not PageKind.END:
        return ""
    incident = facts.incident
    end = incident.over_since or facts.at
    length = span_text(end - incident.began_at)
    return f"it lasted {length}, from {time_text(incident.began_at)} to {time_text(end)}"


def counts(facts: PageFacts) -> str:
    """Such as "23 negative voices tell 4 stories, from 19 origins and 12 authors; 13 copies are left out";
    empty if the page is about no texts."""
    if not facts.texts:
        return ""
    if not facts.origins:
        texts = number_text(facts.texts, Counted.TEXTS, "negative ")
        return f"{_at_least(facts)}{texts}, who said them first is not known yet"
    voices = _at_least(facts) + number_text(facts.voices, Counted.VOICES, "negative ")
    writers = counted_text(facts.origins, "origin")
    if facts.authors:
        writers += f" and {counted_text(facts.authors, 'author')}"
    tell = "tells" if facts.voices == 1 else "tell"
    text = f"{voices} {tell} {number_text(facts.stories, Counted.STORIES)}, from {writers}"
    if facts.copies:
        are = "is" if facts.copies == 1 else "are"
        text += f"; {counted_text(facts.copies, 'copy', 'copies')} {are} left out"
    return text


def _at_least(facts: PageFacts) -> str:
    in_all = "in all, " if facts.kind is PageKind.END else ""
    return f"{in_all}at least " if facts.at_least else in_all


def robust(robustness: Robustness | None) -> str:
    """How robust an alert is, in words; empty if that is not known."""
    if robustness is None:
        return ""
    number = robustness.still_fires_without
    if not number:
        return "" if robustness.at_least else "it hangs on one origin: without that one it would not fire"
    more = ", and perhaps without more" if robustness.at_least else ""
    return f"it would still fire without any {_number(number)} of its origins{more}"


def _number(number: int) -> str:
    return SMALL_NUMBERS[number] if number < len(SMALL_NUMBERS) else f"{number:,}"


def changes(facts: PageFacts) -> list[str]:
    """What changed since the last page of the incident: each a short sentence.  Empty for its first and last
    page."""
    before = facts.before
    if before is None or facts.kind is not PageKind.UPDATE:
        return []
    found = []
    if facts.severity != before.severity:
        found.append(f"severity {facts.severity} instead of {before.severity}")
    if facts.voices > before.voices:
        voices = number_text(facts.voices, Counted.VOICES, "negative ")
        found.append(f"{voices} instead of {before.voices}")
    if facts.stories > before.stories:
        found.append(f"{number_text(facts.stories, Counted.STORIES)} instead of {before.stories}")
    new = [each.name for each in facts.who if each.id not in before.entities]
    if new:
        found.append(f"now also about {_listed(new)}")
    rules = sorted({each.alert.rule for each in facts.alerts} - set(before.rules))
    if rules:
        found.append(f"seen by {_listed(rules)} too")
    return found


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def moment_text(time: datetime, at: datetime) -> str:
    """A time, and how long before `at` it was."""
    ago = at - time
    return f"{time_text(time)} ({span_text(ago)} ago)" if ago >= MINUTE else f"{time_text(time)} (just now)"


def time_text(time: datetime) -> str:
    """Such as 13 June 2022, 02:14 UTC."""
    return f"{time.day} {time:%B %Y, %H:%M} UTC"
