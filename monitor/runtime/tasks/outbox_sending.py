"""Sends the entries of the outbox that are due, in one monitor at a time."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from stream.storage.leases import Lease
from stream.storage.outbox import Outbox, OutboxEntry


class OutboxSending:
    """Sends the due entries of some targets, where this monitor holds the lease."""

    def __init__(
        self,
        *,
        targets: Sequence[str],
        limit: int,
        outbox: Outbox,
        lease: Lease,
        send: Callable[[list[OutboxEntry], Callable[[], bool]], None],
        clock: Callable[[], datetime],
        stopping: threading.Event,
    ) -> None:
        """`targets` are those that this monitor is configured for; it leaves other entries alone.

        `send` gets at most `limit` entries and marks each as done or failed.  It also gets a function that
        renews the lease for a further attempt: false if this monitor may not send any more.
        """
        self._targets, self._limit, self._outbox = targets, limit, outbox
        self._lease, self._send, self._clock, self._stopping = lease, send, clock, stopping

    def run_once(self) -> None:
        """Send until nothing is due; renews the lease before each call of `send`."""
        while (
            not self._stopping.is_set()
            and self._outbox.is_due(self._targets, self._clock())
            and self._may_send()
        ):
            if entries := self._outbox.due(self._targets, self._clock(), self._limit):
                self._send(entries, self._may_send)

    def _may_send(self) -> bool:
        return not self._stopping.is_set() and self._lease.acquire()
