"""What browsers that listen cost the stream, as a ratio within one run.

    .venv/bin/python -m tests.bench.listening_browsers [--listeners 200] [--rate 1000] [--seconds 20] [--turns 5]

A monitor in a process of its own, with SQLite and a stand-in for the classifier, gets a steady feed.  Stretches
without listeners and with them take turns; each gives the CPU seconds of the monitor's process for a document,
and the documents a second that it stored.  One more listener takes nothing of what it is sent.  Broker, feed
and listeners are in this process, whose time does not count.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from monitor.bench.pipeline import make_message, prepared_settings, stand_in
from monitor.runtime.daemon import Daemon
from monitor.runtime.settings import Settings, load
from stream.kafka import admin
from tests.conftest import Running, Scene

TEXTS = [f"Company {i} reports results that the market did not expect" for i in range(2000)]
REQUEST = "GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n"
# Set in the environment of the process that is the monitor.
MONITOR_PROCESS = "LISTENING_BROWSERS_MONITOR"
# Documents of one message, and seconds until a stretch is counted: its first look at the database is over.
PER_MESSAGE, SETTLING = 20, 4.0


@dataclass(frozen=True)
class Stretch:
    """CPU seconds of the monitor's process, documents that it stored meanwhile, and how long it took."""

    cpu: float
    documents: float
    seconds: float

    @property
    def cost(self) -> float:
        """CPU milliseconds for a document."""
        return 1000 * self.cpu / max(self.documents, 1)

    def __str__(self) -> str:
        return f"{self.cost:.3f} ms of CPU a document at {self.documents / self.seconds:.0f}/s"


class Listeners:
    """Browsers that listen, in a thread: they read what comes and count events."""

    def __init__(self, url: str, number: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self.events = [0] * number
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """All of them listen meanwhile, and one that reads nothing."""
        with socket.create_connection(self._address) as deaf:
            deaf.sendall(self._request)
            tasks = [
                asyncio.run_coroutine_threadsafe(self._listen(i), self._loop) for i in range(len(self.events))
            ]
            yield
            for task in tasks:
                task.cancel()

    @property
    def _request(self) -> bytes:
        return REQUEST.format(f"{self._address[0]}:{self._address[1]}").encode()

    async def _listen(self, number: int) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(self._request)
            while line := await reader.readline():
                self.events[number] += line.startswith(b"event:")
        finally:
            writer.close()


def feed(settings: Settings, rate: float, stopping: threading.Event) -> None:
    """Send documents at a steady rate."""
    producer, started, sent = admin.producer(settings.kafka, linger_ms=20), time.monotonic(), 0
    while not stopping.wait(0.02):
        while sent < (time.monotonic() - started) * rate:
            items = [make_message(TEXTS, "b", sent + i, datetime.now(UTC)) for i in range(PER_MESSAGE)]
            value = b"[" + b",".join(value for _, value in items) + b"]"
            producer.send(settings.kafka.news, key=items[0][0].encode(), value=value)
            sent += PER_MESSAGE
    admin.close(producer, 5)


def measure(monitor: Running, seconds: float) -> Stretch:
    """One stretch, after it has settled."""
    time.sleep(SETTLING)
    before = _cpu_seconds(monitor), monitor.metric("sentiment_documents_total") or 0, time.monotonic()
    time.sleep(seconds)
    after = _cpu_seconds(monitor), monitor.metric("sentiment_documents_total") or 0, time.monotonic()
    return Stretch(*(late - early for late, early in zip(after, before, strict=True)))


def _cpu_seconds(monitor: Running) -> float:
    fields = Path(f"/proc/{monitor.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(settings: Settings, folder: Path) -> tuple[Scene, Running]:
    """A monitor over these settings in a process of its own: this module, with MONITOR_PROCESS set."""
    environ = {
        "MONITOR_KAFKA__API_VERSION": json.dumps(settings.kafka.api_version),
        "MONITOR_STREAM__MESSAGE_DOCUMENTS": str(PER_MESSAGE),
    }
    scene = Scene(settings.kafka, settings.database.url.get_secret_value(), folder, environ)
    return scene, scene.start(module="tests.bench.listening_browsers", **{MONITOR_PROCESS: "1"})


def main(listeners: int, rate: float, seconds: float, turns: int) -> None:
    """Measure and print."""
    with prepared_settings(Settings(), embedded=True) as prepared, TemporaryDirectory() as folder:
        settings, stopping = prepared["stream"], threading.Event()
        scene, monitor = start(settings, Path(folder))
        feeder = threading.Thread(target=feed, args=(settings, rate, stopping), daemon=True)
        feeder.start()
        browsers, pairs = Listeners(monitor.url, listeners), []
        for _ in range(turns):
            alone = measure(monitor, seconds)
            with browsers.listening():
                heard = measure(monitor, seconds)
            pairs.append((alone, heard))
            say(f"alone {alone}; with listeners {heard}")
        stopping.set()
        feeder.join()
        scene.close()
    ratio = median(heard.cost / alone.cost for alone, heard in pairs)
    say(f"{listeners} listeners: {100 * (ratio - 1):+.1f} % CPU a document, the median of {turns} pairs")
    say(f"events a listener: {min(browsers.events)} to {max(browsers.events)}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get(MONITOR_PROCESS):
        Daemon.build(load(), stand_in).run()
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--listeners", type=int, default=200)
        parser.add_argument("--rate", type=float, default=1000)
        parser.add_argument("--seconds", type=float, default=20)
        parser.add_argument("--turns", type=int, default=5)
        main(**vars(parser.parse_args()))
