"""What an operator's PostgreSQL can be: read-only for a while, behind a pooler, shared, of another encoding."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, make_url, select, text

from stream.domain.documents import Document, Kind, Prediction
from stream.domain.errors import SchemaError, StoreUnavailable
from stream.domain.records import ClassifiedDocument, MessagePosition, Partition
from stream.domain.sums import TimeRange
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.recount import recount
from stream.storage.retention import purge
from stream.storage.settings import DatabaseSettings
from tests.conftest import ROOT, Scene, need, run_upgrades
from tests.parts import PgBouncer, Postgres, temporary_folder, wait_until
from tests.unit.stream.samples import NOW, classified, row_count, write


def administer(url: str, *statements: str) -> list[Any]:
    """Execute as the superuser, each statement by itself; the rows of the last."""
    rows: list[Any] = []
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"client_encoding": "utf8"})
    with engine.connect() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
            rows = list(result) if result.returns_rows else []
    engine.dispose()
    return rows


def settings_of(url: str, **others: Any) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": url, **others})


@contextmanager
def connected(settings: DatabaseSettings) -> Iterator[Store]:
    engine = database.connect(settings)
    try:
        yield Store(engine, 60)
    finally:
        engine.dispose()


def monitor(settings_url: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MONITOR_")}
    return subprocess.run(
        [sys.executable, "-m", "monitor", *words], capture_output=True, text=True, cwd=ROOT, check=False,
        env=kept | {"MONITOR_DATABASE__URL": settings_url} | environ,
    )  # fmt: skip


@pytest.fixture
def role_url(postgres: Postgres) -> str:
    """A new empty database of a role of its own, whose settings a test may change."""
    url, role = make_url(postgres.create_database()), f"monitor_{uuid.uuid4().hex[:8]}"
    administer(
        url.render_as_string(), f"CREATE ROLE {role} LOGIN", f"ALTER DATABASE {url.database} OWNER TO {role}"
    )
    return url.set(username=role).render_as_string()


# A failover


def make_read_only(url: str) -> None:
    """As after a failover: those who connect now can only read, and nobody else is connected."""
    role = make_url(url).username
    administer(
        str(make_url(url).set(username="postgres").render_as_string()),
        f"ALTER ROLE {role} SET default_transaction_read_only = on",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'",
    )


def make_writable(url: str) -> None:
    role = make_url(url).username
    superuser = make_url(url).set(username="postgres").render_as_string()
    administer(superuser, f"ALTER ROLE {role} RESET default_transaction_read_only")


def open_connections(engine: Engine, count: int) -> None:
    """Fill the pool with connections."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(database.reading(engine)).execute(select(1))


def test_connections_to_a_read_only_server_are_all_given_up(role_url: str) -> None:
    database.upgrade(settings_of(role_url))
    with connected(settings_of(role_url)) as store:
        write(store, classified("a", 0))
        make_read_only(role_url)
        open_connections(store.engine, 5)
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            write(store, classified("b", 1))
        make_writable(role_url)
        for task in range(5):  # each user of the pool, on whatever connection it gets
            assert Lease(store, f"task {task}", "me", 20).acquire()
        write(store, classified("b", 1))
        assert row_count(store, schema.documents) == 2


def test_a_read_only_database_is_named_at_upgrade_and_check(role_url: str) -> None:
    make_read_only(role_url)
    with pytest.raises(StoreUnavailable, match=r"is read-only, as a standby is .* name the primary"):
        database.upgrade(settings_of(role_url))
    with connected(settings_of(role_url)) as store, pytest.raises(StoreUnavailable, match="is read-only"):
        database.check_schema(store.engine)


def test_a_start_that_found_a_read_only_server_goes_on_once_it_is_writable(role_url: str) -> None:
    database.upgrade(settings_of(role_url))
    make_read_only(role_url)
    with connected(settings_of(role_url)) as store:
        with pytest.raises(StoreUnavailable, match="is read-only"):
            database.check_schema(store.engine)
        make_writable(role_url)
        database.check_schema(store.engine)


def test_of_several_hosts_the_writable_one_is_used_before_and_after_they_change_places() -> None:
    folders = [temporary_folder("pg-a-"), temporary_folder("pg-b-")]
    servers = [need(lambda folder=folder: Postgres(folder)) for folder in folders]  # type: ignore[misc]
    read_only = "ALTER SYSTEM SET default_transaction_read_only = '{}'"
    reload = "SELECT pg_reload_conf()"
    for server in servers:
        database.upgrade(settings_of(server.url()))
    url = "postgresql+psycopg://postgres@/postgres?" + "&".join(f"host={folder}" for folder in folders)
    administer(servers[0].url(), read_only.format("on"), reload)
    try:
        with connected(settings_of(url)) as store:
            write(store, classified("a", 0))
            administer(servers[0].url(), read_only.format("off"), reload)
            administer(
                servers[1].url(), "SET default_transaction_read_only = off", read_only.format("on"), reload
            )
            # A reload is asked for at once and done a moment later.
            shown = "SHOW default_transaction_read_only"
            wait_until(lambda: administer(servers[1].url(), shown)[0][0] == "on", 10, "a read-only server")
            wait_until(lambda: writes(store, classified("b", 1)), 10, "a write to the other server")
        counts = [administer(server.url(), "SELECT count(*) FROM documents")[0][0] for server in servers]
        assert counts == [1, 1]
    finally:
        for server, folder in zip(servers, folders, strict=True):
            server.close()
            shutil.rmtree(folder, ignore_errors=True)


def writes(store: Store, document: ClassifiedDocument) -> bool:
    write(store, document)
    return True


def test_a_monitor_writes_within_seconds_after_the_database_is_writable_again(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    role = f"monitor_{uuid.uuid4().hex[:8]}"
    administer(scene.database_url, f"CREATE ROLE {role} LOGIN SUPERUSER")
    superuser, url = scene.database_url, make_url(scene.database_url).set(username=role).render_as_string()
    scene.environ["MONITOR_DATABASE__URL"] = url
    scene.prepare()
    running = scene.start(module="tests.faults.worker")
    make_read_only(url)
    stamp = NOW.isoformat()
    messages = [{"id": str(i), "text": f"Shares fall {i}", "published_at": stamp} for i in range(100)]
    sent(scene.kafka.news, messages)
    wait_until(lambda: "read-only" in running.get("/readyz")[1], 60, "the monitor waits for the database")
    time.sleep(5)  # so that the pauses between attempts are long
    make_writable(url)
    count = "SELECT count(*) FROM documents WHERE kind = 'news'"
    wait_until(lambda: administer(superuser, count)[0][0] == len(messages), 20, "everything is written")
    assert running.stop() == 0


# Encodings


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_CN"])
def test_a_database_that_is_not_utf8_is_refused_and_the_error_says_how_to_make_one(
    postgres: Postgres, encoding: str
) -> None:
    name = f"mood_{uuid.uuid4().hex[:8]}"
    administer(
        postgres.url(),
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    settings = settings_of(postgres.url(name))
    error = f"'{name}' has the encoding {encoding}, UTF8 is needed: .*createdb --encoding=UTF8 --template=template0"
    with pytest.raises(SchemaError, match=error):
        database.upgrade(settings)
    with connected(settings) as store, pytest.raises(SchemaError, match=error):
        database.check_schema(store.engine)
    assert (
        administer(postgres.url(name), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[0][0]
        == 0
    )


@pytest.mark.timeout(400)
def test_commands_refuse_a_database_that_is_not_utf8_in_one_line(scene: Scene, postgres: Postgres) -> None:
    name = f"mood_{uuid.uuid4().hex[:8]}"
    administer(postgres.url(), f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    scene.prepare()
    scene.environ["MONITOR_DATABASE__URL"] = postgres.url(name)
    for words in (("db", "upgrade"), ("run",)):
        done = scene.command(*words)
        assert done.returncode == 1 and b"encoding LATIN1, UTF8 is needed" in done.stderr
        assert b"Traceback" not in done.stderr
    done = scene.command("doctor", "--json")
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    (finding,) = [finding for finding in json.loads(done.stdout) if finding["check"] == "database"]
    assert not finding["ok"] and "encoding LATIN1, UTF8 is needed" in finding["detail"]


def document(id_: str, offset: int, title: str) -> ClassifiedDocument:
    prediction = Prediction(
        "m", "zh", "Macro", "negative", -0.5, {"topic": {"Macro": 1}, "sentiment": {"negative": 1}}
    )
    position = MessagePosition(Kind.NEWS, Partition("c/t", "news", 0), offset, b"{}")
    return ClassifiedDocument(position, Document(id_, Kind.NEWS, "财经", NOW, title=title), prediction)


TEXTS = ("Shares fall", "公司股价下跌", "to the moon 🚀🚀", "Börse: Kurs fällt")


def test_texts_are_stored_as_they_are_whatever_the_client_encoding_of_the_environment(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    settings = settings_of(postgres.create_database())
    database.upgrade(settings)
    assert_texts_are_kept(settings)


def test_texts_are_stored_as_they_are_in_a_sqlite_file_of_utf_16(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "wide.db") as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()
    settings = settings_of(f"sqlite:///{tmp_path / 'wide.db'}")
    database.upgrade(settings)
    assert_texts_are_kept(settings)


def assert_texts_are_kept(settings: DatabaseSettings) -> None:
    with connected(settings) as store:
        write(store, *[document(str(i), i, title) for i, title in enumerate(TEXTS)])
        with database.reading(store.engine) as connection:
            rows = connection.execute(select(schema.documents).order_by(schema.documents.c.id))
            assert [(row.title, row.source) for row in rows] == [(title, "财经") for title in TEXTS]


# Several upgrades, and other programs


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_three_upgrades_at_once_of_empty_databases_all_succeed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    if kind == "sqlite":
        urls = [f"sqlite:///{tmp_path / str(number)}.db" for number in range(8)]
    else:
        server = request.getfixturevalue("postgres")
        urls = [server.create_database() for _ in range(20)]
    assert run_upgrades("together", *urls) == 3 * len(urls)
    for url in urls:
        with connected(settings_of(url)) as store:
            database.check_schema(store.engine)


def test_an_upgrade_waits_for_another_one_however_long_it_takes(postgres: Postgres) -> None:
    settings = settings_of(postgres.create_database(), lock_seconds=1)
    engine = database.connect(settings)
    with database.writing(engine) as connection, ThreadPoolExecutor(1) as pool:
        from stream.storage import postgresql

        assert postgresql.lock_for_upgrade(connection)
        upgrade = pool.submit(database.upgrade, settings)
        time.sleep(2.5)
        assert not upgrade.done()
        connection.rollback()
        assert upgrade.result(20) == database.latest_revision()
    engine.dispose()


def test_an_upgrade_that_a_long_query_holds_up_changes_nothing_and_says_what_to_stop(
    postgres: Postgres,
) -> None:
    url = postgres.create_database()
    database.upgrade(settings_of(url), "0005")
    with connected(settings_of(url)) as store, database.reading(store.engine) as connection:
        connection.execute(text("SELECT count(*) FROM dead_letters"))
        with pytest.raises(StoreUnavailable, match=r"changed nothing: .*lock timeout.*: stop the monitors"):
            database.upgrade(settings_of(url, lock_seconds=1))
    assert administer(url, "SELECT version_num FROM alembic_version") == [("0005",)]
    assert "schema at revision" in monitor(url, "db", "upgrade").stdout


OTHER_PROGRAM = ("CREATE TABLE alembic_version (version_num varchar(32))",)


@pytest.mark.parametrize("revision", ["9f3ab", "0001"])
def test_the_revision_of_another_program_is_told_as_such_and_a_schema_of_its_own_helps(
    postgres: Postgres, revision: str
) -> None:
    url = postgres.create_database()
    administer(
        url, *OTHER_PROGRAM, f"INSERT INTO alembic_version VALUES ('{revision}')", "CREATE SCHEMA monitor"
    )
    error = f"alembic_version, with revision {revision}, is another program's: .*CREATE SCHEMA monitor"
    with pytest.raises(SchemaError, match=error):
        database.upgrade(settings_of(url))
    with connected(settings_of(url)) as store, pytest.raises(SchemaError, match=error):
        database.check_schema(store.engine)
    own = settings_of(f"{url}&options=-csearch_path%3Dmonitor")
    database.upgrade(own)
    with connected(own) as store:
        database.check_schema(store.engine)
    assert administer(url, "SELECT version_num FROM public.alembic_version") == [(revision,)]


def test_the_tables_of_another_program_are_told_as_such(postgres: Postgres) -> None:
    url = postgres.create_database()
    administer(url, "CREATE TABLE documents (id integer)")
    with pytest.raises(SchemaError, match="already has a table 'documents', without the monitor's revision"):
        database.upgrade(settings_of(url))
    two = postgres.create_database()
    administer(two, *OTHER_PROGRAM, "INSERT INTO alembic_version VALUES ('a1'), ('b2')")
    with pytest.raises(SchemaError, match="revision a1, b2, is another program's"):
        database.upgrade(settings_of(two))


def test_a_newer_version_of_the_monitor_is_told_as_such(postgres: Postgres) -> None:
    url = postgres.create_database()
    database.upgrade(settings_of(url))
    administer(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        SchemaError, match="9999, which this version does not know: run the version of the monitor"
    ):
        database.upgrade(settings_of(url))


def test_a_schema_that_is_not_there_or_not_granted_is_told_as_such(postgres: Postgres) -> None:
    url = postgres.create_database()
    with pytest.raises(SchemaError, match="no schema of search_path = mood exists"):
        database.upgrade(settings_of(f"{url}&options=-csearch_path%3Dmood"))
    administer(url, "CREATE ROLE guest LOGIN")
    done = monitor(make_url(url).set(username="guest").render_as_string(), "db", "upgrade")
    assert done.returncode == 1 and "permission denied for schema public" in done.stderr
    assert "grant the privilege" in done.stderr and len(done.stderr.splitlines()) == 1
    administer(url, "DROP ROLE guest")


# The database URL


def test_what_the_url_says_wins_over_what_the_monitor_sets(postgres: Postgres) -> None:
    url = postgres.create_database()
    administer(url, "CREATE SCHEMA mood")
    options = "-csearch_path%3Dmood%20-c%20lock_timeout%3D3s%20--work-mem%3D7MB"
    settings = settings_of(
        f"{url}&options={options}&application_name=desk&connect_timeout=9&keepalives_idle=33"
    )
    database.upgrade(settings)
    tables = administer(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'documents'")
    assert tables == [("mood",)]
    with connected(settings) as store, database.reading(store.engine) as connection:
        shown = [connection.scalar(text(f"SHOW {name}")) for name in SHOWN]
        info = connection.connection.driver_connection.info  # type: ignore[union-attr]
        assert shown == ["desk", "3s", "1min", "7MB"]
        assert (info.get_parameters()["connect_timeout"], info.get_parameters()["keepalives_idle"]) == (
            "9",
            "33",
        )
        seen = "SELECT application_name FROM pg_stat_activity WHERE application_name = 'desk'"
        assert administer(url, seen) == [("desk",)]


SHOWN = ("application_name", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem")


def test_the_environment_of_libpq_wins_over_what_the_monitor_sets(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    monkeypatch.setenv("PGAPPNAME", "from the environment")
    with (
        connected(settings_of(postgres.create_database())) as store,
        database.reading(store.engine) as connection,
    ):
        shown = [connection.scalar(text(f"SHOW {name}")) for name in SHOWN]
    assert shown == ["from the environment", "10s", "1min", "9MB"]


def test_without_parameters_the_monitor_names_itself_and_limits_its_waits(postgres: Postgres) -> None:
    with (
        connected(settings_of(postgres.create_database())) as store,
        database.reading(store.engine) as connection,
    ):
        shown = [connection.scalar(text(f"SHOW {name}")) for name in SHOWN]
    assert shown[:3] == ["sentiment-monitor", "10s", "1min"]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql+psycopg://u@h/d?applicaton_name=x", "parameter 'applicaton_name' is not one of libpq's"),
        ("postgresql+psycopg://u@h/d?prepare_threshold=0", 'set database.pooler = "transaction"'),
        ("postgresql+psycopg://u@h/d?client_encoding=latin1", "the monitor writes UTF-8 only"),
        ("postgresql+psycopg://u@h/d?options=-d5", "'-d5' is not of the form -c NAME=VALUE"),
        ("postgresql+psycopg://u@a:1,b:2/d", r"several hosts are \?host=HOST:PORT&host=HOST:PORT"),
        ("postgresql://u@h/d", r"driver 'postgresql'; allowed: sqlite, postgresql\+psycopg"),
        ("mysql+pymysql://u@h/d", r"driver 'mysql\+pymysql'; allowed: sqlite, postgresql\+psycopg"),
        ("sqlite:///monitor.db?mode=ro", r"needs a file name: sqlite:///file:PATH\?mode=...&uri=true"),
        ("sqlite:///monitor.db?check_same_thread=false", "'check_same_thread' is not one of SQLite's"),
    ],
)
def test_a_database_url_that_cannot_mean_what_it_says_is_refused_by_name(url: str, error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        settings_of(url)


def test_the_parameters_of_a_sqlite_url_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a b.db"
    writable = settings_of(f"sqlite:///file:{path}?uri=true&mode=rwc&timeout=0.2")
    database.upgrade(writable)
    assert path.exists() and not Path("file:").exists()
    with connected(writable) as store:
        holder = database.connect(settings_of(f"sqlite:///{path}"))
        with database.writing(holder):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="locked"):
                write(store, classified("a", 0))
            assert time.monotonic() - started < 5, "timeout=0.2 wins over database.lock_seconds"
        holder.dispose()
        write(store, classified("a", 0))
        with connected(settings_of(f"sqlite:///file:{path}?uri=true&mode=ro")) as reader:
            database.check_schema(reader.engine)
            assert row_count(reader, schema.documents) == 1
            with pytest.raises(StoreUnavailable, match="readonly"):
                write(reader, classified("b", 1))


def test_connections_to_a_sqlite_file_that_was_read_only_when_opened_are_given_up(tmp_path: Path) -> None:
    settings = settings_of(f"sqlite:///{tmp_path / 'a.db'}")
    database.upgrade(settings)
    with connected(settings) as store:
        with database.reading(store.engine) as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable, match="readonly"):
            write(store, classified("a", 0))
        write(store, classified("a", 0))
        assert row_count(store, schema.documents) == 1


# PgBouncer

# What PgBouncer must ignore for a client that asks for settings of the session all the same.
IGNORED = "ignore_startup_parameters = options,lock_timeout,idle_in_transaction_session_timeout"


@contextmanager
def bouncer(database_url: str, *settings: str) -> Iterator[PgBouncer]:
    folder = temporary_folder("bouncer-")
    with need(lambda: PgBouncer(folder, database_url, *settings)) as pooler:
        yield pooler
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("settings", [(), (IGNORED,)])
def test_a_pooler_that_the_settings_do_not_name_is_refused_and_the_error_names_the_setting(
    postgres: Postgres, settings: tuple[str, ...]
) -> None:
    with bouncer(postgres.create_database(), *settings) as pooler:
        done = monitor(pooler.url, "db", "upgrade")
        assert (
            done.returncode == 1
            and "pooler" in done.stderr
            and 'set database.pooler = "transaction"' in done.stderr
        )
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("settings", [(), (IGNORED, "server_reset_query_always = 0")])
def test_two_hundred_batches_are_written_through_a_pooler_in_transaction_mode(
    postgres: Postgres, settings: tuple[str, ...]
) -> None:
    direct = postgres.create_database()
    with bouncer(direct, *settings) as pooler:
        through = settings_of(pooler.url, pooler="transaction")
        database.upgrade(through)
        with connected(through) as store:
            database.check_schema(store.engine)

            def write_batches(number: int) -> None:
                partition = Partition("c/t", "news", number)
                for i in range(50):
                    write(store, *[classified(f"{number}-{i}-{j}", 4 * i + j, partition) for j in range(4)])
                    assert Lease(store, f"task {number}", "me", 20).acquire()

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(write_batches, range(4)))
            assert row_count(store, schema.documents) == 800
            assert recount(store, TimeRange(NOW - timedelta(days=1), NOW + timedelta(days=1))) == 0
            assert purge(store, NOW + timedelta(days=1), NOW).documents == 800
            with database.writing(store.engine) as connection:
                shown = [connection.scalar(text(f"SHOW {name}")) for name in SHOWN[:3]]
            assert shown == ["sentiment-monitor", "10s", "1min"]


def test_the_options_of_the_url_are_set_in_every_transaction_behind_a_pooler(postgres: Postgres) -> None:
    direct = postgres.create_database()
    administer(direct, "CREATE SCHEMA mood")
    with bouncer(direct) as pooler:
        settings = settings_of(
            f"{pooler.url}?options=-csearch_path%3Dmood&application_name=desk", pooler="transaction"
        )
        database.upgrade(settings)
        with connected(settings) as store:
            database.check_schema(store.engine)
            write(store, classified("a", 0))
        other = settings_of(pooler.url, pooler="transaction")
        with connected(other) as store, pytest.raises(SchemaError, match="no tables yet"):
            database.check_schema(store.engine)
    assert administer(direct, "SELECT count(*) FROM mood.documents") == [(1,)]


def test_a_monitor_runs_behind_a_pooler(scene: Scene, sent: Callable[[str, list[Any]], None]) -> None:
    with bouncer(scene.database_url) as pooler:
        scene.environ |= {"MONITOR_DATABASE__URL": pooler.url, "MONITOR_DATABASE__POOLER": "transaction"}
        scene.environ["MONITOR_STREAM__BATCH_DOCUMENTS"] = "16"
        scene.prepare()
        findings = {each["check"]: each for each in json.loads(scene.command("doctor", "--json").stdout)}
        assert findings["database"]["ok"] and findings["clock"]["ok"], findings
        running = scene.start(module="tests.faults.worker")
        stamp = NOW.isoformat()
        messages = [{"id": str(i), "text": f"Shares fall {i}", "published_at": stamp} for i in range(1000)]
        sent(scene.kafka.news, messages)
        count = "SELECT count(*) FROM documents WHERE kind = 'news'"
        wait_until(lambda: administer(scene.database_url, count)[0][0] == 1000, 60, "everything is written")
        assert running.stop() == 0


def test_a_stopped_writer_behind_a_pooler_does_not_block_its_successor(postgres: Postgres) -> None:
    direct = postgres.create_database()
    database.upgrade(settings_of(direct))
    with (
        bouncer(direct) as pooler,
        connected(settings_of(pooler.url, pooler="transaction", lock_seconds=1)) as store,
    ):
        write(store, classified("a", 0))
        with pytest.raises(StoreUnavailable), database.writing(store.engine) as connection:
            connection.execute(select(schema.offsets).with_for_update())
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                write(store, classified("b", 1))
            time.sleep(7)  # idle in its transaction for more than six times database.lock_seconds
            connection.execute(select(1))
        write(store, classified("b", 1))
        assert row_count(store, schema.documents) == 2
