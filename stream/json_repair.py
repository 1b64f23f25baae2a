"""JSON that strict parsers refuse although what it means is plain.

Half of a surrogate pair (a text that was cut within an emoji) becomes U+FFFD, a raw control character in a
string is escaped, and NaN and Infinity, which Python writes, become null.  What is still no JSON is refused.
"""

import re

# A string, to the end if it is not closed, or a number that JSON does not have.  A search never goes back.
STRING_OR_CONSTANT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|-?\bInfinity\b|\bNaN\b', re.DOTALL)
PAIR_OR_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
CONTROL = re.compile(rb"[\x00-\x1f]")
# Surrogates in UTF-8, which Java and JavaScript write and UTF-8 does not allow.
ENCODED_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
REPLACEMENT = b"\\ufffd"


def repair(value: bytes) -> bytes:
    """The same JSON, mended where it has to be.  It reads the value a few times, from front to back."""
    if ENCODED_SURROGATE.search(value):
        value = _join_surrogates(value)
    return STRING_OR_CONSTANT.sub(_repair_token, value)


def _join_surrogates(value: bytes) -> bytes:
    """Two halves that follow each other become one character, a single half becomes U+FFFD."""
    try:
        text = value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return value
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _repair_token(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text[:1] != b'"':
        return b"null"
    if b"\\" in text:
        text = PAIR_OR_ESCAPE.sub(_repair_escape, text)
    return CONTROL.sub(lambda char: b"\\u%04x" % ord(char[0]), text)


def _repair_escape(escape: re.Match[bytes]) -> bytes:
    return REPLACEMENT if escape[2] else escape[0]
