"""Work that pages ask for and that takes longer than an answer may: each piece in a process of its own.

One runs at a time, and a few wait.  A page asks again and again how far its job is; one that nobody asks
about any more is ended.  Results are kept for a while, so that the same question is answered at once.
"""

import logging
import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from monitor.job_process import Line
from monitor.web.errors import Overloaded

log = logging.getLogger(__name__)

T = TypeVar("T")
LONGEST_SECONDS = 900.0
# A page asks every second or two; a browser in the background once a minute.
ABANDONED_SECONDS = 120.0
# How long it is before what failed is tried again.
FAILED_SECONDS = 20.0
LONG_NICENESS = 15
MOST_WAITING, MOST_KEPT = 8, 32
LONGEST_LINE = 4_000_000
COMMAND = (sys.executable, "-P", "-m", "monitor.job_process")


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What a job does: a function of a module, which gets the arguments and a function to report progress to,
    and returns a `result_type`, which JSON can hold.  Jobs with the same `key` are the same.  What takes long
    gives way to the stream by its `niceness`."""

    key: str
    function: Callable[..., T]
    arguments: tuple[Any, ...]
    result_type: type[T]
    niceness: int = LONG_NICENESS


@dataclass(slots=True)
class Job(Generic[T]):
    """A piece of work, how far it is, and what came out; times are of the clock of `Jobs`."""

    work: Work[T]
    asked_at: float
    state: JobState = JobState.WAITING
    step: str = "waiting for another one to end"
    share: float = 0.0
    result: T | None = None
    problem: str = ""
    ended_at: float | None = None

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None


@dataclass
class Jobs:
    """The jobs of this process; safe to share between threads."""

    seconds: float = LONGEST_SECONDS
    abandoned_seconds: float = ABANDONED_SECONDS
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _jobs: OrderedDict[str, Job[Any]] = field(default_factory=OrderedDict)
    _running: bool = False

    def ask(self, work: Work[T], max_age: float) -> Job[T]:
        """The job for this work: it is started unless it waits, runs, or ended less than `max_age` seconds
        ago.  Raises Overloaded if too many wait."""
        with self._lock:
            now = self.clock()
            job: Job[T] | None = self._jobs.get(work.key)
            if job is None or self._is_old(job, now, max_age):
                job = self._add(work, now)
            job.asked_at = now
            return job

    def find(self, key: str) -> Job[Any] | None:
        """A job as it is, which nothing is started for; None if there is none."""
        with self._lock:
            return self._jobs.get(key)

    def _is_old(self, job: Job[Any], now: float, max_age: float) -> bool:
        if job.ended_at is None:
            return False
        return now - job.ended_at > (max_age if job.state is JobState.DONE else FAILED_SECONDS)

    def _add(self, work: Work[T], now: float) -> Job[T]:
        waiting = sum(job.state is JobState.WAITING for job in self._jobs.values())
        if waiting >= MOST_WAITING:
            raise Overloaded(f"{waiting} other questions of this kind wait for their answers; ask again soon")
        job = Job(work, now)
        self._jobs.pop(work.key, None)
        self._jobs[work.key] = job
        over = [key for key, old in self._jobs.items() if old.is_over]
        for key in over[: max(len(self._jobs) - MOST_KEPT, 0)]:
            del self._jobs[key]
        if not self._running:
            self._running = True
            threading.Thread(target=self._run_all, name="jobs", daemon=True).start()
        return job

    def _run_all(self) -> None:
        """Run what waits, one after another."""
        while (job := self._next()) is not None:
            try:
                problem = self._run(job)
            except Exception as error:
                log.exception("a job for a page failed")
                problem = f"it could not be run: {type(error).__name__}"
            with self._lock:
                job.problem, job.ended_at = problem, self.clock()
                job.state = JobState.FAILED if problem else JobState.DONE

    def _next(self) -> Job[Any] | None:
        with self._lock:
            for job in self._jobs.values():
                if job.state is JobState.WAITING:
                    job.state, job.step = JobState.RUNNING, "starting"
                    return job
            self._running = False
            return None

    def _run(self, job: Job[Any]) -> str:
        """Run one to its end; why it has no result, empty if it has one."""
        work = job.work
        request = pickle.dumps((self.seconds, work.niceness, work.function, work.arguments))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(  # noqa: S603  a program of this package, without a shell
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the monitor
        ) as process:
            try:
                return self._follow(job, process, request)
            finally:
                process.kill()

    def _follow(self, job: Job[Any], process: "subprocess.Popen[bytes]", request: bytes) -> str:
        """Read what the process says until its last line."""
        if process.stdin is None or process.stdout is None:
            raise OSError("the process has no pipes")
        process.stdin.write(request)
        process.stdin.close()
        started, unread, descriptor = self.clock(), b"", process.stdout.fileno()
        while True:
            if ready := select.select([descriptor], [], [], 1.0)[0]:
                content = os.read(descriptor, 1 << 16)
                *lines, unread = (unread + content).split(b"\n")
                for line in lines:
                    if (problem := self._note(job, line)) is not None:
                        return problem
            if len(unread) > LONGEST_LINE or (ready and not content):
                return f"its process ended without an answer (exit status {process.wait(5)}); see the log"
            if self.clock() - started > self.seconds:
                return f"it took longer than {self.seconds / 60:g} minutes, and was ended"
            if self.clock() - job.asked_at > self.abandoned_seconds:
                return "nobody looked at it any more, and it was ended"

    def _note(self, job: Job[Any], line: bytes) -> str | None:
        """Take over what a line says; the problem, empty with a result, if it is the last one."""
        said = msgspec.json.decode(line, type=Line)
        if said.problem is not None:
            return said.problem
        if said.result is not None:
            job.result = msgspec.json.decode(said.result, type=job.work.result_type)
            return ""
        job.step, job.share = said.step, said.share
        return None
