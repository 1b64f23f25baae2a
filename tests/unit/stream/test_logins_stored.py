"""Sessions and the audit log in SQL, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from stream.storage import schema
from stream.storage.audit import KEPT, AuditEntry, delete_old_entries, read_audit, write_audit
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.sessions import (
    MOST_OF_A_USER,
    Session,
    SessionLimits,
    begin_session,
    end_session,
    find_session,
    note_seen,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = SessionLimits(idle=8 * HOUR, longest=24 * HOUR)


def session(token_hash: str, began_at: datetime = NOW, user: str = "mia") -> Session:
    return Session(token_hash, user, "desk", "password", "credential", began_at, began_at)


def begin(store: Store, *sessions: Session) -> None:
    for each in sessions:
        with writing(store.engine) as connection:
            begin_session(connection, each, LIMITS)


def hashes(store: Store) -> set[str]:
    with reading(store.engine) as connection:
        return set(connection.scalars(select(schema.sessions.c.token_hash)))


def test_a_session_is_found_by_the_hash_of_its_token_until_it_is_ended(store: Store) -> None:
    begin(store, session("a"), session("b"))
    assert find_session(store.engine, "a", LIMITS, NOW + HOUR) == session("a")
    assert find_session(store.engine, "c", LIMITS, NOW + HOUR) is None
    with writing(store.engine) as connection:
        end_session(connection, "a")
    assert find_session(store.engine, "a", LIMITS, NOW) is None
    assert find_session(store.engine, "b", LIMITS, NOW) is not None


def test_use_keeps_a_session_and_age_ends_it(store: Store) -> None:
    begin(store, session("a"))
    for hours in (7, 14, 21):
        found = find_session(store.engine, "a", LIMITS, NOW + hours * HOUR)
        assert found is not None
        note_seen(store.engine, found, NOW + hours * HOUR)
    assert find_session(store.engine, "a", LIMITS, NOW + 24 * HOUR) is not None
    assert find_session(store.engine, "a", LIMITS, NOW + 24.1 * HOUR) is None


@pytest.mark.parametrize(
    ("after", "is_over"),
    [(timedelta(0), False), (8 * HOUR, False), (8 * HOUR + timedelta(seconds=1), True), (-HOUR, True)],
)
def test_a_session_that_was_not_used_or_lies_in_the_future_is_over(after: timedelta, is_over: bool) -> None:
    assert LIMITS.is_over(session("a"), NOW + after) is is_over


def test_a_new_login_deletes_those_that_are_over_and_the_oldest_of_too_many(store: Store) -> None:
    begin(store, session("over", NOW - 9 * HOUR), session("other", NOW, "bo"))
    begin(
        store,
        *(session(str(number), NOW + timedelta(seconds=number)) for number in range(MOST_OF_A_USER + 3)),
    )
    assert hashes(store) == {"other"} | {str(number) for number in range(3, MOST_OF_A_USER + 3)}


def test_the_audit_log_is_read_newest_first_and_forgets_after_a_year(store: Store) -> None:
    for number, user in enumerate(("mia", "bo", "mia")):
        write_audit(store.engine, AuditEntry(NOW + number * HOUR, user, "rule", f"rule {number}", "changed"))
    assert [entry.subject for entry in read_audit(store.engine, 2)] == ["rule 2", "rule 1"]
    assert [entry.subject for entry in read_audit(store.engine, 9, "mia")] == ["rule 2", "rule 0"]
    with writing(store.engine) as connection:
        assert delete_old_entries(connection, NOW + KEPT + HOUR + timedelta(minutes=1)) == 2
    assert [entry.at for entry in read_audit(store.engine, 9)] == [NOW + 2 * HOUR]


def test_what_is_too_long_for_the_audit_log_is_cut(store: Store) -> None:
    write_audit(store.engine, AuditEntry(NOW, "mia", "rule", "x" * 5000, "y" * 50_000))
    (entry,) = read_audit(store.engine, 1)
    assert (len(entry.subject), len(entry.detail)) == (256, 2000)
