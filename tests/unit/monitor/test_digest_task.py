"""The digest of a day out of a real database: sent once, whatever restarts, and never for a day long over."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec import structs
from pydantic import SecretStr
from sqlalchemy import select

from alerts.delivery.digest_text import is_digest
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import PageRouter
from alerts.incidents.digest import DigestPlan, Gap, digest_key
from alerts.metrics import AlertMetrics
from monitor.runtime.tasks.digest import DailyDigest, read_digest
from monitor.runtime.tasks.page_delivery import PageDelivery
from stream.domain.alerts import Severity
from stream.domain.entities import EntityMention
from stream.domain.incidents import Incident
from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import Counted
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.digest_reads import DigestReader
from stream.storage.leases import Lease
from stream.storage.marks import set_mark
from stream.storage.outbox import Outbox
from stream.storage.stories import STORIES_MARK
from tests.parts import Receiver
from tests.unit.stream.samples import about, classified, mention, no_messages
from tests.unit.stream.test_story_task import tasks

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
PLAN = DigestPlan(time(7, 30), ZoneInfo("Europe/Berlin"))
MONDAY = date(2026, 3, 2)
DUE = PLAN.time_of(MONDAY)
TARGETS = ("webhook:desk", "channel:chat")


class Room:
    """A store, and monitors that send digests from it."""

    def __init__(self, store: Store) -> None:
        self.store, self.now, self.number = store, DUE, 0
        self.digests = DigestReader(store.engine)
        self.tell = self.monitor("a:1")

    def monitor(self, name: str) -> Callable[[], None]:
        """A monitor that has just started; what it does when its task runs."""
        lease = Lease(self.store, "alerts", name, 20)
        return DailyDigest(
            plan=PLAN,
            zone="Europe/Berlin",
            targets=TARGETS,
            router=PageRouter(TARGETS, address="http://m"),
            reads=self.store.reads,
            digests=self.digests,
            episodes=SqlEpisodeStore(self.store, lease, "alerts"),
            lease=lease,
            clock=lambda: self.now,
        ).run_once

    def queued(self) -> list[dict[str, Any]]:
        """The messages that wait, in order."""
        with database.reading(self.store.engine) as connection:
            rows = connection.scalars(select(schema.outbox.c.body).order_by(schema.outbox.c.id))
            return [msgspec.json.decode(body) for body in rows]

    def keys(self) -> list[tuple[str, str]]:
        table = schema.deliveries
        with database.reading(self.store.engine) as connection:
            return [(row.target, row.key) for row in connection.execute(select(table).order_by(table.c.key))]

    def write(
        self, at: datetime, *mentions: EntityMention, count: int = 1, source: str = "wire", **options: Any
    ) -> None:
        items: list[ClassifiedDocument] = []
        for _ in range(count):
            self.number += 1
            item = classified(f"d{self.number}", self.number, at=at, **options)
            item = structs.replace(item, document=structs.replace(item.document, source=source))
            items.append(about(item, *mentions))
        self.store.write(Batch(items), no_messages, at)

    def save(self, *incidents: Incident) -> None:
        lease = Lease(self.store, "alerts", "a:1", 20)
        assert lease.acquire()
        SqlEpisodeStore(self.store, lease, "alerts").save([], [], [], [], self.now, incidents=incidents)


@pytest.fixture
def room(store: Store) -> Room:
    return Room(store)


def test_each_receiver_gets_one_digest_a_day_and_the_next_one_the_day_after(room: Room) -> None:
    room.now = DUE - MINUTE
    room.tell()
    assert room.queued() == []
    for room.now in (DUE, DUE + MINUTE, DUE + 13 * HOUR, DUE + DAY):
        room.tell()
    first, second = digest_key(MONDAY), digest_key(MONDAY + DAY)
    assert sorted(room.keys()) == sorted((target, key) for target in TARGETS for key in (first, second))
    assert [message["key"] for message in room.queued()] == [first, first, second, second]


def test_after_a_restart_it_is_sent_late_and_not_twice(room: Room) -> None:
    room.now = DUE + 11 * HOUR
    room.tell()
    room.monitor("a:1")()
    assert [message["key"] for message in room.queued()] == [digest_key(MONDAY)] * 2
    # What it covers does not depend on when it is sent.
    assert room.queued()[0]["until"] == msgspec.json.decode(msgspec.json.encode(DUE))


def test_a_day_that_was_missed_by_more_than_half_a_day_gets_none(room: Room) -> None:
    room.now = DUE + 12 * HOUR + MINUTE
    room.tell()
    assert room.queued() == []


def test_of_two_monitors_the_one_that_evaluates_the_rules_sends_it(room: Room) -> None:
    other = room.monitor("b:2")
    assert Lease(room.store, "alerts", "b:2", 20).acquire()
    room.tell()
    assert room.queued() == []
    other()
    assert len(room.queued()) == 2


def test_a_digest_reads_topics_entities_stories_incidents_and_gaps(room: Room) -> None:
    before, yesterday = DUE - 36 * HOUR, DUE - 12 * HOUR
    room.write(DUE - 10 * DAY, mention("crypto:OLD", 0.5))
    room.write(before, mention("bank:NGTB", 0.5), count=25, score=0.5, sentiment="positive", title="")
    room.write(before + HOUR, sentiment="neutral", score=0.0)
    room.write(yesterday, mention("bank:NGTB", -0.5), count=25, title="Northgate falls")
    room.write(yesterday, mention("crypto:NEW", -0.5), count=3, title="A coin appears")
    room.write(yesterday, mention("crypto:OLD", -0.5), count=3, title="An old coin falls")
    paged = Incident("i1", yesterday, Severity.PAGE, "Northgate: falls", told=("webhook:desk",))
    quiet = Incident("i2", yesterday + HOUR, Severity.INFO, "", ended_at=yesterday + 2 * HOUR)
    over = Incident("i0", before, Severity.PAGE, "of the day before", ended_at=before + HOUR)
    room.save(over, paged, quiet)
    digest = read_digest(room.store.reads, room.digests, PLAN, MONDAY, DUE)
    assert (digest.counted, digest.total.n, digest.before.n) == (Counted.TEXTS, 31, 26)
    assert {(move.name, move.entity) for move in digest.moves} == {
        ("Earnings", None),
        ("bank:NGTB", "bank:NGTB"),
    }
    assert [incident.id for incident in digest.incidents] == ["i1", "i2"] and digest.incident_count == 2
    assert [incident.id for incident in digest.quiet_incidents] == ["i2"]
    assert digest.new_entities is not None
    assert [(one.entity, one.n) for one in digest.new_entities] == [("crypto:NEW", 3)]
    hour = (before + DAY + HOUR).replace(minute=0)
    assert digest.gaps == (Gap(hour, hour + HOUR),)


def test_new_stories_are_those_of_several_voices_with_their_headline_and_who_was_first(room: Room) -> None:
    at = DUE - 5 * HOUR
    with database.writing(room.store.engine) as connection:
        set_mark(connection, STORIES_MARK, DUE - 20 * DAY)
    titles = ("Northgate Bank freezes withdrawals of depositors", "Northgate Bank freezes withdrawals")
    for number, title in enumerate(titles):
        room.write(at + number * MINUTE, source=f"source {number}", title=title)
    room.write(at, source="source 9", title="Oil slips as inventories build for third week")
    tasks(room.store).assign_next()
    digest = read_digest(room.store.reads, room.digests, PLAN, MONDAY, DUE)
    assert (digest.counted, digest.total.n) == (Counted.VOICES, 3)
    (story,) = digest.new_stories
    assert (story.headline.text, story.headline.first_seen_by, story.voices) == (titles[0], "source 0", 2)
    # A purge leaves nothing to show.
    with database.writing(room.store.engine) as connection:
        connection.execute(schema.documents.update().values(title="", text=""))
    assert read_digest(room.store.reads, room.digests, PLAN, MONDAY, DUE).new_stories == ()


def test_what_is_not_known_is_said_and_is_no_calm(room: Room) -> None:
    empty = read_digest(room.store.reads, room.digests, PLAN, MONDAY, DUE)
    assert empty.missing == ("there are no documents at all, so nothing is known of this day",)
    assert (empty.compared, empty.new_entities, empty.gaps) == (None, None, ())
    room.write(DUE - HOUR)
    first = read_digest(room.store.reads, room.digests, PLAN, MONDAY, DUE)
    assert first.missing == (
        "there are no documents of the day before to compare with",
        "stories are 60 min behind, so documents are counted and not voices",
    )
    assert (first.compared, first.new_entities) == (None, None)  # a young record: everything would be new


@pytest.fixture
def desk() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def chat() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def test_a_digest_goes_by_itself_to_webhooks_as_json_and_to_chats_as_text(
    room: Room, desk: Receiver, chat: Receiver
) -> None:
    room.tell()
    room.now = DUE + DAY
    room.tell()
    outbox = Outbox(room.store.engine)
    deliver = PageDelivery(
        webhooks=Webhooks({"desk": SecretStr(desk.url)}, 5),
        channels=Channels({"chat": SecretStr(chat.url.replace("http://", "json://"))}, 20),
        webhook_bytes=100_000,
        channel_bytes=4000,
        outbox=outbox,
        metrics=AlertMetrics(),
        clock=lambda: room.now,
    )
    while due := outbox.due(TARGETS, room.now, 50):
        deliver(due)
    assert [message["key"] for message in desk.taken] == [digest_key(MONDAY), digest_key(MONDAY + DAY)]
    assert all(is_digest(message) for message in desk.taken)
    assert [message["title"] for message in chat.taken] == [
        "Monday 2 March: no incidents; no documents",
        "Tuesday 3 March: no incidents; no documents",
    ]
    assert chat.taken[0]["type"] == "info"
    assert "nothing is known of this day" in chat.taken[0]["message"]
