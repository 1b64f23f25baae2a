"""What is sent because of a batch stays within its budget, as valid JSON, and says what it leaves out."""

import base64
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream.domain.budgets import cut, cut_to_bytes, first_within, json_bytes, prefix_within
from stream.domain.documents import LONGEST_ID, LONGEST_SOURCE, Span
from stream.domain.entities import EntityMention
from stream.domain.errors import DeadLetterReason
from stream.domain.records import ClassifiedDocument, DeadLetter
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage.outbox import KafkaMessage, decode_messages
from tests.unit.stream.samples import classified, dead_letter

SMALL = KafkaSettings(prediction_bytes=10_000, dead_letter_bytes=10_000)


def messages(
    settings: KafkaSettings, documents: Sequence[ClassifiedDocument], letters: Sequence[DeadLetter]
) -> list[KafkaMessage]:
    return [m for out in BatchOutbound(settings)(documents, letters) for m in decode_messages(out.body)]


def large(symbols: int, span: int, id_: str = "a") -> ClassifiedDocument:
    item = classified(id_, 0)
    spans = tuple(Span("sentiment", "\u7206" * span, 0, span, 0.5) for _ in range(3))
    return structs.replace(
        item,
        document=structs.replace(item.document, symbols=("\x01" * 200,) * symbols),
        prediction=structs.replace(item.prediction, evidence=spans),
    )


def test_a_prediction_within_its_budget_is_sent_whole() -> None:
    (message,) = messages(SMALL, [large(2, 100)], [])
    value = msgspec.json.decode(message.value)
    assert len(value["symbols"]) == 2 and len(value["evidence"]) == 3
    assert "shortened" not in value and not message.shortened


@pytest.mark.parametrize(
    ("symbols", "span", "kept_symbols"),
    [(2, 160_000, 2), (100, 10, 0), (100, 160_000, 0)],
    ids=["evidence without blanks", "many symbols", "both"],
)
def test_a_prediction_above_its_budget_goes_without_evidence_and_then_without_symbols(
    symbols: int, span: int, kept_symbols: int
) -> None:
    (message,) = messages(SMALL, [large(symbols, span)], [])
    assert len(message.value) <= 10_000 and message.shortened
    value = msgspec.json.decode(message.value)
    assert value["evidence"] == [] and len(value["symbols"]) == kept_symbols
    assert value["shortened"] is True and value["sentiment"]["label"] == "negative"


@pytest.mark.parametrize(
    ("entities", "places", "symbols", "kept"),
    [
        (2, 3, 2, (2, True, 2)),
        (2, 2000, 2, (2, False, 2)),
        (2, 2000, 100, (2, False, 0)),
        (1000, 1, 2, (0, False, 0)),
    ],
    ids=["fits", "many places", "many symbols too", "many entities"],
)
def test_a_prediction_above_its_budget_keeps_its_entities_as_long_as_there_is_room(
    entities: int, places: int, symbols: int, kept: tuple[int, bool, int]
) -> None:
    item = large(symbols, 10)
    spans = tuple((at, at + 2) for at in range(0, 10 * places, 10))
    mentions = tuple(EntityMention(f"XNAS:A{n}", "A", spans, 50, "negative") for n in range(entities))
    prediction = structs.replace(item.prediction, entities=mentions, gazetteer="g1")
    (message,) = messages(SMALL, [structs.replace(item, prediction=prediction)], [])
    assert len(message.value) <= 10_000
    value = msgspec.json.decode(message.value)
    shown = value["entities"]
    assert (len(shown), any(one["mentions"] for one in shown), len(value["symbols"])) == kept
    assert value["gazetteer"] == "g1" and value.get("shortened", False) is (kept != (2, True, 2))
    assert all(one["id"].startswith("XNAS:A") and one["sentiment"]["label"] == "negative" for one in shown)


def test_the_longest_identity_fits_in_the_smallest_budget() -> None:
    item = large(100, 1000, "\x01" * LONGEST_ID)
    item = structs.replace(item, document=structs.replace(item.document, source="\x02" * LONGEST_SOURCE))
    (message,) = messages(SMALL, [item], [])
    assert len(message.value) <= 10_000
    assert msgspec.json.decode(message.value)["id"] == "\x01" * LONGEST_ID


@pytest.mark.parametrize(
    "payload", [b"x" * 100_000, "\u7206".encode() * 30_000, b"\x01" * 50_000, b"\xff" * 9000]
)
def test_a_dead_letter_shows_as_much_of_its_payload_as_fits(payload: bytes) -> None:
    letter = dead_letter(1)
    letter = structs.replace(
        letter, position=structs.replace(letter.position, value=payload), detail="d" * 50_000
    )
    (message,) = messages(SMALL, [], [letter])
    assert 9000 < len(message.value) <= 10_000
    value = msgspec.json.decode(message.value)
    assert value["payload_complete"] is False and value["payload_bytes"] == len(payload)
    shown = value["payload"].encode() if "payload" in value else base64.b64decode(value["payload_base64"])
    assert shown and payload.startswith(shown)
    assert value["reason"] == "not_utf8" and value["detail"].endswith("\u2026")


def test_a_dead_letter_that_fits_is_complete() -> None:
    letter = DeadLetter(
        structs.replace(dead_letter(1).position, value="caf\u00e9".encode()), DeadLetterReason.NOT_JSON, "x"
    )
    (message,) = messages(SMALL, [], [letter])
    value = msgspec.json.decode(message.value)
    assert (value["payload"], value["payload_complete"]) == ("caf\u00e9", True)


@given(st.text(max_size=60), st.integers(0, 200))
def test_a_text_that_is_cut_takes_no_more_than_its_bytes(text: str, limit: int) -> None:
    prefix = prefix_within(text, limit)
    assert text.startswith(prefix) and json_bytes(prefix) - 2 <= limit
    if prefix != text:
        assert json_bytes(text[: len(prefix) + 1]) - 2 > limit, "and is the longest that fits"
    whole = cut_to_bytes(text, limit)
    assert whole == text or whole.endswith("\u2026")
    assert json_bytes(whole) - 2 <= max(limit, 3)


@given(st.text(max_size=60), st.integers(1, 70))
def test_a_text_that_is_cut_has_no_more_than_its_characters(text: str, limit: int) -> None:
    shown = cut(text, limit)
    assert len(shown) <= limit and (shown == text or shown.endswith("\u2026"))


def test_the_first_form_within_the_budget_is_taken_else_the_last() -> None:
    assert first_within(3, ["aaaa", "a", ""]) == "a"
    assert first_within(1, ["aaaa", "aa"]) == "aa"


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_predictions_and_dead_letters_carry_the_trace_of_their_message_as_header_and_field() -> None:
    item, letter = classified("a", 0), dead_letter(1)
    item = structs.replace(item, position=structs.replace(item.position, traceparent=TRACE))
    letter = structs.replace(letter, position=structs.replace(letter.position, traceparent=TRACE))
    for message in messages(SMALL, [item], [letter]):
        assert message.traceparent == msgspec.json.decode(message.value)["traceparent"] == TRACE
    for message in messages(SMALL, [classified("a", 0)], [dead_letter(1)]):
        assert message.traceparent is None and "traceparent" not in msgspec.json.decode(message.value)
