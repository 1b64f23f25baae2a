"""The trace that a message belongs to: W3C Trace Context, https://www.w3.org/TR/trace-context/."""

import re

# The name of the header of a Kafka message, and of the field of a JSON message.
TRACEPARENT = "traceparent"
# The length of a value of version 00.
TRACEPARENT_CHARACTERS = 55
# Version, trace id, parent id and flags.  A later version may say more after another dash.
_VALUE = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?", re.DOTALL
)
_VERSION = b"00"


def read_traceparent(value: bytes | None) -> str | None:
    """The trace in the value of a header, as version 00; None if it is not valid.

    Of a later version only what version 00 has is read, as the specification says.
    """
    match = _VALUE.fullmatch(value or b"")
    if match is None:
        return None
    version, fields, more = match.groups()
    if version == _VERSION and more is not None:
        return None
    return f"00-{fields.decode()}"
