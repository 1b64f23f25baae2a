"""How right the pages of a rule are, from what the desk said of its incidents.  Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream.domain.incident_actions import JudgedAlert, Verdict

# The interval holds the true share in 90 of 100 cases.
Z = 1.645
MONTH = timedelta(days=30.44)


@dataclass(frozen=True, slots=True)
class Precision:
    """What the desk said of the incidents of one rule that paged in a time of this `length`."""

    rule: str
    length: timedelta
    incidents: int = 0
    right: int = 0
    wrong: Mapping[Verdict, int] | None = None

    @property
    def wrong_in_all(self) -> int:
        return sum((self.wrong or {}).values())

    @property
    def judged(self) -> int:
        return self.right + self.wrong_in_all

    @property
    def share(self) -> float | None:
        """The share of the judged incidents that were right; None without any."""
        return self.right / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which shares the true one lies (Wilson's interval, 90 %); None without a judgement."""
        return None if self.share is None else wilson(self.share, self.judged)

    @property
    def wrong_a_month(self) -> float:
        """How many wrong incidents paged a month: what stands beside the budget of false pages."""
        return self.wrong_in_all * (MONTH / self.length)

    @property
    def in_words(self) -> str:
        """Such as: 5 of 8 judged incidents were right (36 % to 82 %), 3 of 11 were not judged."""
        if self.interval is None:
            return f"nobody has judged any of its {self.incidents} incidents"
        low, high = self.interval
        text = f"{self.right} of {self.judged} judged incidents were right ({low:.0%} to {high:.0%})"
        unjudged = self.incidents - self.judged
        return f"{text}, {unjudged} of {self.incidents} were not judged" if unjudged else text


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of `n` (1927), which holds for few and for shares of 0 and 1 too."""
    scale = 1 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / scale
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def precisions(alerts: Iterable[JudgedAlert], since: datetime, now: datetime) -> dict[str, Precision]:
    """The precision of each rule with an alert in an incident that began since then; an incident counts once
    for each of its rules."""
    by_rule: dict[str, dict[str, JudgedAlert]] = {}
    for alert in alerts:
        by_rule.setdefault(alert.rule, {})[alert.incident] = alert
    length = max(now - since, timedelta(seconds=1))
    return {rule: _precision(rule, incidents.values(), length) for rule, incidents in by_rule.items()}


def _precision(rule: str, incidents: Iterable[JudgedAlert], length: timedelta) -> Precision:
    found = list(incidents)
    wrong = Counter(each.verdict for each in found if each.is_wrong and each.verdict)
    return Precision(rule, length, len(found), sum(each.is_right for each in found), dict(wrong))
