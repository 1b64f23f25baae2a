"""How long a page takes, from the deciding document being sent to the receiver's webhook, at default settings.

    .venv/bin/python -m tests.bench.page_latency [PAGES]

Real Kafka, PostgreSQL and monitor.  Each page is an event of its own: a company, its sources, and a rule that
counts voices, so that the story task comes before it.  The moment within the evaluation's interval at which
the documents are sent is random.  A page that goes together with another one is counted where it arrives.
"""

import json
import random
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from kafka import KafkaProducer

from stream.kafka.settings import KafkaSettings
from tests.conftest import Scene
from tests.parts import Kafka, Postgres, Receiver, temporary_folder, wait_until

# The companies: every beginning with every end.
BEGINNINGS = ("Bran", "Corl", "Dunt", "Fenn", "Gorm", "Hask", "Morv", "Tarl", "Velm", "Wyst")
ENDS = ("wick Lending", "mere Foods", "holt Steel", "dale Pharma", "combe Airlines")
# The events: each is told in texts of their own, by as many sources.
EVENTS = (
    (
        "{name} halts all withdrawals after a run by its customers",
        "Customers of {name} cannot get their money out and fear it is gone",
        "Shares of {name} crash 61% as payouts are frozen",
        "{name} has run out of cash, two people with knowledge of its books say",
        "Regulator opens an investigation into {name} over the frozen accounts",
    ),
    (
        "{name} recalls every batch after dozens of people fall ill",
        "Poisoned goods of {name} put 40 people in hospital",
        "{name} stock plunges 38% on the contamination scandal",
        "Supermarkets throw out all products of {name}",
        "Families of the victims sue {name} for gross negligence",
    ),
    (
        "Explosion at the main plant of {name} kills nine workers",
        "{name} shuts its largest works after the deadly blast",
        "Shares of {name} collapse 29% after the disaster",
        "Inspectors had warned {name} of the danger for years",
        "{name} loses half of its production and withdraws its outlook",
    ),
    (
        "{name} admits that it falsified the results of its main trial",
        "Fraud at {name}: the chief executive is arrested",
        "{name} shares lose 72%, trading is suspended",
        "Patients were harmed by the drug of {name}, documents show",
        "Auditor resigns and calls the accounts of {name} false",
    ),
    (
        "{name} files for bankruptcy and grounds its whole fleet",
        "Thousands of passengers of {name} are stranded",
        "{name} fires all of its 8,000 employees without notice",
        "Bonds of {name} are worthless, creditors say",
        "Unpaid suppliers seize the aircraft of {name}",
    ),
)
SOURCES = len(EVENTS[0])


def main(pages: int) -> None:
    folder = temporary_folder("latency-")
    try:
        begun, sent = measure(pages, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = [at - sent[page["rule"]] for page, at in begun]
    merged = sum(page["is_other"] for page, _ in begun)
    shares = (0, 25, 50, 75, 90, 99, 100)
    values = zip(shares, np.percentile(seconds, shares), strict=True)
    said = ", ".join(f"{share} % {value:.2f} s" for share, value in values)
    click.echo(f"{len(seconds)} pages, {merged} of them together with another: {said}")


def measure(pages: int, folder: Path) -> tuple[list[tuple[dict[str, Any], float]], dict[str, float]]:
    """The first page of each incident with the time at which it arrived, and when each rule's last document
    was sent."""
    with (
        Kafka(folder / "kafka") as kafka,
        Receiver() as receiver,
        closing(Postgres(folder / "pg")) as postgres,
    ):
        names = ("group", "news", "comments", "dead_letters", "predictions", "alerts")
        topics = {name: f"{name}-{uuid.uuid4().hex[:8]}" for name in names}
        scene = Scene(
            KafkaSettings(bootstrap_servers=kafka.bootstrap, partitions=3, **topics),
            postgres.create_database(),
            folder,
        )
        scene.environ |= {
            "MONITOR_ALERTS__RULES": str(write(folder / "rules.yaml", {"rules": rules(pages)})),
            "MONITOR_MODELS__ENTITIES": str(write(folder / "entities.yaml", {"add": entities(pages)})),
            "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
        }
        scene.prepare()
        scene.start()
        try:
            sent = send(pages, scene, kafka)
            wait_until(lambda: len(list(begun(receiver))) >= pages, 120, f"{pages} pages")
        finally:
            scene.close()
        return list(begun(receiver)), sent


def companies(number: int) -> list[str]:
    """Invented names; that of company i goes with event i modulo the number of events."""
    made = [f"{beginning}{end}" for beginning, end in product(BEGINNINGS, ENDS)]
    if number > len(made):
        raise click.UsageError(f"there are {len(made)} companies, and each page needs its own")
    return made[:number]


def entities(pages: int) -> list[dict[str, Any]]:
    return [{"id": f"XXXX:P{i}", "kind": "company", "name": name} for i, name in enumerate(companies(pages))]


def rules(pages: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"rule {i}", "type": "threshold", "watch": "negative_share", "threshold": 0.5, "topics": "all",
            "sources": [f"wire {i}.{j}" for j in range(SOURCES)], "min_documents": SOURCES, "window": "5m",
            "count": "voices",
        }
        for i in range(pages)
    ]  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def begun(receiver: Receiver) -> Iterator[tuple[dict[str, Any], float]]:
    """The first page of each incident, and when it arrived: by itself, or as another of one that did."""
    for taken, at in zip(list(receiver.taken), receiver.times, strict=False):
        for is_other, page in [(False, taken), *((True, other) for other in taken["others"])]:
            if page["page"] == "begin":
                yield page | {"is_other": is_other}, at


def send(pages: int, scene: Scene, kafka: Kafka) -> dict[str, float]:
    """When the last document of each rule was sent."""
    draw, sent = random.Random(1), {}
    with closing(KafkaProducer(bootstrap_servers=kafka.bootstrap)) as producer:
        for i, name in enumerate(companies(pages)):
            time.sleep(draw.uniform(0, 5))
            for j, title in enumerate(EVENTS[i % len(EVENTS)]):
                message = {
                    "id": f"{i}.{j}",
                    "source": f"wire {i}.{j}",
                    "published_at": datetime.now(UTC).isoformat(),
                    "title": title.format(name=name),
                }
                producer.send(scene.kafka.news, json.dumps(message).encode())
            producer.flush()
            sent[f"rule {i}"] = time.time()
    return sent


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
