"""From a surge in Kafka to the receiver's webhook, through a restart of the monitor in between."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.sample import SampleFeed
from stream.nouns import Kind
from tests.conftest import Scene, read_topic
from tests.parts import Receiver, wait_until

RULES = """
rules:
  - name: surge
    type: negative_surge
    window: 20s
    baseline: 1h
    min_baseline: 10m
    min_documents: 10
    factor: 3
    keep_firing_for: 2s
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A desk's webhook that is down at first."""
    with Receiver(status=503) as server:
        yield server


def test_a_surge_is_paged_once_and_resolved_once_though_receiver_and_monitor_fail_in_between(
    scene: Scene, sent: Callable[[str, list[Any]], None], receiver: Receiver
) -> None:
    rules = scene.folder / "rules.yaml"
    rules.write_text(RULES)
    scene.environ |= {
        "MONITOR_STREAM__WINDOW_SECONDS": "10",
        "MONITOR_ALERTS__RULES": str(rules),
        "MONITOR_ALERTS__INTERVAL_SECONDS": "0.5",
        "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
    }
    scene.prepare()
    feed, now = SampleFeed("surge"), datetime.now(UTC)
    calm = list(feed.history(now - timedelta(minutes=1), timedelta(minutes=30), 0.2))
    sent(scene.kafka.news, [sample.message for sample in calm if sample.kind is Kind.NEWS])
    monitor = scene.start()
    baseline = sum(sample.kind is Kind.NEWS for sample in calm)
    wait_until(
        lambda: monitor.metric("sentiment_documents_total", kind="news") == baseline, 60, "the baseline"
    )

    surge = [feed.surge(datetime.now(UTC)) for _ in range(60)]
    sent(scene.kafka.news, [sample.message for sample in surge if sample.kind is Kind.NEWS])
    wait_until(lambda: receiver.refused, 20, "the first try of the page")
    assert (monitor.metric("sentiment_alert_state", rule="surge", state="firing") or 0) >= 1
    monitor.process.kill()
    monitor.process.wait(10)

    receiver.status = 200
    monitor = scene.start()
    wait_until(lambda: receiver.taken, 60, "the page after the restart")

    # Calm texts go on, so that the end of the surge is seen and not a silent feed.
    def resolved() -> bool:
        sent(scene.kafka.comments, [feed.calm(datetime.now(UTC)).message for _ in range(3)])
        return {page["id"] for page in receiver.taken} == {
            page["id"] for page in receiver.taken if page["state"] == "resolved"
        }

    wait_until(resolved, 90, "every page is resolved")
    keys = [page["key"] for page in receiver.taken]
    events = read_topic(scene.kafka.bootstrap_servers, scene.kafka.alerts, len(keys))
    assert {key for key, _ in events} == set(keys)
    assert monitor.stop() == 0

    assert len(keys) == len(set(keys)), "a page came twice"
    firing = next(page for page in receiver.taken if page["state"] == "firing")
    assert firing["value"] >= firing["threshold"] == 3
    assert firing["n"] >= 10 and "chance" in firing["uncertainty"]
    assert any("Northgate Bank" in exhibit["content"] for exhibit in firing["evidence"])
