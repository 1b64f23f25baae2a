"""Connections, the migrations, and what is kept when a database is upgraded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import select, text, update

from stream.domain.errors import SchemaError, StoreUnavailable
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import NOW, classified, write


def test_a_database_that_does_not_answer_is_unavailable_and_its_password_stays_secret() -> None:
    engine = database.connect(DatabaseSettings(url="postgresql+psycopg://u:secret@127.0.0.1:1/x"))
    with pytest.raises(StoreUnavailable) as caught:
        write(Store(engine, 60), classified("a", 0))
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_times_are_read_as_aware_utc(store: Store) -> None:
    write(store, classified("a", 0))
    with database.writing(store.engine) as connection:
        local_time = NOW.astimezone().replace(microsecond=0)
        connection.execute(update(schema.documents).values(published_at=local_time))
        stored = connection.execute(select(schema.documents.c.published_at)).scalar_one()
    assert stored == local_time
    assert stored.utcoffset() == timedelta(0)


def test_the_migrations_create_exactly_the_tables_of_the_schema(store: Store) -> None:
    with database.reading(store.engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_a_schema_of_another_version_is_refused_and_the_error_says_what_to_do(store: Store) -> None:
    database.check_schema(store.engine)
    with database.writing(store.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999, which this version does not know"):
        database.check_schema(store.engine)
    with database.writing(store.engine) as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(SchemaError, match="already has a table 'documents', without the monitor's revision"):
        database.check_schema(store.engine)


def test_an_upgrade_from_the_first_schema_keeps_the_data(tmp_path: Path) -> None:
    settings = DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path / 'old.db'}"))
    database.upgrade(settings, "0001")
    engine = database.connect(settings)
    values = "'2026-03-01 00:00:00', 'Macro', 'news', 0, 3, 1, 1, 1, 500, 900"
    with database.writing(engine) as connection:
        names = "window_start, topic, kind, kafka_partition, n, positive, neutral, negative"
        connection.execute(
            text(f"INSERT INTO aggregates ({names}, score_sum, score_squares) VALUES ({values})")
        )
    with pytest.raises(SchemaError, match="monitor db upgrade"):
        database.check_schema(engine)
    database.upgrade(settings)
    database.check_schema(engine)
    with database.reading(engine) as connection:
        row = connection.execute(text("SELECT n, negative, uncertain FROM aggregates")).one()
    assert tuple(row) == (3, 1, 0)
    (day,) = Store(engine, 60).reads.sums(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert (day.n, day.score_sum) == (3, 500), "hours and days are rolled up from the existing windows"
    engine.dispose()


def test_dead_letters_survive_the_upgrade_to_arrays_of_documents_and_the_downgrade(store: Store) -> None:
    names = "incarnation, kafka_topic, kafka_partition, kafka_offset, reason, detail, seen_at"
    values = "'c/t', 'news', 0, 7, 'empty', 'no value', '2026-03-01 00:00:00'"
    config = database.alembic_config()
    with database.writing(store.engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        connection.execute(text(f"INSERT INTO dead_letters ({names}) VALUES ({values})"))
        command.upgrade(config, "head")
        connection.execute(text(f"INSERT INTO dead_letters ({names}, item) VALUES ({values}, 1)"))
        query = select(schema.dead_letters).order_by(schema.dead_letters.c.item)
        upgraded = [(row.kafka_offset, row.item, row.reason) for row in connection.execute(query)]
        command.downgrade(config, "0005")
        downgraded = connection.scalar(text("SELECT count(*) FROM dead_letters"))
    assert upgraded == [(7, 0, "empty"), (7, 1, "empty")] and downgraded == 1


def test_pages_and_alerts_of_an_older_version_are_sent_and_read_after_the_upgrade(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path / 'old.db'}", request.getfixturevalue("postgres").create_database()):
        settings = DatabaseSettings(url=SecretStr(url))
        database.upgrade(settings, "0002")
        engine = database.connect(settings)
        with database.writing(engine) as connection:
            for number in (1, 2):
                connection.execute(
                    text(
                        "INSERT INTO outbox (id, target, body, created_at, attempts, retry_at) "
                        "VALUES (:id, 'webhook:a', :body, '2026-03-01 12:00:00', 0, '2026-03-01 12:00:00')"
                    ),
                    {"id": number, "body": b"{}"},
                )
            connection.execute(
                text(
                    "INSERT INTO alerts (id, rule, topic, severity, state, since, value, threshold, n, uncertainty, "
                    "summary, evidence, fired_at) VALUES ('abc', 'r', 'IPO', 'page', 'firing', '2026-03-01 12:00:00', "
                    "4.5, 3, 40, 'u', 's', '[]', '2026-03-01 12:00:00')"
                )
            )
        database.upgrade(settings)
        database.check_schema(engine)
        store = Store(engine, 60)
        entries = Outbox(store.engine).due(["webhook:a"], NOW, 9)
        assert [(entry.id, entry.lane, entry.key) for entry in entries] == [(1, "1", None), (2, "2", None)]
        Outbox(store.engine).mark_done(entries, "sent", NOW)
        (alert,) = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts").open_alerts()
        assert (alert.id, alert.sources, alert.message, alert.usual) == ("abc", {}, "", None)
        engine.dispose()
