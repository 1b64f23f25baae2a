"""Delivers outbox entries to people: pages to webhooks and channels."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec

from alerts.delivery.notifiers import Channels, Failure, Webhooks, outcome
from alerts.delivery.pages import CHANNEL, WEBHOOK, merge_pages, page_text
from alerts.metrics import AlertMetrics
from stream.domain.alerts import AlertState
from stream.storage.outbox import Outbox, OutboxEntry

log = logging.getLogger(__name__)

# A page that no receiver accepted for this long is of no use, and must not block later ones for ever.
GIVE_UP_AFTER = timedelta(days=7)


class PageDelivery:
    """Sends pages.  Waiting pages of one rule with the same state go to a receiver as one."""

    def __init__(
        self,
        *,
        webhooks: Webhooks,
        channels: Channels,
        outbox: Outbox,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._webhooks, self._channels = webhooks, channels
        self._outbox, self._metrics, self._clock = outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry]) -> None:
        """Deliver one page; the caller renews the lease before the next."""
        first = entries[0]
        lane = [entry for entry in entries if (entry.target, entry.lane) == (first.target, first.lane)]
        _, same_state = next(groupby(lane, lambda entry: msgspec.json.decode(entry.body)["state"]))
        self._deliver(first.target, list(same_state))

    def _deliver(self, target: str, entries: list[OutboxEntry]) -> None:
        page, now = merge_pages([msgspec.json.decode(entry.body) for entry in entries]), self._clock()
        failure = self._send(target, page)
        if failure is not None and now - entries[0].created_at > GIVE_UP_AFTER:
            failure = Failure(f"{failure.reason}, for {GIVE_UP_AFTER.days} days", recoverable=False)
        receiver = target.partition(":")[2]
        self._metrics.pages.labels(receiver, outcome(failure)).inc()
        if failure is None or not failure.recoverable:
            self._outbox.mark_done(entries, outcome(failure), now)
        else:
            self._outbox.mark_failed(entries[0], failure.reason, now)
        if failure is not None:
            action = "failed, will be retried" if failure.recoverable else "failed for good"
            log.error("%s page to receiver %s %s: %s", page["state"], receiver, action, failure.reason)

    def _send(self, target: str, page: dict[str, Any]) -> Failure | None:
        if target.startswith(CHANNEL):
            ended = page["state"] == AlertState.RESOLVED
            return self._channels.send(target.removeprefix(CHANNEL), *page_text(page), ended=ended)
        return self._webhooks.send(target.removeprefix(WEBHOOK), msgspec.json.encode(page))
