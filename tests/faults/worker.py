"""A complete monitor process with a fast fake classifier and one injected fault.

    python -m tests.faults.worker FAILPOINT NUMBER ACTION

Settings come from the environment. When a batch reaches FAILPOINT for the NUMBER-th time, the process acts: KILL and
STOP send that signal to itself (STOP freezes it until SIGCONT); END cancels the task that reaches it. Without
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
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, event

from monitor.bench.stand_in import StandIn
from monitor.runtime import log, settings
from monitor.runtime.classifier import LoadClassifier, load_engine
from monitor.runtime.daemon import Daemon
from stream.domain.documents import Prediction, TextInput
from stream.domain.errors import InferenceError
from stream.kafka.faust_driver import FaustSource
from stream.storage import story_task
from stream.storage.batches import Store
from stream.storage.story_task import StoryStore
from tests.faults.classifiers import POISON, FaultClassifier, house_file

# The steps of processing a batch, and of assigning documents to stories, in order.
FAILPOINTS = (
    "after_decode",
    "after_inference",
    "before_sql_commit",
    "after_sql_commit",
    "before_ack",
    "after_ack",
    "before_kafka_commit",
    "after_kafka_commit",
    "before_story_commit",
    "after_story_commit",
)


class FlakyClassifier(FaultClassifier):
    """Fails on texts with a mark, and on every seventh call, as a GPU does when it runs out of memory.

    Its evidence is the first word of the text, however long.
    """

    def __init__(self) -> None:
        super().__init__(house_file())
        self._calls = 0

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        self._calls += 1
        if self._calls % 7 == 0:
            raise InferenceError("out of memory")
        if any(POISON in item.text for item in inputs):
            raise InferenceError("logits are not finite")
        predictions = super().classify(inputs)
        return [_with_first_word(item.text, one) for item, one in zip(inputs, predictions, strict=True)]


def _with_first_word(text: str, prediction: Prediction) -> Prediction:
    word = text.split(maxsplit=1)[0]
    spans = tuple(replace(span, text=word, end=span.start + len(word)) for span in prediction.evidence)
    return replace(prediction, evidence=spans)


class Fault:
    """At its n-th call, sends the process a signal or cancels the calling task."""

    def __init__(self, number: int, action: str) -> None:
        self._calls_left, self._action = number, action

    def __call__(self) -> None:
        self._calls_left -= 1
        if self._calls_left == 0:
            if self._action == "END":
                raise asyncio.CancelledError
            os.kill(os.getpid(), signal.Signals[f"SIG{self._action}"])


def before(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """Run the fault before each call of a function."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fault()
        return function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """Run the fault after each call that returns."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        fault()
        return result

    return wrapped


def before_awaited(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """`before` for a coroutine function."""

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        fault()
        return await function(*args, **kwargs)

    return wrapped


def after_awaited(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """`after` for a coroutine function."""

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        fault()
        return result

    return wrapped


def install(failpoint: str, fault: Fault) -> None:
    """Install the fault at the failpoint by wrapping methods of the classes that the daemon is built from."""
    if failpoint == "agent":
        FaustSource.deliver = return_at_first_batch  # type: ignore[method-assign,assignment]
    elif failpoint == "after_decode":
        FlakyClassifier.classify = before(FlakyClassifier.classify, fault)  # type: ignore[method-assign]
    elif failpoint == "after_inference":
        FlakyClassifier.classify = after(FlakyClassifier.classify, fault)  # type: ignore[method-assign]
    elif failpoint == "before_sql_commit":
        event.listen(Engine, "commit", in_writer_threads(fault))
    elif failpoint == "after_sql_commit":
        Store.write = after(Store.write, fault)  # type: ignore[method-assign]
    elif failpoint == "before_ack":
        FaustSource.acknowledge = before_awaited(FaustSource.acknowledge, fault)  # type: ignore[method-assign]
    elif failpoint == "after_ack":
        faust.Stream.ack = after_awaited(faust.Stream.ack, fault)
    elif failpoint == "before_kafka_commit":
        AIOKafkaConsumerThread.commit = before_awaited(AIOKafkaConsumerThread.commit, fault)
    elif failpoint == "after_kafka_commit":
        AIOKafkaConsumerThread.commit = after_awaited(AIOKafkaConsumerThread.commit, fault)
    elif failpoint == "before_story_commit":
        story_task.assign_documents = after(story_task.assign_documents, fault)
    elif failpoint == "after_story_commit":
        StoryStore.assign_next = after(StoryStore.assign_next, fault)  # type: ignore[method-assign]
    else:
        raise ValueError(f"unknown failpoint {failpoint!r}")


def in_writer_threads(fault: Fault) -> Callable[[Connection], None]:
    """Other threads commit too, but only the writer threads commit batches."""

    def on_commit(_connection: Connection) -> None:
        if threading.current_thread().name.startswith("write"):
            fault()

    return on_commit


async def return_at_first_batch(_source: FaustSource, stream: faust.StreamT[bytes]) -> None:
    """An agent that ends although nobody stopped it."""
    async for _ in stream.noack_take(1, within=0.1):
        return


CLASSIFIERS: dict[str, LoadClassifier] = {
    "flaky": lambda _settings, _registry: FlakyClassifier(),
    "stand-in": lambda _settings, _registry: StandIn(),
    "shipped": load_engine,
}


def main(failpoint_or_classifier: str = "flaky", number: str = "1", action: str = "KILL") -> None:
    loaded_settings = settings.load()
    log.set_up(loaded_settings.log)
    load_classifier = CLASSIFIERS.get(failpoint_or_classifier)
    if load_classifier is None:
        install(failpoint_or_classifier, Fault(int(number), action))
    Daemon.build(loaded_settings, load_classifier or CLASSIFIERS["flaky"], settings.load).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
