"""The sample feed: news and comments in English and Chinese about invented companies, and surges of bad news.

A seeded generator writes the texts, so two runs send the same texts, with different times and ids.  Some
texts are copies of earlier ones by other publishers, and some events are reported by several of them.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.demo.calm import CalmTexts
from monitor.demo.drafts import Draft
from monitor.demo.surge import SurgeScript
from monitor.demo.world import load_world
from stream.domain.documents import Kind

# After so long without a text of the surge, the next one begins another.
PAUSE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Sample:
    """One message of the feed: its kind and its JSON object, and the id of the message that it copies."""

    kind: Kind
    message: dict[str, object]
    copy_of: str | None = None


class SampleFeed:
    """Generates the feed; `run` becomes part of the ids, so that two runs have different ones."""

    def __init__(self, run: str, seed: int = 7) -> None:
        world = load_world()
        self._run, self._times = run, random.Random(seed)
        # Generators of their own: calm texts are the same whenever a surge comes between them.
        self._calm = CalmTexts(world, random.Random(seed + 1))
        self._script, self._surge = SurgeScript(world, random.Random(seed + 2)), deque[Draft]()
        self._surged_at: datetime | None = None

    def history(self, until: datetime, length: timedelta, per_second: float) -> Iterator[Sample]:
        """Calm texts with timestamps spread over the `length` before `until`, in order of time."""
        count = int(length.total_seconds() * per_second)
        shares = sorted(self._times.random() for _ in range(count))
        for share in shares:
            yield self.calm(until - length + length * share)

    def calm(self, published_at: datetime) -> Sample:
        """A text of an ordinary day; three in five are news, the others comments."""
        return self._sample(self._calm.next(), published_at)

    def surge(self, published_at: datetime) -> Sample:
        """The next text of the surge; after a pause or the last text, of one about another bank."""
        if not self._surge or (self._surged_at and published_at - self._surged_at > PAUSE):
            self._surge = deque(self._script.next())
        self._surged_at = published_at
        return self._sample(self._surge.popleft(), published_at)

    def _sample(self, draft: Draft, published_at: datetime) -> Sample:
        id_ = f"{self._run}-{draft.number}"
        place = "news" if draft.kind is Kind.NEWS else "posts"
        fields: dict[str, object] = {
            "title": draft.title,
            "text": draft.text,
            "author": draft.author,
            "symbols": list(draft.symbols),
        }
        message: dict[str, object] = {
            "id": id_,
            "source": draft.publisher.name,
            "published_at": published_at.isoformat(),
            "lang": draft.lang,
            "url": f"https://{draft.publisher.host}/{place}/{id_}",
            **{name: value for name, value in fields.items() if value},
        }
        return Sample(draft.kind, message, draft.copy_of and f"{self._run}-{draft.copy_of}")
