"""`monitor dead-letters`: which messages were refused and why, and sending them again."""

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.text import Text

from monitor.cli.maintenance import open_store, open_store_and_topics
from monitor.cli.options import (
    CommandGroup,
    config_option,
    counting,
    examples,
    json_option,
    parse_time,
    plain_errors,
    plain_table,
    stdout_console,
)
from stream.domain.documents import Kind
from stream.domain.errors import DeadLetterMissing, DeadLetterReason

if TYPE_CHECKING:
    from monitor.runtime.settings import Settings
    from stream.resend import Original, Resend, ResendReport
    from stream.storage.batches import Store
    from stream.storage.dead_letters import LetterFilter, LetterPosition, StoredLetter
    from stream.storage.leases import Lease

F = TypeVar("F", bound=Callable[..., Any])
SHOWN_BYTES = 4000
SHOWN_DETAIL = 120
LEASE_POLL_SECONDS = 1.0


class Position(click.ParamType):
    """TOPIC/PARTITION/OFFSET, and /ELEMENT for a document of an array."""

    name = "POSITION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from stream.storage.dead_letters import LetterPosition

        try:
            return LetterPosition.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def filter_options(function: F) -> F:
    """The options that say which dead letters are meant."""
    for option in reversed(
        (
            click.option(
                "--reason",
                "reasons",
                multiple=True,
                type=click.Choice([reason.value for reason in DeadLetterReason]),
                help="Only with this reason; can be repeated.",
            ),
            click.option(
                "--topic", "topics", multiple=True, help="Only of this Kafka topic; can be repeated."
            ),
            click.option(
                "--kind", type=click.Choice([kind.value for kind in Kind]), help="Only of this kind."
            ),
            click.option("--since", callback=parse_time, help="Only those refused at this time or later."),
            click.option("--until", callback=parse_time, help="Only those refused before this time."),
        )
    ):
        function = option(function)
    return function


@click.group("dead-letters", cls=CommandGroup)
def dead_letters() -> None:
    """Messages that were refused: which and why, and sending them again."""


@dead_letters.command(
    "list",
    epilog=examples(
        "monitor dead-letters list --summary",
        "monitor dead-letters list --reason source_not_allowed --since 2026-03-01T09:00Z --unsent",
    ),
)
@config_option
@filter_options
@click.option("--unsent", is_flag=True, help="Only those that were not sent again.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="List so many, the newest first."
)
@click.option("--summary", is_flag=True, help="Only count them, by reason.")
@json_option
@plain_errors
def list_letters(
    config: Path | None, unsent: bool, limit: int, summary: bool, as_json: bool, **chosen: Any
) -> None:
    """List dead letters, the newest first, or count them by reason."""
    from monitor.health.letters import escape_controls, letter_fields
    from stream.storage import dead_letters as stored

    with open_store(config) as (settings, store):
        wanted = _filter(settings, unsent=unsent, **chosen)
        if summary:
            _print_counts(stored.count_by_reason(store.engine, wanted), as_json)
            return
        total = stored.count_letters(store.engine, wanted)
        letters = stored.latest_letters(store.engine, wanted, limit)
    if as_json:
        click.echo(json.dumps([letter_fields(letter) for letter in letters]))
        return
    table = plain_table("refused", "position", "reason", "sent again", "key", "detail")
    for letter in letters:
        sent_at, detail = _when(letter.sent_at), escape_controls(letter.detail[:SHOWN_DETAIL])
        row = (_when(letter.seen_at), str(letter.position), letter.reason, sent_at, letter.key or "-", detail)
        table.add_row(*map(Text, row))
    stdout_console().print(table)
    if total > len(letters):
        click.echo(f"{total - len(letters)} more: --limit", err=True)


@dead_letters.command("show", epilog=examples("monitor dead-letters show news/0/5120"))
@click.argument("position", type=Position())
@config_option
@json_option
@plain_errors
def show_letter(position: "LetterPosition", config: Path | None, as_json: bool) -> None:
    """Show a dead letter: why it was refused, what the message holds, and what to do.

    POSITION is TOPIC/PARTITION/OFFSET, and /ELEMENT for a document of an array.
    """
    from monitor.health.letters import find_messages, letter_fields, message_fields

    with open_store(config) as (settings, store):
        letters = _letters_at(store, position)
        found, problem = find_messages(settings.kafka, letters)
        if problem:
            click.echo(f"the message is not shown: {problem}", err=True)
    if as_json:
        shown = [letter_fields(letter) | message_fields(found.get(letter)) for letter in letters]
        click.echo(json.dumps(shown[0] if len(shown) == 1 else shown))
        return
    for letter in letters:
        for name, text in _lines(letter, found.get(letter)):
            click.echo(f"{name + ':':<12} {text}")
        if letter is not letters[-1]:
            click.echo()


@dead_letters.command(
    "send",
    epilog=examples(
        "monitor dead-letters send news/0/5120",
        "monitor dead-letters send --reason source_not_allowed --since 2026-03-01T09:00Z --dry-run",
        "monitor dead-letters send --reason source_not_allowed --since 2026-03-01T09:00Z --rate 20",
    ),
)
@click.argument("position", type=Position(), required=False)
@config_option
@filter_options
@click.option("--all", "everything", is_flag=True, help="All of them, without another filter.")
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    default=100.0,
    show_default=True,
    help="Messages a second at most: so many that are sent at once would hold back live ones.",
)
@click.option("--limit", type=click.IntRange(1), help="Send so many at most, such as a few to begin with.")
@click.option("--dry-run", is_flag=True, help="Only say how many would be sent, and which not.")
@click.option(
    "--force",
    is_flag=True,
    help="Also send what would be refused again and, by position, what was sent before.",
)
@json_option
@plain_errors
def send_letters(
    position: "LetterPosition | None",
    config: Path | None,
    everything: bool,
    rate: float,
    limit: int | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Send refused messages to their topics again, as they were, once what they were refused for is mended.

    By POSITION (TOPIC/PARTITION/OFFSET, and /ELEMENT for a document of an array) or by filter.  Letters that
    were sent before are left out.  An interrupted run can be started again; a repeated
    document counts once.  Exit status 1: some were not sent.
    """
    if (position is None) == (not everything and not any(chosen.values())):
        raise click.UsageError("give either a position or a filter, such as --reason; --all for all of them")
    with open_store_and_topics(config) as (settings, store, incarnations):
        resend = _resend(settings, store, incarnations, force)
        chunks: Iterable[Sequence[StoredLetter]]
        total = None
        if position is not None:
            chunks = _unsent_at(store, position, force)
        else:
            chunks, total = _unsent_by_filter(store, _filter(settings, unsent=True, **chosen), rate, limit)
        if dry_run:
            report = resend.check(chunks)
        else:
            with _lease(store) as lease, counting("sending", total) as advance:
                report = resend.send(chunks, lease, rate, advance)
    _print_report(report, dry_run, as_json)
    sys.exit(1 if report.unsent else 0)


def _filter(
    settings: "Settings",
    *,
    reasons: Sequence[str],
    topics: Sequence[str],
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
    unsent: bool,
) -> "LetterFilter":
    from stream.storage.dead_letters import LetterFilter

    if kind is not None:
        of_kind = [topic for topic, its_kind in settings.kafka.kinds.items() if its_kind == kind]
        topics = [topic for topic in of_kind if not topics or topic in topics]
    return LetterFilter(topics, reasons, since, until, unsent)


def _letters_at(store: "Store", position: "LetterPosition") -> "list[StoredLetter]":
    from stream.storage import dead_letters as stored

    letters = stored.letters_at(store.engine, position)
    if not letters:
        raise DeadLetterMissing(f"{position}: no dead letter; `monitor dead-letters list` names them")
    return letters


def _unsent_at(store: "Store", position: "LetterPosition", force: bool) -> "Iterator[Sequence[StoredLetter]]":
    letters = _letters_at(store, position)
    unsent = [letter for letter in letters if force or letter.sent_at is None]
    if not unsent:
        raise DeadLetterMissing(
            f"{position}: it was sent again at {_when(letters[0].sent_at)}; --force sends it once more"
        )
    yield unsent


def _unsent_by_filter(
    store: "Store", wanted: "LetterFilter", rate: float, limit: int | None
) -> "tuple[Iterable[Sequence[StoredLetter]], int]":
    """The letters in chunks, and how many there are."""
    from stream.resend import chunk_size
    from stream.storage import dead_letters as stored

    total, size = stored.count_letters(store.engine, wanted), chunk_size(rate)
    if limit is None:
        return stored.in_chunks(store.engine, wanted, size), total
    letters = islice(chain.from_iterable(stored.in_chunks(store.engine, wanted, size)), limit)
    return iter(lambda: list(islice(letters, size)), []), min(total, limit)


def _resend(settings: "Settings", store: "Store", incarnations: Mapping[str, str], force: bool) -> "Resend":
    from stream.codec import Codec
    from stream.resend import Resend
    from stream.storage.secrets import load_heartbeats

    heartbeats = load_heartbeats(store.engine, settings.stream.heartbeat_secret)
    return Resend(
        kafka=settings.kafka,
        store=store,
        codec=Codec.from_settings(settings.stream, heartbeats),
        incarnations=incarnations,
        clock=lambda: datetime.now(UTC),
        force=force,
    )


@contextmanager
def _lease(store: "Store") -> "Iterator[Lease]":
    """The right to send, which one process has at a time."""
    from stream.resend import LEASE, LEASE_SECONDS
    from stream.storage.leases import Lease

    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    lease = Lease(store, LEASE, holder, LEASE_SECONDS)
    _wait_for(lease, holder)
    try:
        yield lease
    finally:
        lease.release()


def _wait_for(lease: "Lease", own: str) -> None:
    """Wait until no other process sends: one that was killed keeps the lease for a while."""
    from stream.resend import LEASE

    waiting = False
    while not lease.acquire():
        holder = lease.holder()
        if not waiting and holder is not None and holder.name != own:
            click.echo(
                f"waiting for another `monitor dead-letters send` ({holder.name}); if it was killed, until "
                f"{_when(holder.expires_at)} or `monitor leases release {LEASE}`",
                err=True,
            )
        waiting = True
        time.sleep(LEASE_POLL_SECONDS)


def _print_counts(counts: Sequence[Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(count) for count in counts], default=datetime.isoformat))
        return
    table = plain_table("reason", "letters", "sent again", "first", "last")
    for count in counts:
        times = (_when(count.first), _when(count.last))
        table.add_row(count.reason, str(count.letters), str(count.sent), *times)
    stdout_console().print(table)


def _print_report(report: "ResendReport", dry_run: bool, as_json: bool) -> None:
    if as_json:
        answer = {
            "dry_run": dry_run,
            "found": report.found,
            "sent": report.sent,
            "from_dead_letters": report.stored,
            "not_sent": report.unsent,
            "examples": [
                {"position": str(unsent.letter.position), "cause": unsent.cause, "why": unsent.why}
                for unsent in report.examples
            ],
        }
        click.echo(json.dumps(answer))
        return
    from monitor.health.letters import escape_controls

    for unsent in report.examples:
        click.echo(f"{unsent.letter.position}: not sent: {escape_controls(unsent.why)}", err=True)
    left = report.unsent.total()
    if left > len(report.examples):
        click.echo(f"and {left - len(report.examples)} more", err=True)
    causes = ", ".join(f"{cause} {number}" for cause, number in report.unsent.most_common())
    verb = "would be sent" if dry_run else "sent"
    click.echo(f"{report.sent} of {report.found} {verb}" + (f"; not: {causes}" if causes else ""))


def _lines(letter: "StoredLetter", original: "Original | None") -> Iterator[tuple[str, str]]:
    """A dead letter for people, as names and texts."""
    from monitor.health.letters import escape_controls, shown_bytes, what_to_do

    yield "position", str(letter.position)
    yield "reason", letter.reason
    yield "detail", escape_controls(letter.detail)
    yield "refused", _when(letter.seen_at)
    yield "sent again", _when(letter.sent_at)
    yield "key", letter.key or "- (the message could not be read as a document)"
    if letter.traceparent:
        yield "traceparent", letter.traceparent
    if original is None:
        yield "message", "- (Kafka has it no longer, or it could not be asked)"
    else:
        value = original.record.value or b""
        where = " (from the topic of dead letters)" if original.stored else ""
        yield "message key", "-" if original.key is None else shown_bytes(original.key)
        for name, content in original.headers:
            yield "header", f"{escape_controls(name)}: {shown_bytes(content or b'')}"
        yield "message", f"{len(value)} bytes{where}"
        yield "", shown_bytes(value[:SHOWN_BYTES]) + (" ..." if len(value) > SHOWN_BYTES else "")
    yield "what to do", what_to_do(letter)


def _when(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
