"""Parameters in the address of a page.  What cannot be used is a BadRequest that names the parameter."""

from collections.abc import Collection, Mapping
from typing import Any

from monitor.web.errors import BadRequest


def one_of(given: Mapping[str, Any], name: str, allowed: Collection[str], default: str) -> str:
    """The value of a parameter.  Raises BadRequest if it is none of those allowed."""
    value = str(given.get(name, default))
    if value not in allowed:
        raise BadRequest(f"{name}: must be one of {', '.join(allowed)}, not {value[:50]!r}")
    return value


def text_of(given: Mapping[str, str], name: str, longest: int) -> str | None:
    """A text without spaces at its ends, None if it is empty.  Raises BadRequest."""
    value = given.get(name, "").strip()
    # PostgreSQL stores no NUL.
    if len(value) > longest or "\0" in value:
        raise BadRequest(f"{name}: it has at most {longest} characters")
    return value or None
