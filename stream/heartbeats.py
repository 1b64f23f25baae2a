"""Heartbeats: documents that a monitor sends through its own stream, and how it knows that they are its own.

Whoever may write to the topic can send a document with the source of the heartbeats.  So the id of a
heartbeat is its time and a signature of it: an HMAC (RFC 2104) with a secret that never leaves the
installation.  A copy of a heartbeat is a repeat of it, and an old one says nothing about now, since its time
is signed.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stream.domain.documents import HEARTBEAT_SOURCE, Document, Kind
from stream.domain.errors import DeadLetterReason, Rejected

TEXT, LANGUAGE = "-", "zxx"
FORGED = (
    f"the source {HEARTBEAT_SOURCE!r} is the monitor's own, and this message is not signed by it: somebody "
    "else writes to the topic.  Monitors with databases of their own on one topic need the same "
    "stream.heartbeat_secret"
)


@dataclass(frozen=True)
class Heartbeats:
    """Makes the heartbeats of an installation, and reads them.

    Version 0.2.0 did not sign: what it sent, before `signed_since`, is accepted without a signature.
    """

    secret: bytes = field(repr=False)
    signed_since: datetime | None = None

    def message(self, at: datetime) -> dict[str, Any]:
        """The message of a heartbeat that is sent at this time."""
        return {
            "id": self._id(at),
            "source": HEARTBEAT_SOURCE,
            "published_at": at.isoformat(),
            "text": TEXT,
            "lang": LANGUAGE,
        }

    def read(self, id_: str, kind: Kind, at: datetime) -> Document:
        """The heartbeat with this id and time.  What else the message holds is not signed and not used.

        Raises Rejected if this installation did not send it.
        """
        if kind is not Kind.NEWS or not self._is_own(id_, at.astimezone(UTC)):
            raise Rejected(DeadLetterReason.FORGED_HEARTBEAT, FORGED)
        return Document(id_, kind, HEARTBEAT_SOURCE, at, text=TEXT, lang=LANGUAGE)

    def _is_own(self, id_: str, at: datetime) -> bool:
        is_unsigned = self.signed_since is not None and at < self.signed_since and id_ == at.isoformat()
        expected = self._id(at).encode()
        return hmac.compare_digest(id_.encode("utf-8", "surrogatepass"), expected) or is_unsigned

    def _id(self, at: datetime) -> str:
        stamp = at.isoformat()
        signature = hmac.new(self.secret, f"{HEARTBEAT_SOURCE} {stamp}".encode(), hashlib.sha256)
        return f"{stamp}_{signature.hexdigest()}"
