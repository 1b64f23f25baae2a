"""The figures of `tools.judgement` that come from a clock.

Their values are medians, their intervals the least and the most that was measured.  Those from CPU time say
what an idle machine would show: other programs that run at the same time hardly change them.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from models.document_classifier import DocumentClassifier
from models.inference.whole import Mode
from stream.domain.documents import TextInput
from tools.judgement_figures import Figure

# Files of headlines, as a newsroom sends them.
HEADLINES = ("stories/headlines_dev.jsonl", "streams/crypto_headlines_2022-05_2022-09.jsonl")
# As many texts as the daemon classifies in one call.
CALL = 512
HEADLINE = "Chipmaker Lumex cuts its forecast for the year"
KILOBYTES_PER_MEGABYTE = 1024


class Cost(NamedTuple):
    """Seconds on the clock, CPU seconds of all threads, and for a process its peak memory in MB."""

    clock: float
    cpu: float
    memory: float = 0.0


def headlines(data: Path, count: int) -> list[TextInput]:
    """Different headlines of all files, the same in every run."""
    titles: dict[str, None] = {}
    for name in HEADLINES:
        with (data / name).open(encoding="utf-8") as lines:
            titles |= dict.fromkeys(json.loads(line)["title"] for line in lines)
    drawn = random.Random(0).sample(sorted(titles), min(count, len(titles)))
    return [TextInput(title) for title in drawn]


def speed_figures(
    classifier: DocumentClassifier,
    small: DocumentClassifier | None,
    texts: Sequence[TextInput],
    *,
    mode: Mode,
    rounds: int,
) -> Iterator[Figure]:
    """Headlines a second, also compared with the small model alone, and the share with a second opinion.

    Both take turns, so that a busy moment slows both.  Neither remembers texts.
    """
    both = [one for one in (classifier, small) if one is not None]
    for one in both:
        one.classify(texts[:CALL])
    n = len(texts)
    taken = [[_classify(one, texts) for one in both] for _ in range(rounds)]
    at_least = 400.0 if mode is Mode.ALL else None
    yield _measured("headlines/s", [n / own[0].clock for own in taken], n, at_least=at_least)
    yield _measured("headlines/s, from CPU time", [n * _threads(classifier) / own[0].cpu for own in taken], n)
    if small is None:
        return
    yield _measured("headlines/s of the small model", [n / seconds[1].clock for seconds in taken], n)
    ratios = [other.clock / own.clock for own, other in taken]
    yield _measured("speed against the small model", ratios, n, at_least=0.35 if mode is Mode.AUTO else None)
    ratios = [other.cpu / own.cpu for own, other in taken]
    yield _measured("speed against the small model, from CPU time", ratios, n)
    judges = [one.judged_by for one in classifier.classify(texts)]
    share = sum(judge not in (None, small.version) for judge in judges) / n
    at_most = 0.2 if mode is Mode.AUTO else None
    yield Figure("share of headlines with a second opinion", share, n=n, at_most=at_most)


def _threads(classifier: DocumentClassifier) -> int:
    return classifier.engine.settings.threads or os.cpu_count() or 1


def _classify(classifier: DocumentClassifier, texts: Sequence[TextInput]) -> Cost:
    started, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(texts), CALL):
        classifier.classify(texts[start : start + CALL])
    return Cost(time.perf_counter() - started, time.process_time() - cpu)


def _measured(
    name: str, values: Sequence[float], n: int, *, at_least: float | None = None, at_most: float | None = None
) -> Figure:
    return Figure(name, statistics.median(values), (min(values), max(values)), n, at_least, at_most)


def start_figures(variables: Mapping[str, str], rounds: int) -> Iterator[Figure]:
    """Seconds until `monitor classify` has printed its first prediction; the first start warms the disk."""
    taken = [_start(variables) for _ in range(rounds + 1)][1:]
    clock, cpu, memory = zip(*taken, strict=True)
    yield _measured("start to first prediction, s", clock, rounds, at_most=4.0)
    yield _measured("CPU time of a start with one text, s", cpu, rounds)
    yield _measured("peak memory of a start with one text, MB", memory, rounds)


def _start(variables: Mapping[str, str]) -> Cost:
    with TemporaryDirectory() as folder, Path(folder, "errors.txt").open("w+b") as errors:
        file = Path(folder, "headline.txt")
        file.write_text(HEADLINE + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "monitor", "classify", str(file)]
        environment = {**os.environ, **variables}
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        assert process.stdout is not None
        with process.stdout as lines:
            line = lines.readline()
            seconds = time.perf_counter() - started
        # Unlike Popen.wait, this says what the process used.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode or not line:
            raise SystemExit(f"monitor classify: {errors.read().decode(errors='replace')}")
    memory = usage.ru_maxrss / KILOBYTES_PER_MEGABYTE
    return Cost(seconds, usage.ru_utime + usage.ru_stime, memory)
