"""The header `traceparent`, as W3C Trace Context defines it."""

import pytest

from stream.domain.tracing import read_traceparent

IDS = b"4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
VALID = b"00-" + IDS + b"-01"


def test_a_valid_value_is_read_as_it_is() -> None:
    assert read_traceparent(VALID) == VALID.decode()
    assert read_traceparent(b"00-" + IDS + b"-00") == "00-" + IDS.decode() + "-00"


@pytest.mark.parametrize("value", [b"cc-" + IDS + b"-01", b"cc-" + IDS + b"-01-what-comes"])
def test_of_a_later_version_what_version_00_has_is_read(value: bytes) -> None:
    assert read_traceparent(value) == VALID.decode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"ff-" + IDS + b"-01",
        VALID + b"-more",
        VALID + b"\n",
        VALID.upper(),
        VALID[:-1],
        b"cc-" + IDS + b"-01more",
        b" " + VALID,
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473\u0666-00f067aa0ba902b7-01".encode(),
        b"\xff\xfe\x00",
    ],
)
def test_anything_else_is_no_trace(value: bytes | None) -> None:
    assert read_traceparent(value) is None
