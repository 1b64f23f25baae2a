"""Novelty: how new a document is, from 100 for the first of its kind down to 0.

It falls by a quarter with each document of the same story within the day before, and is 100 again after a
day of silence: 100, 75, 56, 42, 32, 24, 18, 13, 10, ...  These are the values that RavenPack publishes for
its Event Novelty Score.
"""

from datetime import timedelta

NOVELTY_WINDOW = timedelta(hours=24)
# From so many documents on it is 0.
MOST_EARLIER = 20
_NOVELTY = tuple(round(100 * 0.75**earlier) for earlier in range(MOST_EARLIER))


def novelty(earlier: int) -> int:
    """The novelty of a document with so many documents of its story within the day before it."""
    return _NOVELTY[earlier] if earlier < MOST_EARLIER else 0
