"""The times of a rule's own alerts, which are no part of what is usual.

Otherwise the burst that an alert is about would become usual while it lasts: the alert's value would fall
although more texts come.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from alerts.detectors.base import Rule
from alerts.ports import EpisodeStore
from alerts.windows.rule_window import rule_window
from stream.domain.sums import TimeRange

# What lasts longer becomes usual: otherwise an alert would never end after a lasting change, or fire again.
LONGEST_LEFT_OUT = timedelta(days=1)


def own_alert_times(
    rule: Rule, episodes: EpisodeStore, since: datetime, end: datetime, width: timedelta
) -> Mapping[str, Sequence[TimeRange]]:
    """The times of the rule's alerts that end at `since` or later, open ones until `end`, each a day at most:
    by topic, or by entity if the rule watches entities.

    Each starts where the rule's window started when the alert began; `width` is that of the stored windows.
    What came before was usual then, and stays so.
    """
    times: dict[str, list[TimeRange]] = {}
    for alert in [*episodes.past_alerts(since), *episodes.open_alerts()]:
        subject = alert.topic if rule.entities is None else alert.entity
        if alert.rule != rule.name or subject is None:
            continue
        until = min(alert.resolved_at or end, alert.since + LONGEST_LEFT_OUT)
        start = rule_window(rule, alert.since, width).start
        times.setdefault(subject, []).append(TimeRange(start, until))
    return times
