"""Connecting to SQLite or PostgreSQL, and the migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
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
from stream.storage.settings import DatabaseSettings

# Classes of SQLSTATE that no second try can mend: bad data, broken constraint, program limit.
REFUSALS = ("22", "23", "54")

MIGRATIONS = Path(__file__).parent / "migrations"


def connect(settings: DatabaseSettings) -> Engine:
    """An engine for the settings' URL; nothing is opened yet.

    A process that stops in mid-transaction must not block its successor: PostgreSQL ends idle
    transactions and long waits for locks, SQLite waits for its write lock and then gives up.  Raises
    StoreUnavailable where SQLite's folder cannot be made.
    """
    url = make_url(settings.url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            _make_folder(Path(url.database).parent)
        engine = create_engine(url, connect_args={"timeout": settings.lock_seconds}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    waits = (
        f"-c lock_timeout={settings.lock_seconds}s "
        f"-c idle_in_transaction_session_timeout={6 * settings.lock_seconds}s"
    )
    arguments = {
        "options": waits, "connect_timeout": 5, "application_name": "sentiment-monitor",
        "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    }  # fmt: skip
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_size=6, hide_parameters=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the folder {folder} cannot be made: {error.strerror}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock at once: an upgrade in mid-transaction could only fail."""
    writes = not connection.get_execution_options().get("reads_only")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back on an error, which is named as ours."""
    with _named_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view that holds no write lock."""
    with _named_errors(), engine.connect() as plain:
        connection = plain.execution_options(reads_only=True)
        with connection.begin():
            yield connection


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (ProgrammingError, NotSupportedError):
        raise  # our own mistake, or a missing right: no waiting can mend it
    except (DBAPIError, PoolTimeout) as error:
        if isinstance(error, DataError | IntegrityError) or _sql_class(error) in REFUSALS:
            raise StoreRefused(_brief(error)) from error
        raise StoreUnavailable(_brief(error)) from error


def _sql_class(error: SQLAlchemyError) -> str:
    """The class of the SQLSTATE (its first two characters), "" where the driver gives none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")[:2]


def _brief(error: SQLAlchemyError) -> str:
    """The driver's own words, without the statement and its parameters (they hold texts)."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__


def upgrade(settings: DatabaseSettings, revision: str = "head") -> str:
    """Bring the schema to a revision, the newest by default; the newest is returned."""
    engine = connect(settings)
    try:
        with _named_errors(), engine.begin() as connection:
            config = _alembic()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise SchemaError(f"the database cannot be upgraded by this version: {error}") from error
    finally:
        engine.dispose()
    return head()


def head() -> str:
    """The revision this version works with."""
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def check_schema(engine: Engine) -> None:
    """Raises SchemaError unless the database is at exactly the revision this version knows."""
    with reading(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found == head():
        return
    if found is None:
        raise SchemaError("the database has no tables yet: run `monitor db upgrade`")
    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if found in known:
        raise SchemaError(
            f"the database is at revision {found}, this version needs {head()}: run `monitor db upgrade`"
        )
    raise SchemaError(
        f"the database is at revision {found}, which this version does not know: "
        "run the version of the monitor that upgraded it"
    )


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
