"""Who is logged in to the desk's pages, shared by all processes that serve them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, select, update

from stream.storage import schema
from stream.storage.database import reading, writing

# A user who logs in on more devices than this loses the oldest login.
MOST_OF_A_USER = 20
# How often a session that is used is written.
SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Session:
    """A login: who, in which role, by which method and with what, since when, and when last seen."""

    token_hash: str
    user_name: str
    role: str
    method: str
    credential: str
    began_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """A session ends when it was not used for `idle`, and in any case after `longest`."""

    idle: timedelta
    longest: timedelta

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether the session has ended.  One from the future was written by a wrong clock, and has too."""
        idle, age = now - session.seen_at, now - session.began_at
        return idle > self.idle or age > self.longest or age < -SEEN_EVERY


def begin_session(connection: Connection, session: Session, limits: SessionLimits) -> None:
    """Store a session, and delete those that are over or too many."""
    table, now = schema.sessions, session.began_at
    over = (table.c.seen_at < now - limits.idle) | (table.c.began_at < now - limits.longest)
    connection.execute(delete(table).where(over))
    row = {name: getattr(session, name) for name in Session.__slots__}
    connection.execute(table.insert(), row)
    own = select(table.c.token_hash).where(table.c.user_name == session.user_name)
    oldest = own.order_by(table.c.began_at.desc(), table.c.token_hash).offset(MOST_OF_A_USER)
    hashes = list(connection.scalars(oldest.limit(MOST_OF_A_USER)))
    connection.execute(delete(table).where(table.c.token_hash.in_(hashes)))


def find_session(engine: Engine, token_hash: str, limits: SessionLimits, now: datetime) -> Session | None:
    """The session with this hash; None if there is none, or it is over.  Raises StoreUnavailable."""
    table = schema.sessions
    query = select(*table.c[Session.__slots__]).where(table.c.token_hash == token_hash)
    with reading(engine) as connection:
        row = connection.execute(query).first()
    session = None if row is None else Session(*row)
    return None if session is None or limits.is_over(session, now) else session


def note_seen(engine: Engine, session: Session, now: datetime) -> None:
    """Store that the session is in use.  Raises StoreUnavailable."""
    if now - session.seen_at < SEEN_EVERY:
        return
    table = schema.sessions
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.token_hash == session.token_hash).values(seen_at=now))


def end_session(connection: Connection, token_hash: str) -> None:
    """Delete a session, so that its token is worth nothing."""
    table = schema.sessions
    connection.execute(delete(table).where(table.c.token_hash == token_hash))
