"""Threads that classify parts of a long list of texts at the same time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from models.backends.onnx import EXPORTED
from models.settings import ModelSettings

MAX_WORKERS = 4
# Texts that one worker takes at a time; fewer if all workers share them out sooner.
CHUNK = 256
SMALLEST_CHUNK = 16
# The environment variable of the tokenizers library, read at each call.
TOKENIZER_THREADS = "TOKENIZERS_PARALLELISM"

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """A few threads, each of which takes a chunk of texts through every step.

    So one thread tokenises or builds predictions while another is in the network.
    """

    def __init__(self, settings: ModelSettings, device: torch.device) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._workers, cpu_threads = worker_threads(settings, device)
        if self._workers > 1:
            # Each worker tokenises its own texts: threads within the tokenizer would compete with the others.
            os.environ.setdefault(TOKENIZER_THREADS, "false")
        self._pool = ThreadPoolExecutor(self._workers, "classify", torch.set_num_threads, (cpu_threads,))

    def map(self, process: Callable[[Sequence[Item]], Result], texts: Sequence[Item]) -> list[Result]:
        """The results of `process` for consecutive chunks of texts, in order."""
        if not texts:
            return []
        # The same number of chunks for each worker, all of one size: no worker runs the last chunk alone.
        rounds = -(-len(texts) // (self._workers * CHUNK))
        size = max(SMALLEST_CHUNK, -(-len(texts) // (self._workers * rounds)))
        chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
        return list(self._pool.map(process, chunks))


def worker_threads(settings: ModelSettings, device: torch.device) -> tuple[int, int]:
    """The number of workers, and the CPU threads of each.

    Two passes of one thread each do more than one pass of two threads, which wait for each other at the end
    of every step.  The exported runtimes have threads of their own and get one worker.
    """
    threads = settings.threads or torch.get_num_threads()
    if settings.backend in EXPORTED:
        return 1, threads
    workers = MAX_WORKERS if device.type == "cuda" else min(MAX_WORKERS, threads)
    return workers, max(1, threads // workers)
