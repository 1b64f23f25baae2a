"""Errors that a handler raises and that become answers: `monitor/web/answers.py` says which."""


class NoSuch(Exception):
    """What a page or the API was asked for is not there; the message says what."""


class BadRequest(Exception):
    """A parameter or a form cannot be used; the message says which and why."""


class Conflict(Exception):
    """What was asked for is no longer possible, since somebody else was first; the message says what."""


class Overloaded(Exception):
    """The answer was not ready in time, or too many requests wait for theirs."""
