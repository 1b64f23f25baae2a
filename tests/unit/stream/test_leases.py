"""Leases on both databases: one holder at a time, by the database's clock alone."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from stream.domain.errors import LeaseLost
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease, read_leases, release_leases
from stream.storage.sql import database_time
from tests.unit.stream.test_episode_store import firing_alert

SECONDS = 20


def lease(store: Store, holder: str, name: str = "alerts") -> Lease:
    return Lease(store, name, holder, SECONDS)


def move(store: Store, ahead: timedelta) -> None:
    """Let every lease end so far from now."""
    with database.writing(store.engine) as connection:
        connection.execute(update(schema.leases).values(expires_at=database_time(connection, ahead)))


def held_until(store: Store) -> datetime:
    with database.reading(store.engine) as connection:
        return connection.execute(select(schema.leases.c.expires_at)).scalar_one()


def test_one_monitor_holds_a_lease_until_it_expires_or_is_released(store: Store) -> None:
    mine, theirs = lease(store, "me"), lease(store, "they")
    assert mine.acquire() and mine.acquire()
    assert not theirs.acquire()
    move(store, timedelta(seconds=-1))
    assert theirs.acquire()
    assert not mine.acquire()
    theirs.release()
    assert mine.acquire()


def test_a_lease_is_stored_by_the_clock_of_the_database(store: Store) -> None:
    lease(store, "me").acquire()
    ahead = held_until(store) - datetime.now(UTC)
    assert timedelta(seconds=SECONDS - 5) < ahead <= timedelta(seconds=SECONDS + 1)


@pytest.mark.parametrize(
    "ahead", [timedelta(seconds=SECONDS + 12), timedelta(days=1), timedelta(days=36_500)]
)
def test_a_lease_that_lies_in_the_future_is_nobodys(
    store: Store, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert lease(store, "dead:1").acquire()
    move(store, ahead)
    assert lease(store, "me").acquire()
    assert not lease(store, "dead:1").acquire()
    assert "took the lease alerts from dead:1: it lay in the future, until " in caplog.text


def test_a_lease_of_an_older_version_whose_clock_is_a_little_ahead_is_respected(store: Store) -> None:
    assert lease(store, "older").acquire()
    move(store, timedelta(seconds=SECONDS + 5))
    assert not lease(store, "me").acquire()


def test_a_holder_keeps_its_lease_when_the_clock_was_set_back(store: Store) -> None:
    mine = lease(store, "me")
    assert mine.acquire()
    move(store, timedelta(hours=2))
    assert mine.acquire()
    assert not lease(store, "they").acquire()


def test_a_holder_that_was_suspended_beyond_its_time_writes_nothing(store: Store) -> None:
    mine, theirs = lease(store, "me"), lease(store, "they")
    assert mine.acquire()
    move(store, timedelta(seconds=-1))
    assert theirs.acquire()
    now = datetime.now(UTC)
    with pytest.raises(LeaseLost):
        SqlEpisodeStore(store, mine, "alerts").save([firing_alert()], [], [], [], now)
    assert SqlEpisodeStore(store, theirs, "alerts").open_alerts() == []


def test_the_holder_of_a_lease_is_known(store: Store) -> None:
    assert lease(store, "me").holder() is None
    lease(store, "me").acquire()
    holder = lease(store, "they").holder()
    assert holder is not None and holder.name == "me"
    assert lease(store, "me", "outbox").holder() is None


def test_leases_are_listed_with_what_is_left_and_released_on_behalf_of_a_holder_that_is_gone(
    store: Store,
) -> None:
    assert read_leases(store.engine) == [] and release_leases(store.engine, "alerts") == {}
    lease(store, "gone").acquire()
    lease(store, "me", "purge").acquire()
    alerts, purge = read_leases(store.engine)
    assert (alerts.name, alerts.holder, purge.holder) == ("alerts", "gone", "me")
    assert timedelta(seconds=SECONDS - 5) < alerts.left <= timedelta(seconds=SECONDS)
    assert release_leases(store.engine, "alerts") == {"alerts": "gone"}
    assert lease(store, "other").acquire()
    move(store, timedelta(seconds=-30))
    assert all(held.left <= timedelta(seconds=-30) for held in read_leases(store.engine))


def test_all_leases_of_a_process_are_released_and_none_of_another(store: Store) -> None:
    for name, holder in (("alerts", "host:1:a"), ("purge", "host:1:b"), ("kafka:alerts", "host:12:c")):
        lease(store, holder, name).acquire()
    assert release_leases(store.engine, "host%:1") == {}
    assert release_leases(store.engine, "host:1") == {"alerts": "host:1:a", "purge": "host:1:b"}
    assert [held.name for held in read_leases(store.engine)] == ["kafka:alerts"]
