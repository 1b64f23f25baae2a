"""What holds for any message that the codec decodes or rejects."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream.codec import Codec
from stream.domain.documents import Document, Kind
from stream.domain.errors import DeadLetterReason, Rejected

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CODEC = Codec(timedelta(minutes=5), 100_000)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
fields = st.sampled_from(["id", "title", "text", "published_at", "source", "symbols", "url", "lang", "x"])


@given(st.binary() | json_values.map(lambda v: json.dumps(v).encode()))
def test_the_codec_raises_nothing_but_rejected(value: bytes) -> None:
    try:
        assert isinstance(CODEC.decode(value, Kind.NEWS, NOW), Document)
    except Rejected as error:
        assert error.reason in DeadLetterReason


@given(st.dictionaries(fields, json_values | st.just("2026-02-28T23:00:00Z")))
def test_a_decoded_document_can_be_stored(message: dict[str, object]) -> None:
    try:
        document = CODEC.decode(json.dumps(message).encode(), Kind.NEWS, NOW)
    except Rejected:
        return
    assert document.content.strip()
    assert "\0" not in document.content + document.id + document.source
    document.content.encode("utf-8")
    assert document.published_at.utcoffset() == timedelta(0)
    assert len(document.id.encode()) + len(document.source.encode()) < 2700
