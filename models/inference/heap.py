"""Tunes the heap of the C library, if it is glibc.  With another library, nothing happens."""

import ctypes
from contextlib import suppress

# Parameters of mallopt(3), and their values.
M_ARENA_MAX, ARENAS = -8, 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 32 << 20
M_MMAP_MAX, UNLIMITED = -4, (1 << 31) - 1


def tune() -> None:
    """Use few arenas, and keep up to 32 MB of freed memory.

    By default each thread gets an arena of its own and keeps the memory that it once used.  Memory that a
    batch frees is needed by the next one: returning it costs time, since the system clears every page it
    hands out.
    """
    _call("mallopt", M_ARENA_MAX, ARENAS)
    for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        _call("mallopt", threshold, KEPT_BYTES)


def keep_all() -> None:
    """Keep all freed memory until the process ends, for training.

    A step frees hundreds of megabytes that the next one needs.  Half of the time went into clearing their
    pages: above all those of arrays over 32 MB, which by default are returned at once.
    """
    _call("mallopt", M_ARENA_MAX, ARENAS)
    _call("mallopt", M_TRIM_THRESHOLD, UNLIMITED)
    _call("mallopt", M_MMAP_MAX, 0)


def give_back() -> None:
    """Return free memory to the system: over weeks of batches of different sizes the heap fragments."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    with suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), function)(*arguments)
