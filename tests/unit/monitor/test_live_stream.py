"""The live stream: who is told of what, and what a listener that does not listen costs."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from monitor.runtime.settings import HttpSettings, Settings
from monitor.web import live
from monitor.web.errors import Overloaded
from monitor.web.live import Live, Look, changed_incidents
from monitor.web.threads import Threads
from stream.domain.alerts import Severity
from stream.domain.errors import StoreUnavailable
from stream.domain.incidents import Incident
from stream.storage.desk.freshness import Freshness
from tests.desk_parts import desk_over, new_store, serving

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FRESH = Freshness(NOW, NOW, 2.0, timedelta(seconds=4), timedelta(0))
INCIDENT = Incident("i1", NOW, Severity.PAGE, "Northgate Bank")


def look_at(freshness: Freshness = FRESH, *incidents: Incident) -> Look:
    return Look(freshness, {incident.id: incident for incident in incidents})


class Database:
    """What the next looks find; the last one again and again."""

    def __init__(self, *looks: Look | Exception) -> None:
        self.looks, self.taken = list(looks), 0

    def look(self) -> Look:
        self.taken += 1
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.01)


def live_over(database: Database) -> Live:
    return Live(database.look, Threads(1, 5), lambda: NOW)


async def events_of(source: Live, number: int) -> list[str]:
    """The names and data of the first events of a listener."""
    found: list[str] = []
    async for message in source.listen():
        found += [part for part in message.decode().split("\n\n") if part.startswith("event:")]
        if len(found) >= number:
            break
    return found


def test_an_incident_that_begins_changes_or_goes_out_of_sight_is_told_by_its_id() -> None:
    worse = replace(INCIDENT, paged_number=2)
    assert changed_incidents(look_at(), look_at(FRESH, INCIDENT)) == ["i1"]
    assert changed_incidents(look_at(FRESH, INCIDENT), look_at(FRESH, worse)) == ["i1"]
    assert changed_incidents(look_at(FRESH, INCIDENT), look_at()) == ["i1"]
    assert changed_incidents(look_at(FRESH, INCIDENT), look_at(FRESH, INCIDENT)) == []
    assert changed_incidents(None, look_at(FRESH, INCIDENT)) == []


def test_a_listener_gets_the_status_and_then_what_changes() -> None:
    later = replace(FRESH, last_received=NOW + timedelta(seconds=2))
    database = Database(look_at(), look_at(later, INCIDENT))
    events = asyncio.run(events_of(live_over(database), 4))
    names = [event.split("\n")[0].removeprefix("event: ") for event in events]
    assert names == ["status", "status", "incident", "mood"]
    assert json.loads(events[1].split("data: ")[1]) == {"text": "2 texts/s, 4 s behind", "late": False}
    assert json.loads(events[2].split("data: ")[1]) == {"id": "i1"}


def test_an_unavailable_database_is_told_and_the_stream_goes_on() -> None:
    database = Database(StoreUnavailable("away"), look_at())
    events = asyncio.run(events_of(live_over(database), 3))
    assert "The database does not answer" in events[1] and "2 texts/s" in events[2]


def test_while_texts_come_the_status_goes_with_the_mood_unless_they_are_late() -> None:
    async def listen() -> list[str]:
        steps = [timedelta(seconds=number) for number in range(40)]
        fresh = [replace(FRESH, last_received=NOW + step, per_second=2 + step.seconds) for step in steps]
        late = replace(fresh[-1], delay=timedelta(hours=1))
        events = live_over(Database(*map(look_at, [*fresh, late]))).listen()
        messages = [(await anext(events)).decode() for _ in range(4)]
        await events.aclose()  # type: ignore[attr-defined]
        return messages

    _, first, mood, late = asyncio.run(listen())
    assert "2 texts/s" in first and "mood" not in first
    assert mood.count("event:") == 2 and "event: mood" in mood and "3 texts/s" in mood
    assert late.count("event:") == 1 and '"late": true' in late


def test_nobody_looks_while_nobody_listens() -> None:
    async def listen_and_leave() -> int:
        database = Database(look_at())
        source = live_over(database)
        await asyncio.sleep(0.1)
        assert database.taken == 0
        events = source.listen()
        assert b"status" in await anext(events)
        await asyncio.sleep(0.1)
        await events.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        taken = database.taken
        await asyncio.sleep(0.1)
        return database.taken - taken

    assert asyncio.run(listen_and_leave()) == 0


def test_a_listener_that_takes_nothing_is_dropped_and_others_go_on() -> None:
    async def listen() -> tuple[int, int]:
        rates = [replace(FRESH, per_second=float(number)) for number in range(1, 120)]
        source = live_over(Database(*map(look_at, rates)))
        slow, quick = source.listen(), source.listen()
        await anext(slow)
        seen = 0
        async for _ in quick:
            seen += 1
            if seen == 60:
                break
        listeners = source.listeners
        left = [message async for message in slow]
        return listeners, len(left)

    listeners, left = asyncio.run(listen())
    assert listeners == 1 and left == 0


def test_there_is_a_bound_to_how_many_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_LISTENERS", 2)

    async def crowd() -> None:
        source = live_over(Database(look_at()))
        listening = [source.listen() for _ in range(2)]
        with pytest.raises(Overloaded):
            source.listen()
        for events in listening:
            await anext(events)
        source.close()
        for events in listening:
            assert len([message async for message in events]) <= 1
        assert source.listeners == 0

    asyncio.run(crowd())


@contextmanager
def served(folder: Path, **http: float) -> Iterator[str]:
    store = new_store(folder)
    settings = Settings(http=HttpSettings.model_validate(http))
    with serving(desk_over(store, lambda: datetime.now(UTC), settings=settings)) as url:
        yield url
    store.engine.dispose()


def test_the_stream_comes_over_http_and_outlives_the_deadline_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_SECONDS", 0.2)
    with (
        served(tmp_path, request_seconds=1) as url,
        httpx.stream("GET", f"{url}/api/v1/stream", timeout=5) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        comments = 0
        # Ten comments take two seconds, twice the deadline.
        while comments < 10:
            comments += next(lines).startswith(": ")


def test_closing_ends_the_streams(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        host, port = url.removeprefix("http://").split(":")
        listener = socket.create_connection((host, int(port)), timeout=10)
        listener.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"event-stream" in listener.recv(4096)
    received = b""
    while part := listener.recv(4096):
        received += part
    # The end of a chunked body: the stream was ended, not cut off.
    assert received.endswith(b"0\r\n\r\n")
    listener.close()
