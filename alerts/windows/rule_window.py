"""The window that a rule sees at a time."""

from datetime import datetime, timedelta

from alerts.detectors.base import Rule
from stream.domain.sums import TimeRange, window_start


def rule_window(rule: Rule, at: datetime, width: timedelta) -> TimeRange:
    """The rule's window at a time: whole stored windows of `width`, of which the last is still filling."""
    current = window_start(at, width)
    return TimeRange(min(current - rule.window + width, current), at)
