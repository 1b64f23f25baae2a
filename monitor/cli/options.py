"""What the commands share: options, loading settings, errors without tracebacks, progress."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, tzinfo
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from alerts.errors import AlertError
from models.errors import ModelError
from monitor.cli.progress_lines import SECONDS_BETWEEN_LINES, Unit, Update, plain_lines
from monitor.runtime import log
from monitor.runtime.settings import Settings, SettingsError, load, load_as_set
from stream.domain.errors import StreamError

F = TypeVar("F", bound=Callable[..., Any])


EXISTING = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
# Columns of a table that is not read on a terminal: a row is one line there, for grep.
PIPE_COLUMNS = 10_000


class OutputFile(click.Path):
    """A file to write; refused before the work begins if it cannot be created or written."""

    name = "file"

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        if not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{path}: the folder {path.parent} is not writable", param, ctx)
        return path


class CommandGroup(click.Group):
    """A group of commands that suggests the right name for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            if near:
                error.message += f" Did you mean {near[0]!r}?"
            raise


class TextCommand(click.Command):
    """A command whose argument may look like an option, such as "-5 % after the profit warning"."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            error.message += f"; put -- before what begins with a dash: {ctx.command_path} -- ..."
            raise


config_option = click.option(
    "--config",
    "-c",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file (TOML); default: the file named by MONITOR_CONFIG, or no file.",
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def stdout_console() -> Console:
    """A console for tables; in a pipe or a file each row is one line."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_COLUMNS)


def plain_table(*columns: str) -> Table:
    """A table without lines between or around its cells, for reading and for cutting by columns."""
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def load_settings(config: Path | None) -> Settings:
    """The settings, ready to run with, and the log set up by them."""
    settings = load(config)
    log.set_up(settings.log)
    return settings


def load_settings_as_set(config: Path | None) -> Settings:
    """The same for a command that does not run the model: a registry of models is not resolved."""
    settings = load_as_set(config)
    log.set_up(settings.log)
    return settings


def plain_errors(function: F) -> F:
    """Print the product's own errors as one line, without a traceback, and exit with 1 or 2."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SettingsError as error:
            click.echo(f"settings: {error}", err=True)
            sys.exit(2)
        except (StreamError, ModelError, AlertError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)

    return wrapped  # type: ignore[return-value]


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def parse_time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """A date or RFC 3339 time as an aware UTC time; without an offset it is taken as UTC."""
    if value is None:
        return None
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: a date or RFC 3339 time was expected") from error
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)


def parse_map(_context: click.Context, _parameter: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    """--map FIELD=COLUMN,FIELD=COLUMN, which may be given several times."""
    pairs: dict[str, str] = {}
    for pair in (pair for value in values for pair in value.split(",")):
        field, equals, column = pair.partition("=")
        if not equals or not field or not column:
            raise click.BadParameter(f"{pair!r}: FIELD=COLUMN was expected")
        pairs[field.strip()] = column.strip()
    return pairs


def map_option(fields: str) -> Callable[[F], F]:
    """--map, for files whose columns are not called `fields`."""
    return click.option(
        "--map",
        "columns",
        multiple=True,
        callback=parse_map,
        metavar="FIELD=COLUMN,...",
        help=f"The file's column names for {fields}.",
    )


def parse_encoding(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The name of an encoding of texts that Python knows."""
    try:
        with suppress(UnicodeError):
            b"x".decode(value or "utf-8")
    except LookupError as error:
        known = "such as utf-8, utf-16, gb18030, big5, shift_jis or cp1252"
        raise click.BadParameter(f"{value!r}: the name of an encoding was expected, {known}") from error
    return value


encoding_option = click.option(
    "--encoding",
    callback=parse_encoding,
    metavar="NAME",
    help="Encoding of a file that is not UTF-8 and has no byte-order mark, such as gb18030.",
)


def parse_time_zone(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tzinfo | None:
    """An IANA name or an offset."""
    if value is None:
        return None
    from stream.domain.files.file_times import parse_zone

    try:
        return parse_zone(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def time_options(function: F) -> F:
    """--timezone and --excel-days, for files whose times are not RFC 3339."""
    zone = click.option(
        "--timezone",
        "zone",
        callback=parse_time_zone,
        metavar="ZONE",
        help="Zone of times without one, such as Asia/Shanghai or +08:00.",
    )
    excel = click.option("--excel-days", is_flag=True, help="Numbers are days of Excel, such as 46082.396.")
    return zone(excel(function))


def data_options(function: F) -> F:
    """How to read the timestamped texts of --data: --kind, --map, --encoding and the options of times."""
    kind = click.option(
        "--kind",
        type=click.Choice(["news", "comment"]),
        default="news",
        show_default=True,
        help="What the texts of --data are.",
    )
    columns = map_option("id, source, published_at, updated_at, title, text, author, url, symbols, lang")
    return kind(columns(encoding_option(time_options(function))))


@contextmanager
def show_progress(what: str, unit: Unit = Unit.ITEMS, seconds: float | None = None) -> Iterator[Update]:
    """Progress on standard error: a bar on a terminal, else a plain line every few `seconds`.

    Call what it yields with the amount done, the total (None: unknown) and what is being done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with plain_lines(what, unit, seconds or SECONDS_BETWEEN_LINES) as update:
            yield update
        return
    amount = DownloadColumn() if unit is Unit.BYTES else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, now: bar.update(task, completed=done, total=total, description=now)


@contextmanager
def counting(what: str, total: int | None, unit: Unit = Unit.ITEMS) -> Iterator[Callable[[int], None]]:
    """The same for amounts that add up: call what it yields with each amount done."""
    done = 0
    with show_progress(what, unit) as update:
        update(0, total, what)

        def advance(amount: int) -> None:
            nonlocal done
            done += amount
            update(done, total, what)

        yield advance


@contextmanager
def progress(file: Path, what: str) -> Iterator[Callable[[int], None]]:
    """The same for the bytes of `file`; no lines for a pipe, which may stay open for ever."""
    total = file.stat().st_size if file.is_file() else None
    if total is None and not sys.stderr.isatty():
        yield lambda size: None
        return
    with counting(what, total, Unit.BYTES) as advance:
        yield advance
