"""A complete monitor process with a fast fake classifier and one injected fault.

    python -m tests.faults.worker FAILPOINT NUMBER ACTION

Settings come from the environment. When a batch reaches FAILPOINT for the NUMBER-th time, the process acts: KILL and
STOP send that signal to itself (STOP freezes it until SIGCONT); END ends the task that reads the stream. Without
FAILPOINT it runs until it is stopped. The classifier always fails on some texts, and on every seventh call. Instead of
a failpoint, the first argument may name another classifier: `stand-in`, which never fails, or `shipped`.
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
from tests.faults.oracle import POISON

# The steps of processing a batch, in order.
FAILPOINTS = (
    "after_decode", "after_inference", "before_sql_commit", "after_sql_commit", "before_ack", "after_ack",
    "before_kafka_commit", "after_kafka_commit",
)  # fmt: skip


class FlakyClassifier(StandIn):
    """Fails on texts with a mark, and on every seventh call, as a GPU does when it runs out of memory."""

    def __init__(self) -> None:
        self._calls = 0

    def classify(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[Prediction]:
        self._calls += 1
        if self._calls % 7 == 0:
            raise InferenceError("out of memory")
        if any(POISON in text for text in texts):
            raise InferenceError("logits are not finite")
        return super().classify(texts, languages)


class Fault:
    """At its n-th call, sends the process a signal or cancels the calling task."""

    def __init__(self, passages: int, action: str) -> None:
        self._left, self._action = passages, action

    def __call__(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            if self._action == "END":
                raise asyncio.CancelledError
            os.kill(os.getpid(), signal.Signals[f"SIG{self._action}"])


def before(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fault()
        return function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        fault()
        return answer

    return wrapped


def before_awaited(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        fault()
        return await function(*args, **kwargs)

    return wrapped


def after_awaited(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = await function(*args, **kwargs)
        fault()
        return answer

    return wrapped


def arm(daemon: Daemon, failpoint: str, fault: Fault) -> None:
    """Install the fault at the failpoint by wrapping methods of the daemon's components."""
    pipeline, store = daemon.monitor.pipeline, daemon.monitor.store
    if failpoint == "agent":
        FaustSource.deliver = returning  # type: ignore[method-assign,assignment]
    elif failpoint == "after_decode":
        pipeline._classify_texts = before(pipeline._classify_texts, fault)
    elif failpoint == "after_inference":
        pipeline._classify_texts = after(pipeline._classify_texts, fault)
    elif failpoint == "before_sql_commit":

        def commit(_connection: object) -> None:
            if threading.current_thread().name.startswith("write"):
                fault()

        event.listen(store.engine, "commit", commit)
    elif failpoint == "after_sql_commit":
        store.write = after(store.write, fault)  # type: ignore[method-assign]
    elif failpoint == "before_ack":
        FaustSource.acknowledge = before_awaited(FaustSource.acknowledge, fault)  # type: ignore[method-assign]
    elif failpoint == "after_ack":
        faust.Stream.ack = after_awaited(faust.Stream.ack, fault)
    else:
        from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread as Consumer

        wrapper = before_awaited if failpoint == "before_kafka_commit" else after_awaited
        Consumer._commit = wrapper(Consumer._commit, fault)


async def returning(_source: FaustSource, stream: faust.StreamT[bytes]) -> None:
    """An agent that returns at its first batch."""
    async for _ in stream.noack_take(1, within=0.1):
        return


def main(failpoint: str = "", passages: str = "1", action: str = "KILL") -> None:
    chosen = settings.load()
    log.set_up(chosen.log)
    others = {"shipped": load_engine, "stand-in": lambda _settings, _registry: StandIn()}
    daemon = Daemon.build(chosen, others.get(failpoint, lambda _settings, _registry: FlakyClassifier()))
    if failpoint and failpoint not in others:
        arm(daemon, failpoint, Fault(int(passages), action))
    daemon.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
