"""Reading the small files that people write while the monitor runs, and showing what is wrong in them."""

import os
import stat
from pathlib import Path

# How much of a value an error shows, and how much of a reason.
LONGEST_VALUE, LONGEST_REASON = 100, 300


def read_small_file(path: Path, longest: int) -> str:
    """The UTF-8 text of a regular file of at most `longest` bytes.

    A pipe or a device is refused, since reading it could wait or go on for ever.  Raises OSError, and
    ValueError, whose message says what is wrong with the content.
    """
    # Opening a pipe that nobody writes to would block without O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(longest + 1)
    if len(content) > longest:
        raise ValueError(f"longer than {longest:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start}") from error


def show_value(value: object) -> str:
    """A value as errors show it."""
    try:
        return shorten_text(repr(value), LONGEST_VALUE)
    except ValueError:  # Python refuses to write out a number of thousands of digits
        return "a number that is too long to show"


def shorten_text(text: str, longest: int = LONGEST_REASON) -> str:
    """The beginning of a text, and how long it is if that is not all of it."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
