"""The page of the monitors' own health: status and checks, dead letters, deliveries and the model."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.health.finding import Finding
from monitor.health.letters import what_to_do
from monitor.health.questions import ask_status, read_letters, run_checks
from monitor.jobs import Job, Jobs, Work
from monitor.web.access.users import Role
from monitor.web.answers import AnyRequest
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import NoSuch
from stream.domain.errors import StoreUnavailable
from stream.storage import dead_letters
from stream.storage.dead_letters import LetterFilter, LetterPosition
from stream.storage.desk.health import delivery_counts, latest_deliveries, read_labelling
from stream.storage.outbox import Outbox

# How old an answer may be that is shown again.
STATUS_SECONDS, CHECKS_SECONDS, LETTER_SECONDS = 20.0, 600.0, 60.0
# The niceness of what somebody waits for who looks for a fault.
QUICK = 0
LISTED_LETTERS, LISTED_DELIVERIES = 50, 50
SHOWN_DAYS = 30
LONGEST_PAYLOAD = 20_000


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of these pages."""
    pages = HealthPages(desk)

    @get("/health", include_in_schema=False)
    async def health(request: AnyRequest) -> Response[bytes]:
        may_check = request.user.may(Role.DESK)
        query = dict(request.query_params)
        return await desk.page(request, "health.html", lambda: pages.health(query, may_check))

    @get("/health/dead-letters/{rest:path}", include_in_schema=False)
    async def letter(request: AnyRequest) -> Response[bytes]:
        position = last_segment(request, "/health/dead-letters/")
        return await desk.page(request, "dead_letter.html", lambda: pages.letter(position))

    return [health, letter]


class HealthPages:
    """What these pages show."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._jobs = desk, Jobs()

    def health(self, query: Mapping[str, str], may_check: bool) -> dict[str, object]:
        """What the page shows.  A database that is away is told, and the rest is shown.

        Raises Overloaded.
        """
        part = query.get("fragment")
        return {
            "status": self._status() if part in (None, "status") else None,
            "checks": self._checks(query.get("check") == "yes" and may_check),
            "may_check": may_check,
            "stored": self._stored() if part is None else None,
            "days": SHOWN_DAYS,
        }

    def letter(self, position: str) -> dict[str, object] | None:
        """What the page of one dead letter shows.  Raises NoSuch, StoreUnavailable and Overloaded."""
        try:
            wanted = LetterPosition.parse(position)
        except ValueError as error:
            raise NoSuch(str(error)) from error
        letters = dead_letters.letters_at(self._desk.store.engine, wanted)
        if not letters:
            return None
        work = Work(
            f"letter {wanted}", read_letters, (self._desk.settings, str(wanted)), dict[str, Any], QUICK
        )
        job = self._jobs.ask(work, LETTER_SECONDS)
        found = (job.result or {}).get("letters", [])
        return {
            "position": str(wanted),
            "letters": [(letter, what_to_do(letter)) for letter in letters],
            "messages": [shown_message(message) for message in found],
            "job": job,
            "problem": (job.result or {}).get("problem", ""),
        }

    def _status(self) -> Job[dict[str, Any]]:
        return self._jobs.ask(
            Work("status", ask_status, (self._desk.settings,), dict[str, Any], QUICK), STATUS_SECONDS
        )

    def _checks(self, run: bool) -> Job[list[Finding]] | None:
        """The checks as they ran last, or run now if somebody wants it."""
        if not run:
            return self._jobs.find("checks")
        return self._jobs.ask(
            Work("checks", run_checks, (self._desk.settings,), list[Finding]), CHECKS_SECONDS
        )

    def _stored(self) -> dict[str, object]:
        """What the database has; only why it does not answer if it does not."""
        store, now = self._desk.store, self._desk.clock()
        wanted = LetterFilter(since=now - timedelta(days=SHOWN_DAYS))
        try:
            letters = dead_letters.latest_letters(store.engine, wanted, LISTED_LETTERS)
            return {
                "problem": "",
                "reasons": dead_letters.count_by_reason(store.engine, wanted),
                "letters": [(letter, what_to_do(letter)) for letter in letters],
                "outbox": Outbox(store.engine).by_target(now),
                "deliveries": latest_deliveries(store, LISTED_DELIVERIES),
                "delivery_counts": delivery_counts(store, now - timedelta(days=1)),
                "labelling": read_labelling(store, now - timedelta(days=1), now),
            }
        except StoreUnavailable as error:
            return {"problem": str(error)}


def shown_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a dead letter with the beginning of its payload as text; bytes that are no UTF-8 as
    escapes."""
    encoded, payload = message.get("payload_base64"), message.get("payload")
    if encoded is not None:
        payload = base64.b64decode(encoded)[:LONGEST_PAYLOAD].decode("utf-8", "backslashreplace")
    text = None if payload is None else payload[:LONGEST_PAYLOAD]
    return {**message, "shown": text, "is_cut": bool(message.get("payload_bytes", 0) > LONGEST_PAYLOAD)}
