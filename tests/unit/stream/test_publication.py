"""When a document was published, and how exactly that is known."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from stream.codec import Codec
from stream.domain.documents import Document, Kind, Precision
from stream.domain.errors import Rejected

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODEC = Codec(timedelta(minutes=5), 10_000)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def decode(arrived: datetime | None = NOW, **changes: Any) -> Document:
    fields = {"id": "1", "text": "Shares rise", "published_at": "2026-03-01T11:59:00Z"} | changes
    value = json.dumps({name: each for name, each in fields.items() if each is not ...}).encode()
    return CODEC.decode(value, Kind.NEWS, NOW, milliseconds(arrived) if arrived else -1)


@pytest.mark.parametrize("absent", [..., None, "", " "])
def test_a_text_without_a_time_gets_that_of_its_message(absent: Any) -> None:
    arrived = datetime(2026, 3, 1, 9, 30, 0, 250_000, tzinfo=UTC)
    document = decode(arrived, published_at=absent)
    assert (document.published_at, document.published_precision) == (arrived, Precision.SEEN)
    assert "published_at" not in document.shortened


def test_a_text_without_any_time_is_refused() -> None:
    with pytest.raises(Rejected, match="no published_at") as caught:
        decode(None, published_at=...)
    assert caught.value.reason == "missing_field"


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ("2026-03-01", MIDNIGHT),
        (" 2026-03-01 ", MIDNIGHT),
        ("2026-03-01Z", MIDNIGHT),
        ("2026-03-01+08:00", MIDNIGHT - timedelta(hours=8)),
    ],
)
def test_a_date_alone_is_its_midnight_and_known_to_the_day(sent: str, at: datetime) -> None:
    document = decode(published_at=sent)
    assert (document.published_at, document.published_precision) == (at, Precision.DAY)
    assert decode(published_at=sent, published_precision="exact").published_precision is Precision.DAY


@pytest.mark.parametrize(
    ("sent", "arrived_after", "precision"),
    [
        ("2026-03-01T00:00:00Z", timedelta(hours=1), Precision.DAY),
        ("2026-03-01T00:00:00Z", timedelta(minutes=31), Precision.DAY),
        ("2026-03-01T00:00:00Z", timedelta(minutes=29), Precision.EXACT),
        ("2026-03-01T00:00:00.000+08:00", timedelta(hours=9), Precision.DAY),
        ("2026-03-01T08:00:00+08:00", timedelta(hours=9), Precision.EXACT),
        ("2026-03-01T00:00:01Z", timedelta(hours=9), Precision.EXACT),
        ("2026-03-01T00:00:00Z", None, Precision.DAY),
    ],
)
def test_midnight_sharp_that_arrives_late_is_a_date(
    sent: str, arrived_after: timedelta | None, precision: Precision
) -> None:
    at = datetime.fromisoformat(sent)
    arrived = None if arrived_after is None else at + arrived_after
    document = decode(arrived, published_at=sent)
    assert (document.published_at, document.published_precision) == (at, precision)


def test_what_a_feed_says_of_its_times_counts() -> None:
    midnight = "2026-03-01T00:00:00Z"
    assert decode(published_at=midnight, published_precision="exact").published_precision is Precision.EXACT
    assert decode(published_precision="day").published_precision is Precision.DAY
    assert decode(published_precision="seen").published_precision is Precision.SEEN
    odd = decode(published_precision="hour")
    assert (odd.published_precision, odd.shortened) == (Precision.EXACT, ("published_precision",))
    assert decode(published_at=..., published_precision="exact").published_precision is Precision.SEEN


def test_the_date_of_a_zone_where_the_day_has_begun_is_first_seen_now() -> None:
    evening = datetime(2026, 3, 1, 11, 58, tzinfo=UTC)
    document = decode(evening, published_at="2026-03-02")
    assert (document.published_at, document.published_precision) == (evening, Precision.SEEN)
    with pytest.raises(Rejected) as caught:
        decode(evening, published_at="2026-03-03")
    assert caught.value.reason == "far_future"


@pytest.mark.parametrize(
    ("ahead", "hint"),
    [
        (timedelta(hours=8), "8 h ahead of the clock: local time with Z?"),
        (timedelta(hours=7, minutes=58), "8 h ahead of the clock: local time with Z?"),
        (timedelta(hours=5, minutes=29), "5.5 h ahead of the clock: local time with Z?"),
        (timedelta(hours=1), "1 h ahead of the clock: local time with Z?"),
        (timedelta(minutes=6), "0:06:00 ahead of the clock"),
        (timedelta(hours=3, minutes=42), "3:42:00 ahead of the clock"),
        (timedelta(days=300), "300 days, 0:00:00 ahead of the clock"),
    ],
)
def test_the_refusal_of_a_future_time_says_what_may_be_the_reason(ahead: timedelta, hint: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(published_at=(NOW + ahead).isoformat())
    assert caught.value.reason == "far_future"
    assert caught.value.detail.endswith(hint)


@pytest.mark.parametrize(
    "sent", ["2026-03-01 09:30:00", "2026/03/01 09:30", 1_772_357_400, 45000.4, [], "2026-13-01"]
)
def test_the_refusal_of_what_is_no_time_shows_it(sent: Any) -> None:
    with pytest.raises(Rejected, match="offset, such as Z or") as caught:
        decode(published_at=sent)
    assert caught.value.reason == "invalid_time"
    assert json.dumps(sent) in caught.value.detail


def test_the_time_of_an_update_is_optional() -> None:
    zone = timezone(timedelta(hours=8))
    assert decode().updated_at is None
    updated = decode(updated_at="2026-03-01T19:59:30+08:00").updated_at
    assert updated == datetime(2026, 3, 1, 19, 59, 30, tzinfo=zone) and updated.tzinfo is UTC
    far = (NOW + timedelta(days=1)).isoformat()
    for odd in ("yesterday", 5, "2026-03-01T09:30:00", far, "0001-01-01T00:00:00+14:00"):
        document = decode(updated_at=odd)
        assert (document.updated_at, document.shortened) == (None, ("updated_at",))
