"""From a surge in Kafka to the receiver's webhook, through a restart of the monitor in between."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.conftest import SURGE_RULES, Desk, read_topic
from tests.parts import Receiver, wait_until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A desk's webhook that is down at first."""
    with Receiver(status=503) as server:
        yield server


def test_a_surge_is_paged_once_and_resolved_once_even_if_receiver_and_monitor_fail_in_between(
    desk: Callable[[str, Mapping[str, str]], Desk], receiver: Receiver
) -> None:
    room = desk(
        SURGE_RULES,
        {
            "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
            "MONITOR_ALERTS__INCIDENTS__CALM_SECONDS": "5",
        },
    )
    monitor = room.monitor
    room.surge()
    wait_until(lambda: receiver.refused, 20, "the first try of the page")
    assert (monitor.metric("sentiment_alert_state", rule="surge", state="firing") or 0) >= 1
    monitor.process.kill()
    monitor.process.wait(10)

    receiver.status = 200
    monitor = room.scene.start()
    wait_until(lambda: receiver.taken, 60, "the page after the restart")

    def pages() -> list[dict[str, Any]]:
        """Those that go together are others of the first."""
        return [page for taken in receiver.taken for page in (taken, *taken["others"])]

    def incidents(*kinds: str) -> set[str]:
        return {page["incident"] for page in pages() if page["page"] in kinds}

    def ended() -> bool:
        room.calm()
        return incidents("end") == incidents("begin", "update", "end")

    wait_until(ended, 90, "every incident ends")
    keys = [page["key"] for page in pages()]
    kafka = room.scene.kafka
    events = read_topic(kafka.bootstrap_servers, kafka.alerts, 2)
    assert {event["incident"] for _, event in events} <= incidents("end")
    assert monitor.stop() == 0

    assert len(keys) == len(set(keys)), "a page came twice"
    firing = next(page for page in receiver.taken if page["state"] == "firing")
    assert firing["value"] >= firing["threshold"] == 3
    assert firing["n"] >= 10 and "chance" in firing["uncertainty"]
    assert any("Northgate Bank" in exhibit["content"] for exhibit in firing["evidence"])
