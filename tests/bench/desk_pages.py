"""How long the desk's pages take over a million documents: p50 and p99 of every page, over HTTP.

    .venv/bin/python -m tests.bench.desk_pages sqlite:////tmp/desk.db --fill --documents 1000000
    .venv/bin/python -m tests.bench.desk_pages sqlite:////tmp/desk.db --rounds 100
    .venv/bin/python -m tests.bench.desk_pages postgresql --fill --documents 10000000

The database makes its rows itself: as many documents a day whatever their number, 33,000, on 20 topics and
about 3,000 entities, four to a story and some of 500, with their sums and an alert for each 5,000.
`postgresql` stands for a server that is started for it.  Each request asks for another topic, entity, story or
text, most of them of the last day.  Of a database in this process the CPU time of a request is told too: what
it takes on a machine that does nothing else.
"""

import argparse
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import SecretStr
from sqlalchemy import Connection, text

from stream.storage import database
from stream.storage.batches import Store
from stream.storage.desk.entities import Entities
from stream.storage.settings import DatabaseSettings
from tests.desk_parts import desk_over, serving
from tests.parts import Postgres, temporary_folder

PER_DAY, PARTITIONS, TOPICS, ENTITIES = 33_000, 4, 20, 3000
END = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
DAYS = timedelta(days=1).total_seconds()
SQLITE_CACHE = 1_000_000  # kB, while the rows are made
KEY = "CASE WHEN i % 3 = 0 THEN 'comment' ELSE 'news' END || ':wire~20' || (i % 40) || ':' || i"
SPAN = '[{"task": "sentiment", "text": "falls", "start": 13, "end": 18, "weight": 0.5}]'
SUM_NAMES = ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares")
SUMS = """count(*), sum(CASE WHEN {t}.sentiment = 'positive' THEN 1 ELSE 0 END),
    sum(CASE WHEN {t}.sentiment = 'neutral' THEN 1 ELSE 0 END),
    sum(CASE WHEN {t}.sentiment = 'negative' THEN 1 ELSE 0 END),
    sum(CASE WHEN {t}.sentiment IS NULL THEN 1 ELSE 0 END),
    sum({t}.score), sum(CAST({t}.score AS BIGINT) * {t}.score)"""
ADDED = ", ".join(f"sum({name})" for name in SUM_NAMES)
# Of four texts of a story the last is a copy; every 200th text is in a story of 500.
STORY = "CASE WHEN i % 200 = 0 THEN i - i % 100000 + 4 ELSE i - i % 4 + 1 END"
MOOD = "(i * 31 / 7) % 3"
SCORE = f"({MOOD} - 1) * 5000 + i * 7919 % 5000"
SENTIMENT = f"CASE WHEN i % 16 = 0 THEN NULL WHEN {MOOD} = 0 THEN 'negative' WHEN {MOOD} = 1 THEN 'neutral' ELSE 'positive' END"
DOCUMENTS = f"""
INSERT INTO documents (key, source, id, kind, published_at, received_at, title, text, author, symbols, lang, status,
    topic, topic_probability, sentiment, sentiment_probability, score, evidence, model, kafka_topic,
    kafka_partition, kafka_offset, published_precision, gazetteer)
SELECT {KEY}, 'wire ' || (i % 40), i, CASE WHEN i % 3 = 0 THEN 'comment' ELSE 'news' END, {{at}}, {{at}},
    'Company ' || (i % 5000) || ' falls behind what the market did expect of its quarter',
    'Analysts had expected more of quarter ' || (i % 4) || ', and say so in text ' || i || '. '
        || substr('The company gave no reason and named no date. The company gave no reason and named no date.', 1,
            CAST(i % 90 AS INTEGER)),
    NULL, {{none}}, 'en', CASE WHEN i % 16 = 0 THEN 'uncertain' ELSE 'ok' END,
    'Topic ' || (i * 7 % {TOPICS}), 0.9, {SENTIMENT}, 0.8, {SCORE}, {{evidence}}, 'model-1', 'news',
    i % {PARTITIONS}, i, 'exact', 'g-1'
FROM made
"""
# One entity a text, of Zipf's law or so, and one of fifty more in every third.
MENTIONS = f"""
INSERT INTO mentions (key, entity, kind, published_at, published_precision, received_at, kafka_partition, relevance,
    sentiment, sentiment_probability, score, of_target, spans)
SELECT {KEY}, {{entity}}, CASE WHEN i % 3 = 0 THEN 'comment' ELSE 'news' END, {{at}}, 'exact', {{at}},
    i % {PARTITIONS}, i % 101, {SENTIMENT}, 0.8, {SCORE}, {{false}}, {{spans}}
FROM made WHERE {{condition}}
"""
ASSIGNED = f"""
INSERT INTO document_stories (key, sequence, seen_at, assigned_at, published_at, story, novelty, copy_of, voice, origin)
SELECT {KEY}, i, {{at}}, {{at}}, {{at}}, {STORY}, i % 101, CASE WHEN i % 4 = 3 THEN 'news:wire~201:1' END,
    CASE WHEN i % 4 = 3 THEN 0 ELSE 1 END, 'origin ' || (i % 60)
FROM made
"""
STORIES = """
INSERT INTO stories (id, first_key, central_key, first_seen_at, last_seen_at, documents, copies, voices)
SELECT story, min(key), min(key), min(seen_at), max(seen_at), count(*), count(copy_of), sum(voice)
FROM document_stories GROUP BY story
"""
AGGREGATES = """
INSERT INTO {table} (window_start, topic, kind, kafka_partition, {names})
SELECT {minute}, documents.topic, documents.kind, documents.kafka_partition, {sums} FROM documents {join}
GROUP BY 1, 2, 3, 4
"""
ROLLUPS = """
INSERT INTO {table} (width, window_start, topic, kind, kafka_partition, {names})
SELECT {width}, {start}, topic, kind, kafka_partition, {added} FROM {source} GROUP BY 2, 3, 4, 5
"""
ENTITY_SUMS = """
INSERT INTO {table} (width, entity, window_start, kind, kafka_partition, band, {names})
SELECT {width}, mentions.entity, {start}, mentions.kind, mentions.kafka_partition,
    CASE WHEN relevance >= 80 THEN 80 ELSE relevance / 20 * 20 END, {sums} FROM mentions {join}
GROUP BY 2, 3, 4, 5, 6
"""
NAMES = """
INSERT INTO entities (id, kind, name) SELECT DISTINCT entity, 'company', 'Company ' || entity FROM mentions
"""
ALERTS = f"""
INSERT INTO alerts (id, rule, topic, severity, state, since, value, threshold, n, uncertainty, summary, usual, message,
    evidence, sources, fired_at, resolved_at, counted, stories_text, incident)
SELECT 'a' || i, 'negative-surge', 'Topic ' || (i / 5000 % {TOPICS}), 'page', 'resolved', {{at}}, 4.5, 3.0, 40, '',
    'Topic: 40 negative texts in 30 min', 1.5, '', {{none}}, {{mapping}}, {{at}}, {{later}}, 'voices', '', 'i' || i
FROM made WHERE i % 5000 = 0
"""
INCIDENTS = """
INSERT INTO incidents (id, began_at, severity, title, lead_entities, stories, alerts, stands_alone, ended_at, paged_number,
    paged_value, paged_values, paged_entities, told)
SELECT 'i' || i, {at}, 'page', 'A topic turns', {none}, {none}, {none}, {false}, {later}, 0, 0, {mapping}, {none}, {none}
FROM made WHERE i % 5000 = 0
"""
INDEXED = (
    "documents",
    "mentions",
    "document_stories",
    "stories",
    "entity_aggregates",
    "voice_entity_aggregates",
)


class Filling:
    """Fills the tables in one transaction, in the SQL of SQLite or PostgreSQL."""

    def __init__(self, connection: Connection, documents: int) -> None:
        self._connection, self._documents = connection, documents
        self._postgresql = connection.dialect.name == "postgresql"

    def fill(self) -> None:
        """The indexes are made after the rows, which is faster."""
        if not self._postgresql:
            self._execute(f"PRAGMA cache_size={-SQLITE_CACHE}")
        indexes = self._drop_indexes()
        seconds = f"{int(END.timestamp())} - ({self._documents} - i) * {DAYS / PER_DAY}"
        values = {
            "at": self._time(seconds),
            "later": self._time(f"{seconds} + 3600"),
            "none": self._json("[]"),
            "mapping": self._json("{}"),
            "evidence": self._json(SPAN),
            "spans": self._json("[[0, 7]]"),
            "false": "false" if self._postgresql else "0",
        }
        self._of_numbers(DOCUMENTS, values)
        for entity, condition in (
            (f"'XNYS:E' || (i * 7919 % {ENTITIES} * (i * 31 % {ENTITIES}) / {ENTITIES})", "i % 2 = 0"),
            ("'XNAS:M' || (i / 3 % 50)", "i % 3 = 0"),
        ):
            self._of_numbers(MENTIONS, values | {"entity": entity, "condition": condition})
        self._of_numbers(ASSIGNED, values)
        self._execute(STORIES)
        self._execute(NAMES)
        self._insert_sums()
        self._of_numbers(ALERTS, values)
        self._of_numbers(INCIDENTS, values)
        for definition in indexes:
            self._execute(definition)

    def _insert_sums(self) -> None:
        voices = "JOIN document_stories ON document_stories.key = {t}.key AND document_stories.voice = 1"
        for prefix, join in (("", ""), ("voice_", voices)):
            common = {"names": ", ".join(SUM_NAMES), "added": ADDED}
            minute = self._truncated("documents.published_at", "minute")
            of_documents = {"sums": SUMS.format(t="documents"), "join": join.format(t="documents")}
            aggregates = f"{prefix}aggregates"
            self._execute(AGGREGATES.format(table=aggregates, minute=minute, **common, **of_documents))
            of_mentions = {"sums": SUMS.format(t="mentions"), "join": join.format(t="mentions")}
            for width, unit in ((3600, "hour"), (86_400, "day")):
                sums = common | {"width": width, "source": aggregates}
                start = self._truncated("window_start", unit)
                self._execute(ROLLUPS.format(table=f"{prefix}rollups", start=start, **sums))
                start = self._truncated("mentions.published_at", unit)
                sums |= of_mentions
                self._execute(ENTITY_SUMS.format(table=f"{prefix}entity_aggregates", start=start, **sums))

    def _drop_indexes(self) -> list[str]:
        tables = ", ".join(f"'{table}'" for table in INDEXED)
        query = (
            f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ({tables}) "
            "AND schemaname = current_schema() AND indexname LIKE 'ix_%'"
            if self._postgresql
            else f"SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ({tables}) AND sql <> ''"
        )
        indexes = self._connection.execute(text(query)).all()
        for name, _ in indexes:
            self._execute(f"DROP INDEX {name}")
        return [definition for _, definition in indexes]

    def _of_numbers(self, statement: str, values: dict[str, str]) -> None:
        """A statement over a table `made` with a column `i` of the numbers from 1."""
        count = self._documents
        numbers = (
            f"WITH made AS (SELECT generate_series(1::bigint, {count}) AS i) "
            if self._postgresql
            else f"WITH RECURSIVE made(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM made WHERE i < {count}) "
        )
        head, _, query = statement.format(**values).partition("SELECT")
        self._execute(f"{head} {numbers} SELECT {query}")

    def _execute(self, statement: str) -> None:
        """Texts in a statement may hold a colon, which is no parameter."""
        self._connection.exec_driver_sql(statement.replace("%", "%%") if self._postgresql else statement)

    def _time(self, seconds: str) -> str:
        if self._postgresql:
            return f"to_timestamp({seconds})"
        return f"strftime('%Y-%m-%d %H:%M:%S.000000', {seconds}, 'unixepoch')"

    def _truncated(self, stamp: str, unit: str) -> str:
        if self._postgresql:
            return f"date_trunc('{unit}', {stamp}, 'UTC')"
        patterns = {"minute": "%Y-%m-%d %H:%M:00", "hour": "%Y-%m-%d %H:00:00", "day": "%Y-%m-%d 00:00:00"}
        return f"strftime('{patterns[unit]}.000000', {stamp})"

    def _json(self, value: str) -> str:
        return f"'{value}'::json" if self._postgresql else f"'{value}'"


def fill(settings: DatabaseSettings, documents: int) -> None:
    """Make the tables and their rows."""
    database.upgrade(settings)
    engine = database.connect(settings)
    with database.writing(engine) as connection:
        Filling(connection, documents).fill()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


@dataclass(frozen=True)
class Visitor:
    """Makes addresses, each of something else."""

    documents: int
    entities: Sequence[str]
    draw: random.Random

    def number(self) -> int:
        """A document, of the last day nine times of ten."""
        newest = min(PER_DAY, self.documents) if self.draw.random() < 0.9 else self.documents
        return self.documents - self.draw.randrange(newest)

    def topic(self) -> str:
        return f"/topics/Topic%20{self.draw.randrange(TOPICS)}"

    def entity(self) -> str:
        """One of the fifty of every third text half of the time."""
        if self.draw.random() < 0.5:
            return f"/entities/XNAS:M{self.draw.randrange(50)}"
        return f"/entities/{self.draw.choice(self.entities)}"

    def story(self) -> str:
        number = self.number()
        return f"/stories/{number - number % 4 + 1}"

    def large_story(self) -> str:
        number = self.number()
        return f"/stories/{max(number - number % 100_000 - 100_000, 0) + 4}"

    def text(self) -> str:
        number = self.number()
        return f"/texts/{'news' if number % 3 else 'comment'}:wire~20{number % 40}:{number}"

    def incident(self) -> str:
        return f"/incidents/i{max(self.number() // 5000, 1) * 5000}"

    def pages(self) -> dict[str, Callable[[], str]]:
        """An address of each page, by the page's name."""
        return {
            "overview": lambda: "/",
            "topic, 24 hours": self.topic,
            "topic, 30 days, worst": lambda: f"{self.topic()}?period=30d&order=worst",
            "topic, voices": lambda: f"{self.topic()}?count=voices",
            "entity, 24 hours": self.entity,
            "entity, 30 days, worst": lambda: f"{self.entity()}?period=30d&order=worst",
            "story": self.story,
            "story of 500": self.large_story,
            "text": self.text,
            "incidents": lambda: "/incidents",
            "entities": lambda: "/entities",
            "incident": self.incident,
            "rules": lambda: "/rules",
            "watchlists": lambda: "/watchlists",
            "health": lambda: "/health",
            "API entities": lambda: "/api/v1/entities",
            "API stories of a topic": lambda: f"/api/v1/stories?topic=Topic%20{self.draw.randrange(TOPICS)}",
            "API documents": lambda: f"/api/v1/documents?topic=Topic%20{self.draw.randrange(TOPICS)}",
        }


@dataclass(frozen=True)
class Request:
    """Wall clock and CPU time in milliseconds, and bytes over the wire."""

    status: int
    wall: float
    cpu: float
    size: int


def ask(client: httpx.Client, path: str) -> Request:
    cpu, wall = time.process_time(), time.perf_counter()
    with client.stream("GET", path) as answer:
        size = sum(len(part) for part in answer.iter_raw())
    return Request(
        answer.status_code, (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, size
    )


def percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def measure(settings: DatabaseSettings, documents: int, rounds: int, seconds: float) -> Iterator[str]:
    """A line for each page."""
    engine = database.connect(settings)
    desk = desk_over(Store(engine, 60), lambda: END, topics=tuple(f"Topic {i}" for i in range(TOPICS)))
    entities = [one.id for one in Entities(engine).search("XNYS:", 200)]
    visitor = Visitor(documents, entities, random.Random(1))
    in_process = engine.dialect.name == "sqlite"
    with serving(desk) as url, httpx.Client(base_url=url, timeout=60) as client:
        for name, address in visitor.pages().items():
            first, began, asked = ask(client, address()), time.monotonic(), list[Request]()
            while len(asked) < rounds and time.monotonic() - began < seconds:
                asked.append(ask(client, address()))
            wall = [request.wall for request in asked]
            line = f"{name:24} p50 {percentile(wall, 50):7.1f} ms  p99 {percentile(wall, 99):7.1f} ms"
            if in_process:
                cpu = [request.cpu for request in asked]
                line += f"  CPU p50 {percentile(cpu, 50):6.1f} ms  p99 {percentile(cpu, 99):6.1f} ms"
            statuses = sorted({request.status for request in [first, *asked]})
            size = max(request.size for request in asked)
            yield f"{line}  first {first.wall:7.1f} ms  {size / 1000:5.1f} kB  {len(asked)} of {statuses}"
    engine.dispose()


@contextmanager
def database_at(url: str) -> Iterator[DatabaseSettings]:
    """The database, on a server of its own if only its kind is named."""
    if url != "postgresql":
        yield DatabaseSettings(url=SecretStr(url))
        return
    folder = temporary_folder("desk-")
    server = Postgres(folder)
    try:
        yield DatabaseSettings(url=SecretStr(server.create_database()))
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url", help="sqlite:////FILE, postgresql+psycopg://..., or postgresql")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--fill", action="store_true", help="make the rows first, in an empty database")
    parser.add_argument("--rounds", type=int, default=100, help="requests of each page")
    parser.add_argument("--seconds", type=float, default=60, help="the longest for one page")
    options = parser.parse_args()
    with database_at(options.url) as settings:
        if options.fill:
            began = time.monotonic()
            fill(settings, options.documents)
            print(f"{options.documents:,} documents in {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
        for line in measure(settings, options.documents, options.rounds, options.seconds):
            print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
