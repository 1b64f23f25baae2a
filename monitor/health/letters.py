"""What there is to say of a dead letter: why it was refused, what the message holds, and what to do."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from stream.domain.errors import BrokerError, DeadLetterReason, TopicMissing
from stream.kafka import admin
from stream.kafka.reader import open_consumer
from stream.kafka.settings import KafkaSettings
from stream.resend import CHUNK, NO_MESSAGE, Original, Originals
from stream.storage.dead_letters import StoredLetter

SEND = "then `monitor dead-letters send {position}`"
ASK = "ask who sent it to mend what the detail names"
# What to do about a dead letter, by its reason.
WHAT_TO_DO: dict[str, str] = {
    DeadLetterReason.EMPTY: "there is nothing to send again: ask who sent an empty message",
    DeadLetterReason.TOO_LARGE: "if it should be read, raise stream.max_message_bytes or "
    f"stream.message_documents, restart the monitors, {SEND}",
    DeadLetterReason.BATCH_TOO_LARGE: "if it should be read, raise kafka.max_batch_bytes, restart the "
    "monitors, then `monitor replay --from TIME`",
    DeadLetterReason.UNDECODABLE_BATCH: "compare the partition's replicas; once an intact one leads, "
    "`monitor replay --from TIME`",
    DeadLetterReason.FAR_FUTURE: "if only the sender's clock or time zone was wrong, wait until its time has "
    f"come, {SEND}; or raise stream.future_seconds",
    DeadLetterReason.SOURCE_NOT_ALLOWED: "if the source may send, add it to stream.allowed_news_sources or "
    f"stream.allowed_comment_sources, restart the monitors, {SEND}",
    DeadLetterReason.FORGED_HEARTBEAT: "find out who sends in the monitor's name; if it is another monitor, "
    "give both the same stream.heartbeat_secret",
    DeadLetterReason.INFERENCE: f"the classifier failed on it: switch or upgrade the model, {SEND}",
    DeadLetterReason.STORAGE: f"it cannot be stored: mend what the detail names, {SEND}",
    DeadLetterReason.SKIPPED: "an operator left it out: `monitor replay --from TIME` reads it",
}


def find_messages(
    kafka: KafkaSettings, letters: Sequence[StoredLetter]
) -> tuple[Mapping[StoredLetter, Original], str]:
    """The messages of the letters that Kafka still holds, and why it could not be asked, or nothing."""
    try:
        incarnations = admin.incarnations(kafka, kafka.kinds)
        with open_consumer(kafka, max_poll_records=CHUNK) as consumer:
            originals = Originals(consumer, incarnations, kafka.dead_letters)
            return originals.find([letter for letter in letters if letter.reason not in NO_MESSAGE]), ""
    except (BrokerError, TopicMissing) as error:
        return {}, str(error)


def what_to_do(letter: StoredLetter) -> str:
    """What an operator can do about it."""
    advice = WHAT_TO_DO.get(letter.reason, f"{ASK}; if the monitor's settings were wrong, mend them, {SEND}")
    return advice.format(position=letter.position)


def letter_fields(letter: StoredLetter) -> dict[str, Any]:
    """A dead letter as JSON."""
    return {
        "position": str(letter.position),
        "topic": letter.kafka_topic,
        "partition": letter.kafka_partition,
        "offset": letter.kafka_offset,
        "element": letter.position.element,
        "incarnation": letter.incarnation,
        "key": letter.key,
        "reason": letter.reason,
        "detail": letter.detail,
        "seen_at": letter.seen_at.isoformat(),
        "sent_at": letter.sent_at and letter.sent_at.isoformat(),
        "traceparent": letter.traceparent,
        "what_to_do": what_to_do(letter),
    }


def message_fields(original: Original | None) -> dict[str, Any]:
    """The message of a dead letter as JSON; `payload` is null if Kafka no longer has it."""
    if original is None:
        return {"payload": None}
    value = original.record.value or b""
    try:
        payload = {"payload": value.decode()}
    except UnicodeDecodeError:
        payload = {"payload_base64": base64.b64encode(value).decode()}
    return {
        **payload,
        "payload_bytes": len(value),
        "payload_from": "dead_letters" if original.stored else "topic",
        "message_key": original.key and original.key.decode(errors="backslashreplace"),
        "headers": {name: shown_bytes(content or b"") for name, content in original.headers},
    }


def shown_bytes(content: bytes) -> str:
    """Bytes as text for a terminal; those that are no UTF-8 as \\xNN."""
    return escape_controls(content.decode("utf-8", "backslashreplace"))


def escape_controls(text: str) -> str:
    """Control characters, which a terminal would obey, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
