"""`monitor sample` sends history once, then live texts with a surge, until it is stopped."""

import signal
import subprocess
import sys
from collections import Counter

from stream.kafka import admin
from tests.conftest import ROOT, Scene, read_topic
from tests.parts import wait_until


def test_the_sample_feed_sends_history_only_to_empty_topics_and_stops_on_a_signal(scene: Scene) -> None:
    scene.prepare()
    assert admin.is_empty(scene.kafka, scene.kafka.kinds)
    histories = []
    for run in range(2):
        log = scene.folder / f"sample-{run}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "sample", "--history", "0.1", "--rate", "1"],
                env=scene.environ,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        scene.processes.append(process)
        wait_until(lambda log=log: "live, calm" in log.read_text(), 60, "live texts")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
        histories.append(message_counts(scene))
    assert not admin.is_empty(scene.kafka, scene.kafka.kinds)
    assert sum(histories[0].values()) >= 360 and min(histories[0].values()) > 100
    assert sum(histories[1].values()) - sum(histories[0].values()) < 100


def message_counts(scene: Scene) -> Counter[str]:
    """How many messages each topic holds."""
    counts: Counter[str] = Counter()
    for topic in scene.kafka.kinds:
        counts[topic] = len(read_topic(scene.kafka.bootstrap_servers, topic, 100_000, seconds=3))
    return counts
