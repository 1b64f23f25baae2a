"""How long a page takes, from the deciding document being sent to the receiver's webhook, at default settings.

    .venv/bin/python -m tests.bench.page_latency [PAGES]

Real Kafka, PostgreSQL and monitor.  Each page has a rule and a source of its own; the moment within the
evaluation's interval at which its documents are sent is random.
"""

import random
import shutil
import sys
import time
import uuid
from datetime import UTC, datetime

import numpy as np
import yaml
from kafka import KafkaProducer

from monitor.demo.sample import SampleFeed
from stream.kafka.settings import KafkaSettings
from tests.conftest import Scene
from tests.parts import Kafka, Postgres, Receiver, temporary_folder, wait_until

DOCUMENTS = 5


def main(pages: int) -> None:
    folder = temporary_folder("latency-")
    rules = [
        {
            "name": f"rule {i}", "type": "threshold", "watch": "negative_share", "threshold": 0.5, "topics": "all",
            "sources": [f"wire {i}"], "min_documents": DOCUMENTS, "window": "5m",
        }
        for i in range(pages)
    ]  # fmt: skip
    (folder / "rules.yaml").write_text(yaml.safe_dump({"rules": rules}))
    with Kafka(folder / "kafka") as kafka, Receiver() as receiver:
        postgres = Postgres(folder / "pg")
        names = ("group", "news", "comments", "dead_letters", "predictions", "alerts")
        topics = {name: f"{name}-{uuid.uuid4().hex[:8]}" for name in names}
        scene = Scene(
            KafkaSettings(bootstrap_servers=kafka.bootstrap, partitions=3, **topics),
            postgres.create_database(),
            folder,
        )
        scene.environ |= {
            "MONITOR_ALERTS__RULES": str(folder / "rules.yaml"),
            "MONITOR_ALERTS__WEBHOOKS": f'{{"desk": "{receiver.url}"}}',
        }
        scene.prepare()
        scene.start()
        try:
            sent = send(pages, scene, kafka)
            wait_until(lambda: len(receiver.taken) >= pages, 60, f"{pages} pages")
            seconds = [
                at - sent[page["rule"]] for page, at in zip(receiver.taken, receiver.times, strict=True)
            ]
        finally:
            scene.close()
            postgres.close()
    shutil.rmtree(folder, ignore_errors=True)
    shares = (0, 25, 50, 75, 90, 99, 100)
    told = ", ".join(
        f"{share} % {value:.2f} s"
        for share, value in zip(shares, np.percentile(seconds, shares), strict=True)
    )
    print(f"{len(seconds)} pages: {told}")  # noqa: T201


def send(pages: int, scene: Scene, kafka: Kafka) -> dict[str, float]:
    """When the last document of each rule was sent."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    feed, draw, sent = SampleFeed("latency"), random.Random(1), {}
    from msgspec import json

    for i in range(pages):
        time.sleep(draw.uniform(0, 5))
        for _ in range(DOCUMENTS):
            message = feed.surge(datetime.now(UTC)).message | {"source": f"wire {i}"}
            producer.send(scene.kafka.news, json.encode(message))
        producer.flush()
        sent[f"rule {i}"] = time.time()
    return sent


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
