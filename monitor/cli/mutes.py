"""`monitor mutes`: what is planned to page nobody, and checking the file that says so."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from alerts.schedules.mutes import Mute, Mutes
from monitor.cli.options import (
    EXISTING,
    CommandGroup,
    config_option,
    examples,
    json_option,
    parse_time,
    plain_errors,
    plain_table,
    stdout_console,
)
from monitor.runtime import settings as settings_module
from monitor.runtime.settings import SettingsError


@dataclass(frozen=True)
class PlannedMute:
    """A mute with the time in which it holds, or the next one: none if there is none within a year."""

    name: str
    muted: bool
    start: datetime | None
    end: datetime | None
    rules: tuple[str, ...]
    topics: tuple[str, ...]
    entities: tuple[str, ...]
    reason: str

    @classmethod
    def of(cls, mute: Mute, now: datetime) -> "PlannedMute":
        time = mute.next_time(now)
        start, end = time or (None, None)
        what = (tuple(mute.rules), tuple(mute.topics), tuple(mute.entities))
        return cls(mute.name, mute.holds(now), start, end, *what, mute.reason)


@click.group(cls=CommandGroup)
def mutes() -> None:
    """The planned mutes: when which alerts page nobody."""


@mutes.command(
    "list", epilog=examples("monitor mutes list -c monitor.toml", "monitor mutes list --at 2026-12-24")
)
@config_option
@click.option("--at", callback=parse_time, metavar="TIME", help="Time to look from; default: now.")
@json_option
@plain_errors
def list_mutes(config: Path | None, at: datetime | None, as_json: bool) -> None:
    """Show what is muted now, and what will be within a year."""
    settings = settings_module.load(config)
    if settings.alerts.mutes is None:
        raise SettingsError("alerts.mutes names no file, so nothing is muted")
    from monitor.mutes import read_mutes

    planned = plan(read_mutes(settings.alerts.mutes, settings), at or datetime.now(UTC))
    if as_json:
        click.echo(msgspec.json.encode(planned).decode())
    else:
        _show(planned, ZoneInfo(settings.alerts.time_zone))


def plan(found: Mutes, now: datetime) -> list[PlannedMute]:
    """The mutes by the time in which they hold next: those that hold now come first, those that are over
    last."""
    planned = [PlannedMute.of(mute, now) for mute in found.entries]
    return sorted(planned, key=lambda mute: (mute.start is None, mute.start or now, mute.name))


def _show(planned: Iterable[PlannedMute], zone: ZoneInfo) -> None:
    table = plain_table("mute", "state", "from", "until", "for", "reason")
    for mute in planned:
        state = "muted now" if mute.muted else "planned" if mute.start else "over"
        table.add_row(
            mute.name,
            state,
            _time_text(mute.start, zone),
            _time_text(mute.end, zone),
            _subjects(mute),
            mute.reason,
        )
    stdout_console().print(table, markup=False)


def _time_text(at: datetime | None, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}" if at else ""


def _subjects(mute: Mute | PlannedMute) -> str:
    """What a mute is for, in words."""
    named = (("rules", mute.rules), ("topics", mute.topics), ("entities", mute.entities))
    return "; ".join(f"{what} {', '.join(names)}" for what, names in named if names) or "everything"


@mutes.command("check", epilog=examples("monitor mutes check mutes.yaml"))
@click.argument("file", type=EXISTING)
@config_option
@plain_errors
def check_mutes(file: Path, config: Path | None) -> None:
    """Check a file of mutes; each error names the file, the line and the mute."""
    from monitor.mutes import read_mutes

    found = read_mutes(file, settings_module.load(config))
    click.echo(f"{file}: {len(found.entries)} mutes")
    for mute in found.entries:
        click.echo(f"  {mute.name}: {_subjects(mute)}; {mute.reason}")
