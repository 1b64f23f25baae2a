"""Changes of a rule that follow from what the desk said of its pages.  Pure.

A number is proposed only if it would have kept every alert that the desk called right.  Whether it would have
kept what nobody judged, and what it misses otherwise, a backtest says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.detectors.base import Rule
from alerts.incidents.judgement import Precision
from stream.domain.documents import Kind
from stream.domain.incident_actions import JudgedAlert, Verdict
from stream.domain.sums import Counted

# With fewer wrong incidents nothing is proposed: it could be chance.
FEWEST_WRONG = 3
# A number is proposed if it would have spared so large a part of the wrong alerts.
WORTH = 0.5
RELEVANCES = (0, 20, 40, 60, 80)
# The novelty of a text that adds something of its own.
NOVEL = 40

Measure = Callable[[JudgedAlert], int | None]
# The settings whose measure of each alert is known; the rule fires from the setting on.
LEVERS: Mapping[str, Measure] = {
    "min_voices": lambda alert: alert.voices,
    "min_sources": lambda alert: alert.sources,
}


@dataclass(frozen=True, slots=True)
class Advice:
    """A change of one setting of a rule, and why; `setting` is empty where no setting of the rule helps."""

    setting: str
    present: Any
    proposed: Any
    why: str

    @property
    def in_words(self) -> str:
        """Such as: min_voices: 12 instead of 4; it would have spared ..."""
        if not self.setting:
            return self.why
        return f"{self.setting}: {self.proposed} instead of {self.present}; {self.why}"


def advise(rule: Rule, alerts: Sequence[JudgedAlert], precision: Precision) -> list[Advice]:
    """What may be changed in a rule, the best supported first; nothing without enough verdicts."""
    if precision.wrong_in_all < FEWEST_WRONG:
        return []
    own = [alert for alert in alerts if alert.rule == rule.name]
    return [*_numbers(rule, own), *_by_verdict(rule, precision)] or _budget(rule, precision)


def _numbers(rule: Rule, alerts: Sequence[JudgedAlert]) -> list[Advice]:
    """The setting that would have spared most wrong alerts and kept all that were right."""
    wrong = [alert for alert in alerts if alert.is_wrong]
    right = [alert for alert in alerts if alert.is_right]
    best: tuple[int, Advice] | None = None
    for setting, measure in LEVERS.items():
        proposed, spared = _least(measure, wrong, right)
        present = getattr(rule, setting)
        if proposed is None or proposed <= present or spared < WORTH * len(wrong):
            continue
        why = f"{spared} of {len(wrong)} wrong alerts would not have come, all {len(right)} right ones would"
        if best is None or spared > best[0]:
            best = spared, Advice(setting, present, proposed, why)
    return [best[1]] if best else []


def _least(
    measure: Measure, wrong: Sequence[JudgedAlert], right: Sequence[JudgedAlert]
) -> tuple[int | None, int]:
    """The largest number that keeps all right alerts, and how many wrong ones it spares.

    Without a right one, the number that spares half of the wrong ones.  None if a right one has no measure.
    """
    kept = [measure(alert) for alert in right]
    found = sorted(value for alert in wrong if (value := measure(alert)) is not None)
    if not found or None in kept:
        return None, 0
    limit = min((value for value in kept if value is not None), default=found[len(found) // 2] + 1)
    spared = sum(value < limit for value in found)
    # No larger than it must be.
    needed = max((value for value in found if value < limit), default=limit) + 1
    return min(limit, needed), spared


def _by_verdict(rule: Rule, precision: Precision) -> list[Advice]:
    """What each kind of wrong page calls for, the most frequent first."""
    wrong = precision.wrong or {}
    makes = {
        Verdict.OLD: _for_old,
        Verdict.WRONG_COMPANY: _for_wrong_company,
        Verdict.WRONG_MOOD: _for_wrong_mood,
        Verdict.NOT_NEWS: _for_not_news,
    }
    often = [verdict for verdict, n in sorted(wrong.items(), key=lambda each: -each[1]) if n >= FEWEST_WRONG]
    found = (makes[verdict](rule, wrong[verdict]) for verdict in often if verdict in makes)
    return [advice for advice in found if advice]


def _for_old(rule: Rule, n: int) -> Advice | None:
    if rule.count is Counted.TEXTS and rule.watches_documents:
        why = f"{n} incidents were old news: copies are no voices"
        return Advice("count", rule.count.value, Counted.VOICES.value, why)
    if rule.min_novelty < NOVEL:
        why = f"{n} incidents were old news: what repeats a known story is left out"
        return Advice("min_novelty", rule.min_novelty, NOVEL, why)
    return None


def _for_wrong_company(rule: Rule, n: int) -> Advice | None:
    if rule.entities is None:
        return Advice("", None, None, f"{n} incidents named the wrong company: correct the list of entities")
    higher = [relevance for relevance in RELEVANCES if relevance > rule.min_relevance]
    if not higher:
        return None
    why = f"{n} incidents were about another company: who is named in passing is left out"
    return Advice("min_relevance", rule.min_relevance, higher[0], why)


def _for_wrong_mood(_rule: Rule, n: int) -> Advice:
    why = (
        f"{n} incidents had the wrong mood, which no setting of a rule mends: raise models.certain_from, so "
        "that texts of which the model is unsure do not count"
    )
    return Advice("", None, None, why)


def _for_not_news(rule: Rule, n: int) -> Advice | None:
    if Kind.COMMENT not in rule.kinds or len(rule.kinds) == 1:
        return None
    why = f"{n} incidents were not news: comments do not count"
    return Advice("kinds", _listed(rule.kinds), _listed((Kind.NEWS,)), why)


def _listed(kinds: Sequence[Kind]) -> str:
    return f"[{', '.join(kinds)}]"


def _budget(rule: Rule, precision: Precision) -> list[Advice]:
    """A smaller budget, where nothing else helps and more pages are wrong than it allows."""
    budget, wrong = rule.false_page_budget, precision.wrong_a_month
    if not budget or wrong <= budget:
        return []
    proposed = float(f"{budget * budget / wrong:.1g}")
    why = f"{wrong:.1f} pages a month were wrong: a smaller budget wants less probable windows"
    return [Advice("false_pages_per_month", budget, proposed, why)]
