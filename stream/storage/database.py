"""Connections and transactions on SQLite or PostgreSQL, and the migrations of the schema."""

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

# SQLSTATE classes with which a retry cannot succeed: data exception, integrity constraint violation, program
# limit exceeded (appendix A of the PostgreSQL manual).
PERMANENT_SQLSTATES = ("22", "23", "54")

MIGRATIONS = Path(__file__).parent / "migrations"


def connect(settings: DatabaseSettings) -> Engine:
    """An engine for the URL of the settings; it connects on first use.

    A process that stops during a transaction must not block its successor: PostgreSQL ends idle transactions
    and long waits for locks, and SQLite waits for its write lock for a limited time.  Raises StoreUnavailable
    if the folder of a SQLite file cannot be created.
    """
    url = make_url(settings.url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            _create_folder(Path(url.database).parent)
        engine = create_engine(url, connect_args={"timeout": settings.lock_seconds}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeouts = (
        f"-c lock_timeout={settings.lock_seconds}s "
        f"-c idle_in_transaction_session_timeout={6 * settings.lock_seconds}s"
    )
    arguments = {
        "options": timeouts,
        "connect_timeout": 5,
        "application_name": "sentiment-monitor",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_size=6, hide_parameters=True)


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"cannot create the folder {folder}: {error.strerror}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # _begin_sqlite sends BEGIN
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


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
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent snapshot, without a write lock.  Raises StoreUnavailable."""
    with _translated_errors(), engine.connect() as plain:
        connection = plain.execution_options(reads_only=True)
        with connection.begin():
            yield connection


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate errors of the driver.  A mistake in our SQL or a missing privilege is raised unchanged."""
    try:
        yield
    except (ProgrammingError, NotSupportedError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        if isinstance(error, DataError | IntegrityError) or _sqlstate_class(error) in PERMANENT_SQLSTATES:
            raise StoreRefused(_driver_message(error)) from error
        raise StoreUnavailable(_driver_message(error)) from error


def _sqlstate_class(error: SQLAlchemyError) -> str:
    """The class of the SQLSTATE, its first two characters; empty if the driver gives none."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")[:2]


def _driver_message(error: SQLAlchemyError) -> str:
    """The message of the driver, without the statement and its parameters, which hold texts."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__


def upgrade(settings: DatabaseSettings, revision: str = "head") -> str:
    """Migrate the schema to a revision, by default the latest; return the latest revision.

    Raises StoreUnavailable, and SchemaError if this version cannot upgrade the database.
    """
    engine = connect(settings)
    try:
        with _translated_errors(), engine.begin() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise SchemaError(f"the database cannot be upgraded by this version: {error}") from error
    finally:
        engine.dispose()
    return latest_revision()


def latest_revision() -> str:
    """The revision of the schema that this version needs."""
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


def check_schema(engine: Engine) -> None:
    """Raises SchemaError unless the schema is at the revision that this version needs."""
    with reading(engine) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision == latest_revision():
        return
    if revision is None:
        raise SchemaError("the database has no tables yet: run `monitor db upgrade`")
    known_revisions = {
        script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()
    }
    if revision in known_revisions:
        raise SchemaError(
            f"the database is at revision {revision}, this version needs {latest_revision()}: "
            "run `monitor db upgrade`"
        )
    raise SchemaError(
        f"the database is at revision {revision}, which this version does not know: "
        "run the version of the monitor that upgraded it"
    )


def alembic_config() -> Config:
    """The configuration of Alembic; a caller puts its connection into `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
