"""A whole monitor process with a classifier that costs nothing, and with one place at which something happens to it.

    python -m tests.faults.worker FAILPOINT NUMBER WHAT

The settings come from the environment.  At the NUMBER-th time that a batch comes to FAILPOINT, the process sends
itself the signal KILL, or STOP, which leaves it frozen until it is told to go on; or WHAT is END, and the agent that
reads the stream ends there.  Without FAILPOINT it works until it is told to stop.  The classifier refuses some texts
always, and each seventh time whatever it is given; FAILPOINT may also name another one: `stand-in`, which refuses
nothing, or `shipped`.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import faust
from sqlalchemy import event

from monitor.bench.stand_in import StandIn
from monitor.runtime import log, settings
from monitor.runtime.classifier import load_engine
from monitor.runtime.daemon import Daemon
from stream.domain.documents import Prediction
from stream.domain.errors import InferenceError
from stream.kafka.faust_driver import FaustSource
from tests.faults.oracle import MARK

# Each step of a batch's life, in order.
FAILPOINTS = (
    "after_decode", "after_inference", "before_sql_commit", "after_sql_commit", "before_ack", "after_ack",
    "before_kafka_commit", "after_kafka_commit",
)  # fmt: skip


class Moody(StandIn):
    """Fails on texts with a mark, and now and then on all, as a device does that runs out of memory."""

    def __init__(self) -> None:
        self._calls = 0

    def classify(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[Prediction]:
        self._calls += 1
        if self._calls % 7 == 0:
            raise InferenceError("out of memory")
        if any(MARK in text for text in texts):
            raise InferenceError("logits are not finite")
        return super().classify(texts, languages)


class Bomb:
    """Sends the process a signal at its n-th passage, or ends the task that comes by."""

    def __init__(self, passages: int, what: str) -> None:
        self._left, self._what = passages, what

    def __call__(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            if self._what == "END":
                raise asyncio.CancelledError
            os.kill(os.getpid(), signal.Signals[f"SIG{self._what}"])


def before(function: Callable[..., Any], bomb: Bomb) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        bomb()
        return function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any], bomb: Bomb) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        bomb()
        return answer

    return wrapped


def before_awaited(function: Callable[..., Any], bomb: Bomb) -> Callable[..., Any]:
    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        bomb()
        return await function(*args, **kwargs)

    return wrapped


def after_awaited(function: Callable[..., Any], bomb: Bomb) -> Callable[..., Any]:
    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = await function(*args, **kwargs)
        bomb()
        return answer

    return wrapped


def arm(daemon: Daemon, failpoint: str, bomb: Bomb) -> None:
    """Put the bomb where it belongs, around the daemon's own parts."""
    pipeline, store = daemon.monitor.pipeline, daemon.monitor.store
    if failpoint == "agent":
        FaustSource.deliver = returning  # type: ignore[method-assign]
    elif failpoint == "after_decode":
        pipeline._classify_texts = before(pipeline._classify_texts, bomb)
    elif failpoint == "after_inference":
        pipeline._classify_texts = after(pipeline._classify_texts, bomb)
    elif failpoint == "before_sql_commit":

        def commit(_connection: object) -> None:
            if threading.current_thread().name.startswith("write"):
                bomb()

        event.listen(store.engine, "commit", commit)
    elif failpoint == "after_sql_commit":
        store.write = after(store.write, bomb)  # type: ignore[method-assign]
    elif failpoint == "before_ack":
        FaustSource.acknowledge = before_awaited(FaustSource.acknowledge, bomb)  # type: ignore[method-assign]
    elif failpoint == "after_ack":
        faust.Stream.ack = after_awaited(faust.Stream.ack, bomb)
    else:
        from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread as Consumer

        wrapper = before_awaited if failpoint == "before_kafka_commit" else after_awaited
        Consumer._commit = wrapper(Consumer._commit, bomb)


async def returning(_source: FaustSource, stream: faust.StreamT[bytes]) -> None:
    """An agent that gives up at its first batch."""
    async for _ in stream.noack_take(1, within=0.1):
        return


def main(failpoint: str = "", passages: str = "1", what: str = "KILL") -> None:
    chosen = settings.load()
    log.set_up(chosen.log)
    others = {"shipped": load_engine, "stand-in": lambda _settings, _registry: StandIn()}
    daemon = Daemon.build(chosen, others.get(failpoint, lambda _settings, _registry: Moody()))
    if failpoint and failpoint not in others:
        arm(daemon, failpoint, Bomb(int(passages), what))
    daemon.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
