"""How fast a long history is read: the queries of the dashboards, the alerts and the evidence pages.

    .venv/bin/python -m tests.bench.history [DOCUMENTS] [--plans]

A real PostgreSQL with so many documents (10 million unless told), a year of minutes and 20 topics, made by
the database itself.  Prints the median milliseconds of each query, and with --plans how each is carried out.
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import event, text

from stream.domain.documents import Kind
from stream.domain.sums import Scope
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.parts import Postgres, temporary_folder

ROUNDS = 7
DASHBOARDS = Path(__file__).parents[2] / "docker" / "grafana" / "dashboards"
DAYS = 365
END = datetime(2026, 1, 1, tzinfo=UTC)
SUMS = """count(*), count(*) FILTER (WHERE sentiment = 'positive'), count(*) FILTER (WHERE sentiment = 'neutral'),
    count(*) FILTER (WHERE sentiment = 'negative'), count(*) FILTER (WHERE sentiment IS NULL), sum(score),
    sum(score::bigint * score)"""
FILL = """
INSERT INTO documents
SELECT 'wire ' || i % 40, i::text, CASE WHEN i % 3 = 0 THEN 'comment' ELSE 'news' END, at, at,
    'Company ' || i % 5000 || ' reports results that the market did not expect', '', 'author ' || i % 9000,
    NULL, '["XYZ"]'::json, 'en', CASE WHEN i % 16 = 0 THEN 'uncertain' ELSE 'ok' END, 'Topic ' || i % 20, 0.9,
    CASE WHEN i % 16 = 0 THEN NULL ELSE (ARRAY['negative', 'neutral', 'positive'])[1 + mood] END, 0.8,
    (mood - 1) * 5000 + i * 7919 % 5000, '[{{"task": "sentiment", "text": "results", "weight": 0.5}}]'::json,
    'model-1', 'news', i % 4, i
FROM (SELECT i, (i * 31 / 7) % 3 AS mood,
             timestamptz '{end}' - make_interval(secs => {days} * 86400.0 * ({n} - i) / {n}) AS at
      FROM generate_series(1::bigint, {n}) AS i) AS made
"""
ROLL = """
INSERT INTO {table} ({width_name} window_start, topic, kind, kafka_partition, n, positive, neutral, negative,
    uncertain, score_sum, score_squares)
SELECT {width_value} date_trunc('{unit}', published_at, 'UTC') AS start, topic, kind, kafka_partition, {sums}
FROM documents GROUP BY start, topic, kind, kafka_partition
"""


def fill(url: str, documents: int) -> None:
    """The indexes are made after the rows."""
    settings = DatabaseSettings(url=SecretStr(url))
    database.upgrade(settings)
    engine = database.connect(settings)
    with database.writing(engine) as connection:
        indexes = connection.execute(
            text(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'documents' AND indexname LIKE 'ix_%'"
            )
        ).all()
        for name, _ in indexes:
            connection.execute(text(f"DROP INDEX {name}"))
        say(f"{documents:,} documents")
        connection.execute(text(FILL.format(end=END.isoformat(), days=DAYS, n=documents)))
        for _, definition in indexes:
            say(definition)
            connection.execute(text(definition))
        for table, width, unit in (
            ("aggregates", 0, "minute"),
            ("rollups", 3600, "hour"),
            ("rollups", 86_400, "day"),
        ):
            say(f"{table} by the {unit}")
            names = {"width_name": "width," if width else "", "width_value": f"{width}," if width else ""}
            connection.execute(text(ROLL.format(table=table, unit=unit, sums=SUMS, **names)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
        plain.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def asked(store: Store) -> dict[str, Callable[[], object]]:
    """What alerts, pages and dashboards ask of a long history."""
    year, day, hour = END - timedelta(days=DAYS), timedelta(days=1), timedelta(hours=1)
    kinds = tuple(Kind)
    found: dict[str, Callable[[], object]] = {
        "sums of a year, by topic": lambda: store.reads.sums(year, END),
        "days of a year, by topic": lambda: store.reads.sums_by_window(year, END, day),
        "hours of four weeks, by topic": lambda: store.reads.sums_by_window(END - 28 * day, END, hour),
        "minutes of the last hour": lambda: store.reads.sums_by_window(END - hour, END, timedelta(minutes=1)),
        "most negative of a topic's last hour": lambda: store.reads.most_negative(
            Scope("Topic 3", kinds, END - hour, END), 5
        ),
        "sources of a topic's last day": lambda: store.reads.negative_writers(
            Scope("Topic 3", kinds, END - day, END)
        ),
    }
    for file in sorted(DASHBOARDS.glob("*.json")):
        for title, sql in panels(json.loads(file.read_text())):
            for span, start in (("a year", year), ("6 hours", END - 6 * hour)):
                found[f"{file.stem}: {title}, {span}"] = query(store, sql, start)
    return found


def panels(dashboard: dict[str, object]) -> list[tuple[str, str]]:
    """The title and the SQL of each panel that asks the database."""
    found = []
    listed = dashboard["panels"]
    assert isinstance(listed, list)
    for panel in listed:
        for target in panel.get("targets", []):
            if "rawSql" in target:
                found.append((panel["title"], target["rawSql"]))
    return found


def query(store: Store, sql: str, start: datetime) -> Callable[[], object]:
    """The panel's SQL as Grafana would send it for the time from `start` on."""
    low, high = f"'{start.isoformat()}'", f"'{END.isoformat()}'"
    for column in ("published_at", "queued_at", "seen_at"):
        sql = sql.replace(f"$__timeFilter({column})", f"{column} BETWEEN {low} AND {high}")
    sql = sql.replace("$__timeTo()", high).replace("$__timeFrom()", low)

    def ask() -> object:
        with database.reading(store.engine) as connection:
            return connection.execute(text(sql)).all()

    return ask


def say(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def main(documents: int, plans: bool) -> None:
    folder = temporary_folder("history-")
    postgres = Postgres(folder)
    try:
        url = postgres.create_database()
        fill(url, documents)
        store = Store(database.connect(DatabaseSettings(url=SecretStr(url))), 60)
        for name, ask in asked(store).items():
            seconds = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                ask()
                seconds.append(time.perf_counter() - started)
            sys.stdout.write(f"{1000 * statistics.median(seconds):8.1f} ms  {name}\n")
            if plans:
                show_plan(store, ask)
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


def show_plan(store: Store, ask: Callable[[], object]) -> None:
    """What PostgreSQL says of the statements that `ask` sends."""
    sent: list[tuple[str, object]] = []

    def note(_conn: object, _cursor: object, statement: str, given: object, *_: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            sent.append((statement, given))

    event.listen(store.engine, "before_cursor_execute", note)
    ask()
    event.remove(store.engine, "before_cursor_execute", note)
    for statement, given in sent:
        with store.engine.connect() as connection:
            raw = connection.connection.cursor()
            raw.execute("EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF) " + statement, given)
            for (line,) in raw.fetchall():
                sys.stdout.write(f"    {line}\n")


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[1:] if argument.isdigit()]
    main(int(numbers[0]) if numbers else 10_000_000, "--plans" in sys.argv)
