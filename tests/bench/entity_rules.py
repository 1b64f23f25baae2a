"""How long an evaluation of a rule on each entity takes while thousands of entities are in bad news at once.

    .venv/bin/python -m tests.bench.entity_rules [ENTITIES]

SQLite and PostgreSQL with four weeks of hourly sums about so many entities (2,000 unless told), whose volumes
follow Zipf's law.  Each of them has six negative documents in the window, so that every one is compared with
its baseline.  The first evaluation reads the history, which is then kept for up to an hour.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr
from sqlalchemy import Table

from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import load_rules
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.settings import DatabaseSettings
from stream.storage.sql import insert_rows
from tests.parts import Postgres, temporary_folder

NOW = datetime(2026, 3, 4, 10, 20, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
HOURS, PER_DAY, NEGATIVES = 28 * 24, 2_000, 6
# Nothing fires, and everything is compared.
RULES = """\
rules:
  - {name: surge, type: negative_surge, entities: each, window: 30m, factor: 100000}
"""


def sums(n: int, negative: int) -> dict[str, int]:
    return {
        "n": n, "positive": 0, "neutral": n - negative, "negative": negative, "uncertain": 0,
        "score_sum": -8000 * negative, "score_squares": 64_000_000 * negative,
    }  # fmt: skip


def history(entities: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `entity_aggregates` and of `rollups`."""
    generator = np.random.default_rng(1)
    volumes = 1 / np.arange(1, entities + 1)
    hourly = generator.poisson(PER_DAY / 24 * volumes / volumes.sum(), (HOURS, entities))
    last = NOW.replace(minute=0) - HOUR
    by_entity, by_topic = [], []
    for back in range(HOURS):
        start = last - back * HOUR
        counts = hourly[back]
        negative = generator.binomial(counts, 0.2)
        for place in np.flatnonzero(counts):
            by_entity.append(
                {"width": 3600, "entity": f"XNAS:E{place:05}", "window_start": start, "kind": "news",
                 "kafka_partition": 0, "band": 80, **sums(int(counts[place]), int(negative[place]))}
            )  # fmt: skip
        by_topic.append(
            {"width": 3600, "window_start": start, "topic": "Earnings", "kind": "news", "kafka_partition": 0,
             **sums(int(counts.sum()), int(negative.sum()))}
        )  # fmt: skip
    return by_entity, by_topic


def burst(entities: int) -> Iterator[dict[str, Any]]:
    """Rows of `mentions`."""
    for place in range(entities):
        for number in range(NEGATIVES):
            at = NOW - (number + 1) * MINUTE
            yield {
                "key": f"news:wire:{place}-{number}", "entity": f"XNAS:E{place:05}", "kind": "news",
                "published_at": at, "published_precision": "exact", "received_at": at, "kafka_partition": 0,
                "relevance": 90, "sentiment": "negative", "sentiment_probability": 0.9, "score": -8000,
                "of_target": True, "spans": [],
            }  # fmt: skip


def fill(store: Store, entities: int) -> None:
    by_entity, by_topic = history(entities)
    tables: list[tuple[Table, list[dict[str, Any]]]] = [
        (schema.entity_aggregates, by_entity),
        (schema.rollups, by_topic),
        (schema.mentions, list(burst(entities))),
    ]
    for table, rows in tables:
        for at in range(0, len(rows), 20_000):
            with database.writing(store.engine) as connection:
                connection.execute(*insert_rows(connection, table, rows[at : at + 20_000]))
    sys.stdout.write(f"{entities:,} entities, {len(by_entity):,} hourly sums\n")


def evaluator_of(store: Store, rules: tuple[Rule, ...]) -> AlertEvaluator:
    return AlertEvaluator(
        rules=rules,
        topics=("Earnings",),
        reader=store.reads,
        episodes=SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts"),
        delivery=PageRouter(),
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )


def measure(name: str, url: str, folder: Path, entities: int) -> None:
    settings = DatabaseSettings(url=SecretStr(url))
    database.upgrade(settings)
    store = Store(database.connect(settings), 60)
    fill(store, entities)
    (folder / "rules.yaml").write_text(RULES)
    evaluator = evaluator_of(store, load_rules(folder / "rules.yaml"))
    seconds = []
    for second in range(6):
        started = time.perf_counter(), time.process_time()
        evaluator.evaluate(NOW + second * timedelta(seconds=5))
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    first, *later = seconds
    wall, cpu = map(statistics.median, zip(*later, strict=True))
    sys.stdout.write(
        f"{name}: first {first[0]:.2f} s ({first[1]:.2f} s of CPU here), then {wall:.2f} s ({cpu:.2f} s)\n"
    )
    store.engine.dispose()


def main(entities: int) -> None:
    folder = temporary_folder("entity-rules-")
    postgres = Postgres(folder)
    try:
        measure("SQLite", f"sqlite:///{folder / 'monitor.db'}", folder, entities)
        measure("PostgreSQL", postgres.create_database(), folder, entities)
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
