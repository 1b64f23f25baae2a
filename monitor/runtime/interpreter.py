"""Python's garbage collector and thread switching, tuned for the stream."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Run the garbage collector after so many new objects.
NEW_OBJECTS = 20_000
# A thread that wants the interpreter waits so long before it asks the one that holds it.
SWITCH_SECONDS = 0.0005


@contextmanager
def tuned_interpreter() -> Iterator[None]:
    """Tune the interpreter for a process with many threads and many objects.

    By default the garbage collector runs after every 700 new objects.  A batch makes a hundred times as many
    and none of them in a cycle: a quarter of the stream's time went into the collector.  So it ignores what
    was loaded before and runs less often.  A thread that returns from the network waited up to five
    milliseconds for a thread that decodes, while a core stood idle: threads switch sooner.
    """
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, *threshold[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.unfreeze()
