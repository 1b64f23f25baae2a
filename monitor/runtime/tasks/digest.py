"""Sends the digest of each day, in the monitor that evaluates the rules."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from alerts.delivery.digest_text import digest_forms, digest_message
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import DEFAULT_RELEVANCE
from alerts.incidents.digest import (
    DAY,
    HOUR,
    LEAST_COMPARED,
    SHORTEST_RECORD,
    Digest,
    DigestPlan,
    Mood,
    NewEntity,
    beyond_chance,
    by_name,
    digest_key,
    gaps,
    moves,
)
from alerts.wording import duration_text
from stream.domain.alerts import PageRequest
from stream.domain.budgets import first_within
from stream.domain.documents import EPOCH
from stream.domain.errors import LeaseLost
from stream.domain.sums import (
    EVERYTHING,
    Aggregate,
    Counted,
    Fewest,
    MentionSelection,
    Selection,
    TimeRange,
    window_start,
)
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.digest_reads import DigestReader
from stream.storage.leases import Lease
from stream.storage.reads import StoreReader

log = logging.getLogger(__name__)

# So many of each are in a digest.
MOST_INCIDENTS, MOST_STORIES, MOST_ENTITIES = 20, 5, 10
# An entity is new with so many documents: one may be a mistake of the linker.
FEWEST_OF_NEW = 3
# Stories that are further behind are said to be missing.
BEHIND = timedelta(minutes=1)


class DailyDigest:
    """Queues the digest of a day for its receivers, once, when it is due.

    After a standstill it goes late, but not later than `alerts.digest.LATEST`.
    """

    def __init__(
        self,
        *,
        plan: DigestPlan,
        zone: str,
        targets: Sequence[str],
        router: PageRouter,
        reads: StoreReader,
        digests: DigestReader,
        episodes: SqlEpisodeStore,
        lease: Lease,
        clock: Callable[[], datetime],
    ) -> None:
        self._plan, self._zone, self._targets, self._router = plan, zone, targets, router
        self._reads, self._digests, self._episodes = reads, digests, episodes
        self._lease, self._clock = lease, clock
        # The day whose digest is known to be queued.
        self._queued: date | None = None

    def run_once(self) -> None:
        """Raises StoreUnavailable."""
        now = self._clock()
        day = self._plan.due(now)
        if day is None or day == self._queued or not self._lease.acquire():
            return
        key = digest_key(day)
        if not self._digests.was_queued(key, self._targets):
            try:
                self._queue(day, now)
            except LeaseLost:
                return
            log.info("the digest of %s is queued for %s", day, ", ".join(self._targets))
        self._queued = day

    def _queue(self, day: date, now: datetime) -> None:
        """Queue it in the transaction that renews the lease and notes its key."""
        with self._reads.at_one_moment(now):
            digest = read_digest(self._reads, self._digests, self._plan, day, now)
        address = self._router.address
        link = f"{address}/alerts" if address else ""
        message = digest_message(digest, self._zone, self._router.incident_link, link)
        message = dict(first_within(self._router.max_bytes, digest_forms(message)))
        key = digest_key(day)
        requests = [PageRequest(target, key, "digest", message, now) for target in self._targets]
        self._episodes.save([], [], [], requests, now)


@dataclass(frozen=True, slots=True)
class _Days:
    """A day and the one before it, with what is counted in them."""

    now: TimeRange
    before: TimeRange
    documents: Selection


def read_digest(
    reads: StoreReader, digests: DigestReader, plan: DigestPlan, day: date, now: datetime
) -> Digest:
    """What the digest of a day says.  Raises StoreUnavailable."""
    covered, before = plan.covered(day), plan.covered(day - DAY)
    behind = _behind(reads, now)
    counted = _counted(reads, before.start) if behind is None else Counted.TEXTS
    days = _Days(covered, before, Selection(counted=counted))
    topics_now, topics_before = (by_name(reads.sums(*time, days.documents)) for time in (covered, before))
    entities = _entities(reads, days)
    names = reads.entity_names(sorted(entities[0]))
    compared = [
        *moves(topics_now, topics_before, {}, are_entities=False),
        *moves(*entities, names, are_entities=True),
    ]
    incidents, count = digests.incidents(covered, MOST_INCIDENTS)
    return Digest(
        day=day,
        covered=covered,
        counted=counted,
        total=_mood(topics_now.values()),
        before=_mood(topics_before.values()),
        moves=beyond_chance(compared),
        compared=len(compared) if topics_before else None,
        incidents=tuple(incidents),
        incident_count=count,
        new_stories=tuple(digests.stories_begun(covered, MOST_STORIES)),
        new_entities=_new_entities(reads, digests, days),
        gaps=gaps(covered, _hours(reads, covered), _hours(reads, before)) if topics_now else (),
        missing=tuple(_missing(bool(topics_now), bool(topics_before), behind)),
    )


def _mood(totals: Iterable[Aggregate]) -> Mood:
    return Mood.of(sum(totals, Aggregate(EPOCH, "", "")))


def _entities(reads: StoreReader, days: _Days) -> tuple[dict[str, Aggregate], dict[str, Aggregate]]:
    """The sums of the entities that have enough documents to be compared, of the day and the day before."""
    mentions = MentionSelection(None, DEFAULT_RELEVANCE, documents=days.documents)
    fewest = Fewest(LEAST_COMPARED)
    now, before = (by_name(reads.entity_sums(*time, mentions, fewest)) for time in (days.now, days.before))
    return now, before


def _new_entities(reads: StoreReader, digests: DigestReader, days: _Days) -> tuple[NewEntity, ...] | None:
    """The entities that no document before was about; None if the record is too young to tell."""
    start = days.now.start
    begins = digests.record_begins()
    if begins is None or start - begins < SHORTEST_RECORD:
        return None
    mentions = MentionSelection(None, DEFAULT_RELEVANCE, documents=days.documents)
    found = {one.topic: one.n for one in reads.entity_sums(*days.now, mentions, Fewest(FEWEST_OF_NEW))}
    new = found.keys() - digests.entities_before(sorted(found), start)
    shown = sorted(new, key=lambda entity: (-found[entity], entity))[:MOST_ENTITIES]
    names = reads.entity_names(shown)
    return tuple(NewEntity(entity, names.get(entity, entity), found[entity]) for entity in shown)


def _hours(reads: StoreReader, time: TimeRange) -> list[datetime]:
    """The hours that have documents."""
    cells = reads.sums_by_window(window_start(time.start, HOUR), time.end, HOUR, EVERYTHING)
    return [cell.start for cell in cells]


def _behind(reads: StoreReader, now: datetime) -> timedelta | None:
    """How far stories are behind; None if they are not."""
    oldest = reads.oldest_waiting()
    return now - oldest if oldest is not None and now - oldest > BEHIND else None


def _counted(reads: StoreReader, start: datetime) -> Counted:
    """Voices, where every document published from `start` on has a story."""
    since = reads.voices_since()
    return Counted.VOICES if since is not None and since <= start else Counted.TEXTS


def _missing(has_now: bool, has_before: bool, behind: timedelta | None) -> Iterator[str]:
    """What is not known, in words."""
    if not has_now:
        yield "there are no documents at all, so nothing is known of this day"
    elif not has_before:
        yield "there are no documents of the day before to compare with"
    if behind is not None:
        yield f"stories are {duration_text(behind)} behind, so documents are counted and not voices"
