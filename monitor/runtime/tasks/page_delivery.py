"""Delivers outbox entries to people: pages to webhooks and channels."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import jinja2
import msgspec

from alerts.delivery.answers import Failure
from alerts.delivery.digest_text import DIGEST, digest_forms, is_digest
from alerts.delivery.messages import merge_pages, page_forms
from alerts.delivery.notifiers import Channels, Webhooks, outcome
from alerts.delivery.pages import CHANNEL, WEBHOOK
from alerts.metrics import AlertMetrics
from stream.domain.alerts import AlertState
from stream.domain.budgets import json_bytes
from stream.storage.outbox import Outbox, OutboxEntry

log = logging.getLogger(__name__)

# A page that no receiver accepted for this long is of no use, and must not block later ones for ever.
GIVE_UP_AFTER = timedelta(days=7)
# Pages of several rules go as one for so many attempts.
ATTEMPTS_TOGETHER = 3
# What ended does not go with what began, and a digest goes with nothing.
APART = (AlertState.RESOLVED, DIGEST)
# How many pages a log line names.
NAMED = 5


class PageDelivery:
    """Sends pages.  Those that wait for a receiver go to it as one: what began together, what ended together.

    A page above its budget goes in a smaller form.  So does one that the receiver refuses for good, and if it
    refuses title and link alone, the pages in it go one by one.
    """

    def __init__(
        self,
        *,
        webhooks: Webhooks,
        channels: Channels,
        webhook_bytes: int,
        channel_bytes: int,
        outbox: Outbox,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._webhooks, self._channels = webhooks, channels
        self._webhook_bytes, self._channel_bytes = webhook_bytes, channel_bytes
        self._outbox, self._metrics, self._clock = outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry], may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Deliver one page; the caller renews the lease before the next.

        A page that is refused takes further attempts, in smaller forms and parts.  Before each of them
        `may_go_on` renews the lease: false if another monitor has it, or if this one is stopping.
        """
        target = entries[0].target
        states = [(entry, _state(entry)) for entry in entries if entry.target == target]
        unreadable = [entry for entry, state in states if state is None]
        if unreadable:
            self._settle(unreadable, Failure("the body of the outbox row cannot be read", False))
        else:
            pages = [(entry, state if state in APART else "") for entry, state in states]
            goes_alone = self._takes_single_alerts(target) or pages[0][1] == DIGEST
            together = _together(pages[:1] if goes_alone else pages)
            self._deliver(target, together, may_go_on)

    def _takes_single_alerts(self, target: str) -> bool:
        return target.startswith(CHANNEL) and self._channels.takes_single_alerts(target.removeprefix(CHANNEL))

    def _deliver(self, target: str, entries: list[OutboxEntry], may_go_on: Callable[[], bool]) -> None:
        try:
            page = merge_pages([msgspec.json.decode(entry.body) for entry in entries])
            failure = self._send(target, page, may_go_on)
        except (KeyError, jinja2.UndefinedError) as error:  # such as one of a newer version
            failure = Failure(f"the body of the outbox row lacks a field: {error}", False)
        if failure is not None and not failure.recoverable and len(entries) > 1:
            middle = len(entries) // 2
            for half in (entries[:middle], entries[middle:]):
                if may_go_on():
                    self._deliver(target, half, may_go_on)
            return
        self._settle(entries, failure)

    def _settle(self, entries: list[OutboxEntry], failure: Failure | None) -> None:
        """Note what became of the entries, which were sent as one page or not at all."""
        if failure is not None and failure.recoverable:
            too_old = [entry for entry in entries if self._outbox.waited(entry) > GIVE_UP_AFTER]
            entries = [entry for entry in entries if entry not in too_old]
            if too_old:
                reason = f"{failure.reason}, for {GIVE_UP_AFTER.days} days"
                self._settle(too_old, Failure(reason, recoverable=False))
            if not entries:
                return
        now, receiver = self._clock(), entries[0].target.partition(":")[2]
        self._metrics.pages.labels(receiver, outcome(failure)).inc()
        if failure is None or not failure.recoverable:
            self._outbox.mark_done(entries, outcome(failure), now)
        else:
            self._outbox.mark_failed(_heads(entries), failure.reason, now)
        if failure is not None:
            action = "failed, will be retried" if failure.recoverable else "is given up"
            keys = ", ".join(str(entry.key) for entry in entries[:NAMED])
            more = f" and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
            log.error("page %s%s to receiver %s %s: %s", keys, more, receiver, action, failure.reason)

    def _send(self, target: str, page: dict[str, Any], may_go_on: Callable[[], bool]) -> Failure | None:
        """Send the page in the largest form within the budget, or in a smaller one if that is refused."""
        forms = list(digest_forms(page) if is_digest(page) else page_forms(page))
        while len(forms) > 1 and self._size(target, forms[0]) > self._budget(target):
            del forms[0]
        failure: Failure | None = None
        for form in forms:
            if failure is not None and not may_go_on():
                return Failure(f"{failure.reason}; a smaller form was not tried", recoverable=True)
            failure = self._send_form(target, form)
            if failure is None and "shortened" in form:
                self._metrics.shortened.labels(target.partition(":")[2]).inc()
            if failure is None or failure.recoverable:
                break
            log.warning("%s refuses a page of %d bytes: %s", target, self._size(target, form), failure.reason)
        return failure

    def _budget(self, target: str) -> int:
        return self._channel_bytes if target.startswith(CHANNEL) else self._webhook_bytes

    def _size(self, target: str, page: Mapping[str, Any]) -> int:
        if target.startswith(CHANNEL):
            return json_bytes(self._channels.text(target.removeprefix(CHANNEL), page))
        return json_bytes(page)

    def _send_form(self, target: str, page: Mapping[str, Any]) -> Failure | None:
        if target.startswith(CHANNEL):
            return self._channels.send(target.removeprefix(CHANNEL), page)
        return self._webhooks.send(target.removeprefix(WEBHOOK), msgspec.json.encode(page))


def _together(pages: Sequence[tuple[OutboxEntry, str | None]]) -> list[OutboxEntry]:
    """The entries that go as one page with the first: what began, or what ended, at this moment.

    The order within a lane is kept.  A page that failed several times may be what the receiver cannot take,
    so it goes without those of other rules.  With each entry comes its state, if that keeps it apart.
    """
    first, state_of_first = pages[0]
    together: list[OutboxEntry] = []
    left_behind: set[str] = set()
    for entry, state in pages:
        failing = max(first.attempts, entry.attempts) >= ATTEMPTS_TOGETHER
        if state != state_of_first or (failing and entry.lane != first.lane):
            left_behind.add(entry.lane)
        elif entry.lane not in left_behind:
            together.append(entry)
    return together


def _heads(entries: list[OutboxEntry]) -> list[OutboxEntry]:
    """The first entry of each lane: the others wait with it."""
    return list({entry.lane: entry for entry in reversed(entries)}.values())


def _state(entry: OutboxEntry) -> str | None:
    """The state of the alert in a page; None if the body cannot be read, such as one of a newer version."""
    try:
        return str(msgspec.json.decode(entry.body)["state"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
