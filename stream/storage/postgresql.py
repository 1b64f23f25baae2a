"""What is particular to PostgreSQL: connecting to it, what a server must be like, what its errors mean."""

import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from stream.domain.errors import SchemaError, StoreUnavailable
from stream.storage.settings import DatabaseSettings

# Parameters of a connection (libpq), where neither the URL nor libpq's environment has them: a server that
# disappears without a word is noticed within half a minute.
DEFAULTS = {
    "fallback_application_name": "sentiment-monitor",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
# SQLSTATEs (appendix A of the PostgreSQL manual) with which another connection may succeed where this one
# cannot: read_only_sql_transaction, since after a failover a connection may lead to a server that is now a
# standby; operator intervention and connection exceptions, since the server goes away.
READ_ONLY = "25006"
UNUSABLE_CLASSES = ("08", "57P")
# Statements that were prepared on another connection: invalid_sql_statement_name and
# duplicate_prepared_statement.
PREPARED_ELSEWHERE = ("26000", "42P05")
NO_PRIVILEGE = "42501"
SET_POOLER = 'set database.pooler = "transaction"'
# The first key of the advisory locks of the monitor, and the second of the one that an upgrade holds.
ADVISORY_CLASS, UPGRADE_LOCK = 0x53454E54, 1


def create(url: URL, settings: DatabaseSettings) -> Engine:
    """An engine.  What the URL says wins over libpq's environment, and that over what the monitor sets.

    Without a pooler the settings of a session are part of the request to connect.  A pooler gives each
    transaction to another session, so that each sets its own; nothing else may outlive a transaction then:
    no prepared statement, temporary table, LISTEN or advisory lock of the session.
    """
    given = _environment() | dict(url.query)
    session = _session_settings(given, settings.lock_seconds)
    arguments: dict[str, Any] = {name: value for name, value in DEFAULTS.items() if name not in given}
    arguments["client_encoding"] = "utf8"
    if _hosts(url) > 1:
        arguments["target_session_attrs"] = given.get("target_session_attrs", "read-write")
    if settings.pooler == "transaction":
        arguments |= {"options": "", "prepare_threshold": None}
    else:
        arguments["options"] = " ".join(f"-c {name}={_escaped(value)}" for name, value in session.items())
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_pre_ping=True,
        pool_size=6,
        hide_parameters=True,
        execution_options={"pooler": settings.pooler},
    )
    if settings.pooler == "transaction":
        event.listen(engine, "begin", _session_setter(session))
    return engine


def check_parameters(url: URL) -> None:
    """Raises ValueError for a parameter of the URL that libpq does not know or the monitor must set."""
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in url.query:
        if name not in known:
            hint = f"; for a pooler {SET_POOLER}" if name == "prepare_threshold" else ""
            raise ValueError(f"parameter {name!r} is not one of libpq's{hint}")
    encoding = str(url.query.get("client_encoding", "utf8"))
    if encoding.lower().replace("-", "") not in ("utf8", "auto"):
        raise ValueError(f"client_encoding={encoding}: the monitor writes UTF-8 only; leave it out")
    _parsed_options(str(url.query.get("options", "")))


def _environment() -> dict[str, Any]:
    """The parameters that libpq takes from environment variables such as PGOPTIONS."""
    options = psycopg.pq.Conninfo.get_defaults()
    names = {option.keyword.decode(): option.envvar.decode() for option in options if option.envvar}
    return {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}


def _session_settings(given: Mapping[str, Any], lock_seconds: int) -> dict[str, str]:
    """The settings of a session: those in `options`, and the monitor's own where these have none."""
    own = {
        "lock_timeout": f"{lock_seconds}s",
        "idle_in_transaction_session_timeout": f"{6 * lock_seconds}s",
    }
    return own | _parsed_options(str(given.get("options", "")))


def _parsed_options(options: str) -> dict[str, str]:
    r"""The settings in a string such as "-c search_path=mood --work_mem=8MB"; a backslash escapes a space.

    Raises ValueError for anything else.
    """
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\\\s])+", options)]
    settings = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        match = re.fullmatch(r"(?:-c|--)([\w.-]+)=(.*)", word, re.DOTALL)
        if match is None:
            raise ValueError(f"options: {word!r} is not of the form -c NAME=VALUE")
        settings[match[1].replace("-", "_").lower()] = match[2]
    return settings


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def _hosts(url: URL) -> int:
    """How many servers the URL names."""
    host = url.query.get("host", url.host or "")
    return len(host) if isinstance(host, tuple) else len(host.split(","))


def _session_setter(settings: Mapping[str, str]) -> Any:
    """A listener that sets these for the transaction that begins."""
    calls = ", ".join(f"set_config(:name{i}, :value{i}, true)" for i in range(len(settings)))
    values = {f"name{i}": name for i, name in enumerate(settings)}
    values |= {f"value{i}": value for i, value in enumerate(settings.values())}
    statement = text(f"SELECT {calls}")

    def set_for_transaction(connection: Connection) -> None:
        connection.execute(statement, values)

    return set_for_transaction


def check_server(connection: Connection) -> None:
    """Raises SchemaError if the database cannot be used as it is, StoreUnavailable if it is read-only."""
    server = connection.execute(
        text(
            "SELECT current_database() AS name, current_setting('server_encoding') AS encoding, "
            "current_setting('transaction_read_only') AS read_only, current_schema() AS schema, "
            "current_setting('search_path') AS search_path, pg_backend_pid() AS process"
        )
    ).one()
    if server.encoding != "UTF8":
        raise SchemaError(
            f"the database {server.name!r} has the encoding {server.encoding}, UTF8 is needed: make one "
            "with `createdb --encoding=UTF8 --template=template0 NAME` and name it in database.url"
        )
    if server.schema is None:
        raise SchemaError(
            f"no schema of search_path = {server.search_path} exists in the database {server.name!r} for "
            "this user: CREATE SCHEMA it, or grant USAGE on it"
        )
    # A pooler gives out a process id of its own.
    info = connection.connection.driver_connection.info  # type: ignore[union-attr]
    pooler = connection.get_execution_options().get("pooler")
    if pooler == "none" and info.backend_pid != server.process:
        raise SchemaError(f"a connection pooler is between the monitor and PostgreSQL: {SET_POOLER}")
    if server.read_only == "on":
        connection.invalidate()  # the next attempt must not get this connection again
        raise StoreUnavailable(
            f"the database {server.name!r} is read-only, as a standby is and a primary after a failover: "
            "name the primary in database.url, or all servers: ?host=HOST:PORT&host=HOST:PORT"
        )


def lock_for_upgrade(connection: Connection) -> bool:
    """Take the lock of upgrades until the end of the transaction; False if another upgrade holds it."""
    lock = text("SELECT pg_try_advisory_xact_lock(:class, :lock)")
    return bool(connection.scalar(lock, {"class": ADVISORY_CLASS, "lock": UPGRADE_LOCK}))


def wait_to_upgrade(connection: Connection) -> None:
    """Wait for that lock, however long the other upgrade takes."""
    timeout = connection.scalar(text("SELECT current_setting('lock_timeout')"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    lock = text("SELECT pg_advisory_xact_lock(:class, :lock)")
    connection.execute(lock, {"class": ADVISORY_CLASS, "lock": UPGRADE_LOCK})
    connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), {"timeout": timeout})


def is_unusable(error: BaseException) -> bool:
    """Whether an error means that another connection may succeed where this one cannot."""
    state = str(getattr(error, "sqlstate", None) or "")
    return state == READ_ONLY or state.startswith(UNUSABLE_CLASSES)


def remedy(error: DBAPIError) -> str | None:
    """What to do about an error that no retry mends; None if it is another error."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    message = str(error.orig)
    if "unsupported startup parameter" in message:
        return f"a connection pooler refuses the settings of the session: {SET_POOLER}"
    if state in PREPARED_ELSEWHERE:
        return f"a connection pooler mixes up prepared statements: {SET_POOLER}"
    if state == NO_PRIVILEGE:
        return "grant the privilege to the user in database.url"
    return None
