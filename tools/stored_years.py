"""Make a database as version 0.2.0 leaves it after two years: a million documents, the older half purged.

    python -m tools.stored_years sqlite:////tmp/old.db
    python -m tools.stored_years postgresql+psycopg://postgres@127.0.0.1/old --documents 100000 --unpurged

A release test upgrades it (`tests/integration/test_stored_years.py`).  The rows are made by the database
itself, and the sums are added up in SQL, so that nothing here follows later changes of the program.  The
bodies of the outbox are frozen in the form that 0.2.0 gave them.
"""

import argparse
import json
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cramjam import zstd
from pydantic import SecretStr
from sqlalchemy import Connection, text

from stream.storage import database
from stream.storage.settings import DatabaseSettings

REVISION = "0006"  # the schema of version 0.2.0
DOCUMENTS = 1_000_000
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
PURGED_UNTIL = datetime(2025, 3, 1, tzinfo=UTC)
TOPICS = (
    "Analyst Update", "Company | Product News", "Currencies", "Dividend", "Earnings", "Energy | Oil",
    "Fed | Central Banks", "Financials", "General News | Opinion", "Gold | Metals | Materials", "IPO",
    "Legal | Regulation", "M&A | Investments", "Macro", "Markets", "Personnel Change", "Politics",
    "Stock Commentary", "Stock Movement", "Treasuries | Corporate Debt",
)  # fmt: skip
# Whom two of three texts are about, and one of nine about two of them.
ENGLISH_NAMES = (
    "Microsoft", "Tesla", "Goldman Sachs", "Toyota", "Nestle", "Siemens", "Netflix", "Pfizer", "Boeing",
    "Exxon Mobil", "Bitcoin", "the Federal Reserve", "the European Central Bank",
)  # fmt: skip
CHINESE_NAMES = ("贵州茅台", "比亚迪", "招商银行", "中国平安", "宁德时代")
PARTITIONS = 3
HEARTBEATS = 1440
EPISODES = 300
DEAD_LETTERS = 1000
INCARNATIONS = {"news": "cluster-1/topic-1", "comments": "cluster-1/topic-2"}
SUM_NAMES = ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares")

# Bursts of twelve documents on two topics within a minute.  Every fiftieth is received a day late.  Some have
# separators of all sorts in source and id, and some ids are as long as the column.
_DOCUMENTS = """
INSERT INTO documents (source, id, kind, published_at, received_at, title, text, author, url, symbols, lang,
    status, topic, topic_probability, sentiment, sentiment_probability, score, evidence, model, kafka_topic,
    kafka_partition, kafka_offset)
{numbers}
SELECT CASE WHEN i % 1000 = 7 THEN 'wire/' || (i % 3) WHEN i % 1000 = 8 THEN '财经 ' || (i % 3)
        WHEN kind = 'comment' THEN 'forum ' || (i % 7) ELSE 'wire ' || (i % 40) END,
    CASE WHEN i % 1000 = 7 THEN 'a/b/' || i WHEN i % 1000 = 9 THEN {long_id} ELSE 'id-' || i END,
    kind, {published}, {received},
    CASE WHEN purged = 1 THEN '' WHEN i % 10 = 3 THEN {chinese_name} || '公布业绩，股价下跌'
        ELSE CASE WHEN i % 3 = 0 THEN 'Company ' || (i % 5000) ELSE {english_name} END
            || CASE WHEN i % 9 = 4 THEN ' and ' || {other_name} ELSE '' END
            || ' reports results that the market did not expect' END,
    CASE WHEN purged = 1 THEN '' ELSE 'Analysts had expected more of quarter ' || (i % 4) || ' in the year ' || i END,
    CASE WHEN purged = 1 OR i % 3 = 0 THEN NULL ELSE 'author ' || (i % 9000) END,
    CASE WHEN purged = 1 OR i % 2 = 0 THEN NULL ELSE 'https://wire.example/' || i END,
    {symbols}, CASE WHEN status = 'unsupported' THEN 'zxx' WHEN i % 10 = 3 THEN 'zh' ELSE 'en' END, status,
    CASE WHEN status = 'unsupported' THEN NULL ELSE {topic_name} END,
    CASE WHEN status = 'unsupported' THEN NULL ELSE 0.9 END,
    CASE WHEN status <> 'ok' THEN NULL WHEN mood = 0 THEN 'negative' WHEN mood = 1 THEN 'neutral'
        ELSE 'positive' END,
    CASE WHEN status <> 'ok' THEN NULL ELSE 0.8 END,
    CASE WHEN status = 'unsupported' THEN NULL ELSE (mood - 1) * 5000 + i * 7919 % 5000 END,
    {evidence}, CASE WHEN i < {n} / 3 THEN 'small-1' ELSE 'small-2' END,
    CASE WHEN kind = 'comment' THEN 'comments' ELSE 'news' END, i % {partitions}, i
FROM (SELECT i, at, CASE WHEN i % 50 = 0 THEN at + 86400 ELSE at + 2 END AS got,
        CASE WHEN CASE WHEN i % 50 = 0 THEN at + 86400 ELSE at + 2 END < {purged_until} THEN 1 ELSE 0 END AS purged,
        CASE WHEN i / 12 % 3 = 0 THEN 'comment' ELSE 'news' END AS kind,
        (i * 31 / 7) % 3 AS mood, (i / 12 * 7 + CASE WHEN i % 12 = 5 THEN 1 ELSE 0 END) % {topics} AS topic,
        CASE WHEN i % 97 = 0 THEN 'unsupported' WHEN i % 16 = 0 THEN 'uncertain' ELSE 'ok' END AS status
    FROM (SELECT i, {start} + i / 12 * ({span} * 12 / {n}) + i % 12 * 5 AS at FROM made) AS timed) AS rows
"""
_HEARTBEATS = """
INSERT INTO documents (source, id, kind, published_at, received_at, title, text, symbols, lang, status, evidence,
    model, kafka_topic, kafka_partition, kafka_offset)
{numbers}
SELECT 'monitor-heartbeat', 'beat-' || i, 'news', {published}, {published}, '', '-', {none}, 'zxx', 'unsupported',
    {none}, 'small-2', 'news', 0, {n} + i
FROM (SELECT i, {end} - i * 60 AS at FROM made) AS rows
"""
_DEAD_LETTERS = """
INSERT INTO dead_letters (incarnation, kafka_topic, kafka_partition, kafka_offset, item, reason, detail, seen_at)
{numbers}
SELECT '{incarnation}', 'news', i % {partitions}, i, i % 4, 'not_json',
    CASE WHEN at < {purged_until} THEN '' ELSE 'no JSON at byte ' || i END, {published}
FROM (SELECT i, {start} + i * ({span} / {n}) AS at FROM made) AS rows
"""
_SUMS = """count(*), sum(CASE WHEN sentiment = 'positive' THEN 1 ELSE 0 END),
    sum(CASE WHEN sentiment = 'neutral' THEN 1 ELSE 0 END),
    sum(CASE WHEN sentiment = 'negative' THEN 1 ELSE 0 END),
    sum(CASE WHEN sentiment IS NULL THEN 1 ELSE 0 END), sum(score), sum(CAST(score AS BIGINT) * score)"""
_AGGREGATES = """
INSERT INTO aggregates (window_start, topic, kind, kafka_partition, {names})
SELECT {minute}, topic, kind, kafka_partition, {sums} FROM documents WHERE score IS NOT NULL GROUP BY 1, 2, 3, 4
"""
_ROLLUPS = """
INSERT INTO rollups (width, window_start, topic, kind, kafka_partition, {names})
SELECT {width}, {start_of_width}, topic, kind, kafka_partition, {added} FROM aggregates GROUP BY 2, 3, 4, 5
"""
_OFFSETS = """
INSERT INTO offsets (incarnation, kafka_topic, kafka_partition, next_offset, updated_at)
SELECT '{incarnation}', '{topic}', kafka_partition, max(kafka_offset) + 1, {now} FROM documents
WHERE kafka_topic = '{topic}' GROUP BY kafka_partition
"""


def make(url: str, documents: int = DOCUMENTS, purged_until: datetime = PURGED_UNTIL) -> None:
    """Fill an empty database with so many documents, and with all else that 0.2.0 stores."""
    settings = DatabaseSettings(url=SecretStr(url))
    database.upgrade(settings, REVISION)
    engine = database.connect(settings)
    try:
        with database.writing(engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL synchronous_commit = off"))
                connection.execute(text("SET LOCAL maintenance_work_mem = '256MB'"))
            Filling(connection, documents, purged_until).fill()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    finally:
        engine.dispose()


class Filling:
    """Fills the tables in one transaction, in the SQL of SQLite or PostgreSQL."""

    def __init__(self, connection: Connection, documents: int, purged_until: datetime) -> None:
        self._connection, self._documents, self._purged_until = connection, documents, purged_until
        self._postgresql = connection.dialect.name == "postgresql"

    def fill(self) -> None:
        """The indexes of the documents are made after the rows, which is faster."""
        indexes = self._drop_indexes()
        self._insert_documents()
        for definition in indexes:
            self._execute(definition)
        self._insert_sums()
        self._insert_positions()
        self._insert_episodes()
        self._insert_outbox()

    def _execute(self, statement: str, **values: Any) -> None:
        """Texts in a statement may hold a colon, which is no parameter."""
        if values:
            self._connection.execute(text(statement), values)
        else:
            self._connection.exec_driver_sql(statement.replace("%", "%%") if self._postgresql else statement)

    def _drop_indexes(self) -> list[str]:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'documents' "
            "AND schemaname = current_schema() AND indexname LIKE 'ix_%'"
            if self._postgresql
            else "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'documents' AND sql <> ''"
        )
        indexes = self._connection.execute(text(query)).all()
        for name, _ in indexes:
            self._execute(f"DROP INDEX {name}")
        return [definition for _, definition in indexes]

    def _insert_documents(self) -> None:
        spans = [
            {"task": task, "text": word, "start": start, "end": start + len(word), "weight": 0.25}
            for task in ("topic", "sentiment")
            for start, word in ((8, "reports"), (16, "results"), (29, "market"))
        ]
        evidence = f"CASE WHEN purged = 1 OR status = 'unsupported' THEN '[]' ELSE '{json.dumps(spans)}' END"
        long_id = (
            "repeat('x', 500) || i" if self._postgresql else "replace(hex(zeroblob(250)), '0', 'x') || i"
        )
        common = {
            "published": self._time("at"),
            "start": int(START.timestamp()),
            "end": int(END.timestamp()),
            "span": int((END - START).total_seconds()),
            "purged_until": int(self._purged_until.timestamp()),
            "partitions": PARTITIONS,
        }
        self._execute(
            _DOCUMENTS.format(
                numbers=self._numbers(self._documents),
                n=self._documents,
                received=self._time("got"),
                long_id=long_id,
                symbols=self._json("CASE WHEN i % 5 = 0 THEN '[\"XNAS:AAPL\", \"600519\"]' ELSE '[]' END"),
                evidence=self._json(evidence),
                topics=len(TOPICS),
                topic_name=_case("topic", TOPICS),
                english_name=_case(f"i / 5 % {len(ENGLISH_NAMES)}", ENGLISH_NAMES),
                other_name=_case(f"i / 60 % {len(ENGLISH_NAMES)}", ENGLISH_NAMES),
                chinese_name=_case(f"i / 10 % {len(CHINESE_NAMES)}", CHINESE_NAMES),
                **common,
            )
        )
        self._execute(
            _HEARTBEATS.format(
                numbers=self._numbers(HEARTBEATS), n=self._documents, none=self._json("'[]'"), **common
            )
        )
        self._execute(
            _DEAD_LETTERS.format(
                numbers=self._numbers(DEAD_LETTERS),
                n=DEAD_LETTERS,
                incarnation=INCARNATIONS["news"],
                **common,
            )
        )

    def _insert_sums(self) -> None:
        names = ", ".join(SUM_NAMES)
        minute = self._truncated("published_at", "minute")
        self._execute(_AGGREGATES.format(names=names, minute=minute, sums=_SUMS))
        added = ", ".join(f"sum({name})" for name in SUM_NAMES)
        for width, unit in ((3600, "hour"), (86_400, "day")):
            start = self._truncated("window_start", unit)
            self._execute(_ROLLUPS.format(names=names, width=width, start_of_width=start, added=added))

    def _insert_positions(self) -> None:
        now = self._time(str(int(END.timestamp())))
        for topic, incarnation in INCARNATIONS.items():
            self._execute(_OFFSETS.format(incarnation=incarnation, topic=topic, now=now))
        self._insert("marks", name="purged", at=self._purged_until)
        self._insert("leases", name="alerts", holder="host-1:1:00000000", expires_at=END)

    def _insert_episodes(self) -> None:
        """Resolved episodes over the two years, and at the end one pending, one firing and one flapping."""
        for number in range(EPISODES):
            since = START + number * (END - START) / EPISODES
            self._insert_episode(number, "resolved", since, resolved_at=since + timedelta(hours=2))
        for number, state in enumerate(("pending", "firing", "flapping"), EPISODES):
            self._insert_episode(
                number, state, END - timedelta(minutes=number - EPISODES + 5), resolved_at=None
            )

    def _insert_episode(self, number: int, state: str, since: datetime, resolved_at: datetime | None) -> None:
        purged = resolved_at is not None and resolved_at < self._purged_until
        alert = {
            **episode(number, state, since, resolved_at),
            "message": "" if purged else "The mood turned.",
        }
        evidence = [] if purged else [evidence_item(number, since)]
        row = {**alert, "evidence": json.dumps(evidence), "sources": json.dumps({"wire 1": 7})}
        self._insert("alerts", **row)
        steps = {"pending": since, "firing": alert["fired_at"], "resolved": resolved_at}
        before = None
        shared = {
            name: alert[name]
            for name in ("rule", "topic", "value", "threshold", "n", "uncertainty", "summary")
        }
        for to, at in steps.items():
            if at is not None:
                self._insert(
                    "alert_transitions", alert_id=alert["id"], before=before, state=to, at=at, **shared
                )
                before = to
                if to != "pending":
                    key = {"target": "webhook:desk", "key": f"{alert['id']}:{to}", "alert_id": alert["id"]}
                    sent = state == "resolved"
                    outcome = {"settled_at": at if sent else None, "outcome": "sent" if sent else None}
                    self._insert("deliveries", queued_at=at, **key, **outcome)

    def _insert_outbox(self) -> None:
        failed = {"attempts": 3, "failing_since": END, "last_error": "not there"}
        self._insert("outbox", **queued("kafka:predictions", packed(PREDICTIONS)))
        self._insert("outbox", **queued("kafka:predictions", zlib.compress(_as_json(PREDICTIONS))) | failed)
        self._insert("outbox", **queued("kafka:dead-letters", packed(DEAD_LETTER_MESSAGES)))
        self._insert("outbox", **queued("kafka:alerts", packed(ALERT_EVENTS)))
        self._insert("outbox", **queued("kafka:news", packed(HEARTBEAT_MESSAGES)))
        page = json.dumps(PAGE).encode()
        self._insert("outbox", **queued("webhook:desk", page) | {"lane": "surge:page", "key": PAGE["key"]})

    def _insert(self, table: str, **values: Any) -> None:
        """Times and JSON as each database stores them."""
        sent = {}
        for name, value in values.items():
            is_time = isinstance(value, datetime) and not self._postgresql
            sent[name] = f"{value:%Y-%m-%d %H:%M:%S.%f}" if is_time else value
        names = ", ".join(f'"{name}"' for name in sent)
        places = ", ".join(self._json(f":{n}") if n in ("evidence", "sources") else f":{n}" for n in sent)
        self._execute(f"INSERT INTO {table} ({names}) VALUES ({places})", **sent)

    def _numbers(self, count: int) -> str:
        """A common table `made` with a column `i` of the numbers from 1."""
        if self._postgresql:
            return f"WITH made AS (SELECT generate_series(1::bigint, {count}) AS i)"
        return f"WITH RECURSIVE made(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM made WHERE i < {count})"

    def _time(self, seconds: str) -> str:
        """A time from seconds since the epoch."""
        if self._postgresql:
            return f"to_timestamp({seconds})"
        return f"strftime('%Y-%m-%d %H:%M:%S.000000', {seconds}, 'unixepoch')"

    def _truncated(self, stamp: str, unit: str) -> str:
        if self._postgresql:
            return f"date_trunc('{unit}', {stamp}, 'UTC')"
        patterns = {"minute": "%Y-%m-%d %H:%M:00", "hour": "%Y-%m-%d %H:00:00", "day": "%Y-%m-%d 00:00:00"}
        return f"strftime('{patterns[unit]}.000000', {stamp})"

    def _json(self, value: str) -> str:
        return f"CAST({value} AS JSON)" if self._postgresql else value


def _case(name: str, texts: tuple[str, ...]) -> str:
    """The text at this index, in SQL."""
    return f"CASE {name} " + " ".join(f"WHEN {i} THEN '{each}'" for i, each in enumerate(texts)) + " END"


def episode(number: int, state: str, since: datetime, resolved_at: datetime | None) -> dict[str, Any]:
    """A row of `alerts` without its texts; its id is 16 hexadecimal digits, as 0.2.0 made them."""
    return {
        "id": f"{number:016x}",
        "rule": "negative-surge",
        "topic": TOPICS[number % len(TOPICS)],
        "severity": "page",
        "state": state,
        "since": since,
        "value": 4.5,
        "threshold": 3.0,
        "n": 40,
        "uncertainty": "chance 1e-09",
        "summary": f"negative documents at 4.5 times the usual rate, episode {number}",
        "usual": 1.5,
        "fired_at": None if state == "pending" else since + timedelta(minutes=1),
        "resolved_at": resolved_at,
    }


def evidence_item(number: int, since: datetime) -> dict[str, Any]:
    """An item of evidence, as the column `evidence` of an alert and the messages of 0.2.0 hold it."""
    return {
        "source": "wire/1",
        "id": f"a/b/{number}",
        "published_at": f"{since:%Y-%m-%dT%H:%M:%SZ}",
        "content": "Shares of the company fall after a loss",
        "score": -0.9,
        "words": ["fall", "loss"],
        "url": f"https://wire.example/{number}",
    }


_FIRING = episode(EPISODES + 1, "firing", END - timedelta(minutes=6), None)
PAGE: dict[str, Any] = {
    "key": f"{_FIRING['id']}:firing",
    **{name: _FIRING[name] for name in ("id", "rule", "topic", "state", "severity", "summary")},
    "message": "The mood turned.",
    **{name: _FIRING[name] for name in ("value", "threshold", "usual", "n", "uncertainty")},
    "since": "2026-02-28T23:54:00Z",
    "fired_at": "2026-02-28T23:55:00Z",
    "resolved_at": None,
    "labels": {"team": "risk"},
    "runbook": None,
    "link": f"http://127.0.0.1:9108/alerts/{_FIRING['id']}",
    "sources": {"wire 1": 7},
    "evidence": [evidence_item(EPISODES + 1, END - timedelta(minutes=6))],
}
ALERT_EVENTS = [(PAGE["key"], {**PAGE, "before": "pending", "at": "2026-02-28T23:55:00Z"})]
_LABEL = {"label": "negative", "probability": 0.8}
PREDICTIONS = [
    (
        f"{source}/{id_}",
        {
            "id": id_, "source": source, "kind": "news", "published_at": "2026-02-28T23:50:00Z", "symbols": ["600519"],
            "lang": "en", "topic": {"label": "Macro", "probability": 0.9}, "sentiment": _LABEL, "score": -0.5,
            "probabilities": {"topic": {"Macro": 0.9}, "sentiment": {"negative": 0.8}},
            "evidence": [{"task": "sentiment", "text": "falls", "start": 8, "end": 13, "weight": 0.5}],
            "status": "ok", "certain": True, "windows": 1, "model": "small-2",
        },
    )
    for source, id_ in (("wire/1", "a/b/1007"), ("财经 1", "id-1008"), ("wire 1", "id-1"))
]  # fmt: skip
DEAD_LETTER_MESSAGES = [
    (
        "news[0]@7#1",
        {
            "topic": "news", "partition": 0, "offset": 7, "item": 1, "reason": "not_json", "detail": "no JSON at byte 1",
            "payload_bytes": 3, "payload_complete": True, "payload": "{a}",
        },
    )
]  # fmt: skip
HEARTBEAT_MESSAGES = [
    (
        "monitor-heartbeat/2026-03-01T00:00:00+00:00",
        {
            "id": "2026-03-01T00:00:00+00:00", "source": "monitor-heartbeat",
            "published_at": "2026-03-01T00:00:00+00:00", "text": "-", "lang": "zxx",
        },
    )
]  # fmt: skip


def queued(target: str, body: bytes) -> dict[str, Any]:
    """A row of `outbox` that may be sent at END."""
    return {"target": target, "body": body, "created_at": END, "attempts": 0, "retry_at": END, "lane": ""}


def packed(messages: list[tuple[str, dict[str, Any]]]) -> bytes:
    """Several Kafka messages as 0.2.0 stores them: MessagePack, compressed with zstd."""
    body = [{"key": key, "value": json.dumps(value).encode()} for key, value in messages]
    return bytes(zstd.compress(msgspec.msgpack.encode(body), level=1))


def _as_json(messages: list[tuple[str, dict[str, Any]]]) -> bytes:
    """The same as versions before 0.2.0 stored them, which 0.2.0 can send too."""
    return json.dumps([{"key": key, "value": value} for key, value in messages]).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url", help="an empty database: sqlite:////FILE or postgresql+psycopg://...")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--unpurged", action="store_true", help="every document keeps its text")
    options = parser.parse_args()
    started = time.monotonic()
    make(options.url, options.documents, START if options.unpurged else PURGED_UNTIL)
    print(f"{options.documents:,} documents in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
