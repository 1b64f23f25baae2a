"""How often something may be done: so many times at once, and then so many a minute."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass
class _Bucket:
    left: float
    at: float


class RateLimit:
    """A token bucket for each key, in the memory of this process.

    Only the newest `keys` keys are kept: an attacker with many addresses costs no memory.
    """

    def __init__(self, burst: int, a_minute: float, keys: int = 10_000) -> None:
        self._burst, self._a_second, self._keys = burst, a_minute / 60, keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Count one at the time `now`, in seconds of any clock; how long to wait, 0 if it may be done."""
        bucket = self._filled(key, now)
        if bucket.left < 1:
            return (1 - bucket.left) / self._a_second
        bucket.left -= 1
        return 0

    def _filled(self, key: str, now: float) -> _Bucket:
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        # A clock that was set back fills nothing.
        bucket.left = min(self._burst, bucket.left + max(0, now - bucket.at) * self._a_second)
        bucket.at = now
        return bucket
