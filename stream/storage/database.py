"""Connections and transactions on SQLite or PostgreSQL, and the migrations of the schema."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from stream.domain.errors import SchemaError, StoreRefused, StoreUnavailable
from stream.storage import postgresql
from stream.storage.settings import DatabaseSettings

log = logging.getLogger(__name__)

# SQLSTATE classes with which a retry cannot succeed: data exception, integrity constraint violation, program
# limit exceeded (appendix A of the PostgreSQL manual).
PERMANENT_SQLSTATES = ("22", "23", "54")
# Result codes of SQLite with which another connection may succeed where this one cannot: READONLY, IOERR,
# CORRUPT, CANTOPEN, NOTADB.  A file that was not writable when it was opened stays so for the connection.
UNUSABLE_SQLITE_CODES = (8, 10, 11, 14, 26)
# How long, in seconds, an upgrade waits for another process that writes or upgrades the same file.
LONGEST_SQLITE_UPGRADE = 3600
# Tables of the first revision that every later one has.
FIRST_TABLES = ("documents", "aggregates", "offsets", "outbox", "leases")
OWN_SCHEMA = (
    "give the monitor a database of its own, or a schema: CREATE SCHEMA monitor, and "
    "?options=-csearch_path%3Dmonitor at the end of database.url"
)

NEWER = "run the version of the monitor that upgraded it"

# How often, and how many seconds apart, a new SQLite file is asked to keep a write-ahead log.
WAL_ATTEMPTS, WAL_PAUSE = 100, 0.05
MIGRATIONS = Path(__file__).parent / "migrations"

# What `pinned` reads from, in this thread.
_pinned: ContextVar[tuple[Engine, Connection] | None] = ContextVar("_pinned", default=None)


def connect(settings: DatabaseSettings) -> Engine:
    """An engine for the URL of the settings; it connects on first use.

    A process that stops during a transaction must not block its successor: PostgreSQL ends idle transactions
    and long waits for locks, and SQLite waits for its write lock for a limited time.  Raises StoreUnavailable
    if the folder of a SQLite file cannot be created.
    """
    url = make_url(settings.url.get_secret_value())
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _create_sqlite(url, settings) if is_sqlite else postgresql.create(url, settings)
    event.listen(engine, "handle_error", _drop_unusable_connections)
    return engine


def _drop_unusable_connections(context: ExceptionContext) -> None:
    """Give up all connections of the pool, not only this one: all lead to the same server or file."""
    error = context.original_exception
    if postgresql.is_unusable(error) or _sqlite_code(error) in UNUSABLE_SQLITE_CODES:
        context.is_disconnect = True


def _create_sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    path = sqlite_path(url)
    if path is not None and url.query.get("mode") != "ro":
        _create_folder(path.parent)
    arguments = {} if "timeout" in url.query else {"timeout": settings.lock_seconds}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database; None if it is in memory."""
    name = url.database or ":memory:"
    if url.query.get("uri") == "true":
        name = unquote(name.removeprefix("file:"))
        if url.query.get("mode") == "memory":
            return None
    return None if name == ":memory:" else Path(name)


def missing_file(settings: DatabaseSettings) -> Path | None:
    """The file of a SQLite database that does not exist, which connecting would create; else None."""
    url = make_url(settings.url.get_secret_value())
    path = sqlite_path(url) if url.get_backend_name() == "sqlite" else None
    return None if path is None or path.exists() else path


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"cannot create the folder {folder}: {error.strerror}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # _begin_sqlite sends BEGIN
    _use_write_ahead_log(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_write_ahead_log(connection: Any) -> None:
    """SQLite does not wait for another connection that changes the journal of a new file: this does."""
    for left in reversed(range(WAL_ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not left or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(WAL_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock at once: upgrading a read lock fails if another writer was first."""
    writes = not connection.get_execution_options().get("reads_only")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction, committed at the end and rolled back on an error.

    Raises StoreUnavailable or StoreRefused.
    """
    with _translated_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def pinned(engine: Engine) -> Iterator[Connection]:
    """A snapshot that every `reading` of this engine, in this thread, reads from meanwhile.

    Raises StoreUnavailable.
    """
    with snapshot(engine) as connection:
        token = _pinned.set((engine, connection))
        try:
            yield connection
        finally:
            _pinned.reset(token)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A view of the database in which several queries see the same.  Raises StoreUnavailable."""
    is_postgresql = engine.dialect.name == "postgresql"
    whole = engine.execution_options(isolation_level="REPEATABLE READ") if is_postgresql else engine
    with reading(whole) as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent snapshot, without a write lock.  Raises StoreUnavailable."""
    pinned_engine, pinned_connection = _pinned.get() or (None, None)
    if pinned_connection is not None and pinned_engine is engine:
        # A read that fails must not spoil those after it.
        with _translated_errors(), pinned_connection.begin_nested():
            yield pinned_connection
        return
    with _translated_errors(), engine.connect() as plain:
        connection = plain.execution_options(reads_only=True)
        with connection.begin():
            yield connection


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate errors of the driver.  A mistake in our SQL is raised unchanged.

    An error that waiting cannot mend, but the operator can, is a SchemaError that says how.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if isinstance(error, DBAPIError) and (remedy := postgresql.remedy(error)):
            raise SchemaError(f"{_driver_message(error)}: {remedy}") from error
        if isinstance(error, ProgrammingError | NotSupportedError):
            raise
        if isinstance(error, DataError | IntegrityError) or _sqlstate_class(error) in PERMANENT_SQLSTATES:
            raise StoreRefused(_driver_message(error)) from error
        raise StoreUnavailable(_driver_message(error)) from error


def _sqlstate_class(error: SQLAlchemyError) -> str:
    """The class of the SQLSTATE, its first two characters; empty if the driver gives none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")[:2]


def _sqlite_code(error: BaseException) -> int:
    """SQLite's primary result code; 0 if it is no error of SQLite."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _driver_message(error: SQLAlchemyError) -> str:
    """The message of the driver, without the statement and its parameters, which hold texts."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__


def upgrade(
    settings: DatabaseSettings,
    revision: str = "head",
    progress: Callable[[str], object] = lambda revision: None,
) -> str:
    """Migrate the schema to a revision, by default the latest; return the latest revision.

    `progress` gets each revision that the schema has reached.

    All migrations are one transaction, so that a killed upgrade leaves the database as it was.  A second
    upgrade waits for the first.  Raises StoreUnavailable, and SchemaError if this version cannot upgrade the
    database.
    """
    if settings.url.get_secret_value().startswith("sqlite"):
        settings = settings.model_copy(update={"lock_seconds": LONGEST_SQLITE_UPGRADE})
    engine = connect(settings)
    try:
        with writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                postgresql.check_server(connection)
                _wait_for_other_upgrade(connection)
            _check_tables(connection, _stored_revisions(connection))
            config = alembic_config()
            config.attributes["connection"], config.attributes["progress"] = connection, progress
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise SchemaError(f"the database cannot be upgraded by this version: {error}") from error
    except StoreUnavailable as error:
        hint = ": stop the monitors and long queries, then try again" if "lock timeout" in str(error) else ""
        raise StoreUnavailable(f"the upgrade changed nothing: {error}{hint}") from error
    finally:
        engine.dispose()
    return latest_revision()


def _wait_for_other_upgrade(connection: Connection) -> None:
    if not postgresql.lock_for_upgrade(connection):
        log.warning("another process upgrades this database: waiting for it")
        postgresql.wait_to_upgrade(connection)


def latest_revision() -> str:
    """The revision of the schema that this version needs."""
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


def current_revision(settings: DatabaseSettings) -> str | None:
    """The revision of the schema that the database has, of whatever version; None in an empty database.

    Raises StoreUnavailable.
    """
    if missing_file(settings):
        return None
    engine = connect(settings)
    try:
        return read_revision(engine)
    finally:
        engine.dispose()


def read_revision(engine: Engine) -> str | None:
    """The same of a database that is connected."""
    with reading(engine) as connection:
        return next(iter(_stored_revisions(connection)), None)


def remedy(revision: str | None) -> str | None:
    """What to do about a database at this revision; None if it is the one that this version needs."""
    if revision == latest_revision():
        return None
    return "run `monitor db upgrade`" if revision is None or revision in _known_revisions() else NEWER


def connect_existing(settings: DatabaseSettings) -> Engine:
    """An engine for a database with this version's schema.

    Raises SchemaError, also where a SQLite file does not exist, which connecting would create, and
    StoreUnavailable.
    """
    if path := missing_file(settings):
        raise SchemaError(f"there is no database file {path}: run `monitor db upgrade`")
    engine = connect(settings)
    try:
        check_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check_schema(engine: Engine) -> None:
    """Check that the database can be used, and that its schema has the revision that this version needs.

    Raises SchemaError, and StoreUnavailable if it does not answer or is read-only.
    """
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            postgresql.check_server(connection)
        revisions = _stored_revisions(connection)
        _check_tables(connection, revisions)
    if revisions == (latest_revision(),):
        return
    if not revisions:
        raise SchemaError("the database has no tables yet: run `monitor db upgrade`")
    raise SchemaError(
        f"the database is at revision {revisions[0]}, this version needs {latest_revision()}: "
        "run `monitor db upgrade`"
    )


def _stored_revisions(connection: Connection) -> tuple[str, ...]:
    """The revision of the schema; none in an empty database."""
    return MigrationContext.configure(connection).get_current_heads()


def _check_tables(connection: Connection, revisions: tuple[str, ...]) -> None:
    """Raises SchemaError if a newer version upgraded the tables, or if they are another program's."""
    names = inspect(connection)
    own = [table for table in FIRST_TABLES if names.has_table(table)]
    if not revisions and own:
        raise SchemaError(
            f"the database already has a table {own[0]!r}, without the monitor's revision: {OWN_SCHEMA}"
        )
    if revisions and len(own) < len(FIRST_TABLES):
        raise SchemaError(
            f"the table alembic_version, with revision {', '.join(revisions)}, is another program's: "
            f"{OWN_SCHEMA}"
        )
    known = _known_revisions()
    if unknown := [revision for revision in revisions if revision not in known]:
        raise SchemaError(
            f"the database is at revision {unknown[0]}, which this version does not know: {NEWER}"
        )


def _known_revisions() -> set[str]:
    scripts = ScriptDirectory.from_config(alembic_config())
    return {script.revision for script in scripts.walk_revisions()}


def alembic_config() -> Config:
    """The configuration of Alembic; a caller puts its connection into `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
