"""Sends the sample feed to Kafka: past texts first, then live ones, with surges of bad news about a bank."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.demo.sample import Sample, SampleFeed
from stream.kafka import admin
from stream.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

CAUGHT_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """How much history to send, how many texts per second, and when surges begin: once or repeatedly.

    Times are in seconds of live texts; `surge_every` None means one surge.
    """

    history: timedelta
    per_second: float
    surge_after: float = 30.0
    surge_lasts: float = 32.0
    surge_per_second: float = 5.0
    surge_every: float | None = None

    def surging(self, elapsed: float) -> float:
        """How many seconds of surge there were in the first `elapsed` seconds of live texts."""
        since = elapsed - self.surge_after
        if since < 0:
            return 0.0
        if self.surge_every is None:
            return min(since, self.surge_lasts)
        rounds, rest = divmod(since, self.surge_every)
        return rounds * self.surge_lasts + min(rest, self.surge_lasts)

    def phase(self, elapsed: float) -> str:
        """What the feed does after `elapsed` seconds of live texts, in words."""
        if elapsed < self.surge_after:
            return f"live, calm; bad news about a bank in {self.surge_after - elapsed:.0f} s"
        if self.surging(elapsed + 0.01) > self.surging(elapsed):
            return "live: bad news about a bank is breaking"
        return "live, calm again"


class SampleRun:
    """One run of the feed; `phase` says in words what it does now."""

    def __init__(
        self,
        kafka: KafkaSettings,
        plan: Plan,
        stopping: threading.Event,
        *,
        is_ahead: Callable[[], bool] = lambda: False,
        has_caught_up: Callable[[], bool] = lambda: True,
    ) -> None:
        """The feed pauses while `is_ahead` of the reader; live texts begin once it `has_caught_up`."""
        self._kafka, self._plan, self._stopping = kafka, plan, stopping
        self._is_ahead, self._has_caught_up = is_ahead, has_caught_up
        self._topics = {kind: topic for topic, kind in kafka.kinds.items()}
        self.phase = "starting"

    def run(self) -> None:
        """Send until stopped.  Losing the broker ends the feed."""
        feed = SampleFeed(run=format(int(time.time()), "x"))
        producer = admin.producer(self._kafka, linger_ms=20)
        try:
            self._send_history(feed, producer)
            self._send_live(feed, producer)
        except KafkaError as error:
            log.error("the sample feed stopped: %s", error)
        finally:
            admin.close(producer, 2)

    def _send(self, producer: KafkaProducer, sample: Sample) -> None:
        producer.send(self._topics[sample.kind], msgspec.json.encode(sample.message))

    def _send_history(self, feed: SampleFeed, producer: KafkaProducer) -> None:
        length = self._plan.history
        self.phase = f"history: the last {length.total_seconds() / 60:.0f} minutes"
        log.info("sample feed: %s", self.phase)
        for sample in feed.history(datetime.now(UTC), length, self._plan.per_second):
            self._send(producer, sample)
            if self._stopping.is_set():
                return
        producer.flush(timeout=60)
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        while not self._has_caught_up() and not self._stopping.wait(0.2):
            if time.monotonic() > deadline:
                log.warning("the history is not processed yet, sending live texts anyway")
                return

    def _send_live(self, feed: SampleFeed, producer: KafkaProducer) -> None:
        """Send calm texts all the time, and surges on top."""
        plan, started = self._plan, time.monotonic()
        calm = surge = 0
        while not self._stopping.wait(0.1):
            if self._is_ahead():
                continue
            elapsed = time.monotonic() - started
            if (phase := plan.phase(elapsed)).split(";")[0] != self.phase.split(";")[0]:
                log.info("sample feed: %s", phase)
            self.phase = phase
            for _ in range(int(elapsed * plan.per_second) - calm):
                calm += 1
                self._send(producer, feed.calm(datetime.now(UTC)))
            for _ in range(int(plan.surging(elapsed) * plan.surge_per_second) - surge):
                surge += 1
                self._send(producer, feed.surge(datetime.now(UTC)))
