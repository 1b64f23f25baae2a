"""Work for pages in processes of their own: progress, results, failures, and the bounds."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alerts.errors import RuleError
from monitor.jobs import MOST_WAITING, Job, Jobs, JobState, Work
from monitor.web.errors import Overloaded

Report = Callable[[str, float], None]


@pytest.fixture(autouse=True)
def _these_functions_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))


def add(first: int, second: int, report: Report) -> dict[str, int]:
    os.write(1, b"a library prints this\n")
    report("adding", 0.5)
    return {"sum": first + second, "pid": os.getpid(), "nice": os.nice(0)}


def refuse(report: Report) -> None:
    raise RuleError("rules.yaml:1: no rules")


def crash(report: Report) -> None:
    os._exit(3)


def wait_for_ever(report: Report) -> None:
    while True:
        report("waiting", 0.25)
        time.sleep(0.02)


def work(key: str, function: Callable[..., Any], *arguments: Any) -> Work[Any]:
    return Work(key, function, arguments, dict[str, int])


def outcome(job: Job[dict[str, int]]) -> dict[str, int]:
    """What came out."""
    assert job.result is not None, job.problem
    return job.result


def ended(jobs: Jobs, asked: Work[Any]) -> Job[Any]:
    """The job when it is over; it is asked about all the time, as a page does."""
    while not (job := jobs.ask(asked, 600)).is_over:
        time.sleep(0.02)
    return job


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def test_a_job_runs_in_a_process_that_gives_way_to_the_stream() -> None:
    job = ended(Jobs(), work("a", add, 1, 2))
    assert job.state is JobState.DONE
    assert outcome(job)["sum"] == 3
    assert outcome(job)["pid"] != os.getpid()
    assert outcome(job)["nice"] > os.nice(0)


def test_the_same_question_is_answered_at_once_until_the_answer_is_old() -> None:
    now = 0.0
    jobs, asked = Jobs(clock=lambda: now), work("a", add, 1, 2)
    first = ended(jobs, asked)
    now = 599.0
    assert jobs.ask(asked, 600) is first
    now = 601.0
    assert jobs.ask(asked, 600) is not first


def test_what_is_wrong_is_told_in_the_words_of_the_error() -> None:
    job = ended(Jobs(), work("a", refuse))
    assert (job.state, job.problem) == (JobState.FAILED, "rules.yaml:1: no rules")


def test_a_process_that_dies_is_told_and_the_next_job_runs() -> None:
    jobs = Jobs()
    assert "exit status 3" in ended(jobs, work("a", crash)).problem
    assert outcome(ended(jobs, work("b", add, 2, 2)))["sum"] == 4


def test_a_page_sees_how_far_its_job_is() -> None:
    jobs, asked = Jobs(), work("a", wait_for_ever)
    until(lambda: jobs.ask(asked, 600).share == 0.25)
    job = jobs.ask(asked, 600)
    assert (job.state, job.step) == (JobState.RUNNING, "waiting")
    jobs.seconds = 0.0
    assert "took longer" in ended(jobs, asked).problem


def test_a_job_that_nobody_asks_about_any_more_is_ended() -> None:
    jobs = Jobs()
    job = jobs.ask(work("a", wait_for_ever), 600)
    jobs.abandoned_seconds = 0.0
    until(lambda: job.is_over)
    assert "nobody looked at it" in job.problem


def test_one_job_runs_at_a_time_and_a_few_wait() -> None:
    jobs = Jobs()
    running = jobs.ask(work("first", wait_for_ever), 600)
    until(lambda: running.state is JobState.RUNNING)
    waiting = [jobs.ask(work(f"{number}", add, 1, 1), 600) for number in range(MOST_WAITING)]
    assert {job.state for job in waiting} == {JobState.WAITING}
    with pytest.raises(Overloaded, match="ask again soon"):
        jobs.ask(work("one more", add, 1, 1), 600)
    assert jobs.ask(work("0", add, 1, 1), 600) is waiting[0]
    jobs.seconds = 0.0
    until(lambda: running.is_over)
