"""The C library's heap, where it is one that can be asked: glibc's.  Anywhere else nothing happens."""

import ctypes
from contextlib import suppress

# Of mallopt(3).
M_ARENA_MAX, ARENAS = -8, 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT = -1, -3, 32 << 20


def tune() -> None:
    """Few arenas: each thread would get a heap of its own, and keep what it once held.

    What a batch gives back is not returned to the system at once: the next one needs it again, and the system
    clears every page that it gives.
    """
    _ask("mallopt", M_ARENA_MAX, ARENAS)
    for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        _ask("mallopt", threshold, KEPT)


def give_back() -> None:
    """Return to the system what is free; over weeks of batches of all sizes the heap gets holes."""
    _ask("malloc_trim", 0)


def _ask(function: str, *given: int) -> None:
    with suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), function)(*given)
