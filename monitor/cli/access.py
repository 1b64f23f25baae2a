"""`monitor access`: the password file of the desk's pages, and the audit log."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import (
    CommandGroup,
    config_option,
    examples,
    json_option,
    plain_errors,
    plain_table,
    stdout_console,
)

ROLES = ("reader", "desk", "admin")


@click.group(cls=CommandGroup)
def access() -> None:
    """Who may see the desk's pages, and what they did."""


@access.command(
    epilog=examples(
        "monitor access password mia --role desk --file passwords",
        "monitor access password mia --role desk < secret",
    )
)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the user may do.")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Password file in which the user's line is added or replaced; without it the line is printed.",
)
def password(name: str, role: str, file: Path | None) -> None:
    """Make the line of a user of http.login.passwords.

    The password is asked for, or read from standard input.  A running monitor sees the change at once, and
    ends the logins that the old password made.
    """
    from monitor.web.access.passwords import PasswordFileError, password_line, with_line

    try:
        line = password_line(name, role, _ask_password())
        if file is None:
            click.echo(line)
            return
        _replace(file, with_line(_read(file), line))
    except (PasswordFileError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {name} has the role {role}")


@access.command(epilog=examples("monitor access audit --limit 20", "monitor access audit --user mia --json"))
@click.option("--user", help="Only what this user did.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Most lines.")
@json_option
@config_option
@plain_errors
def audit(user: str | None, limit: int, as_json: bool, config: Path | None) -> None:
    """What people did with the pages, newest first: logins, and whatever changed something."""
    import msgspec

    from stream.storage.audit import read_audit

    with open_store(config) as (_, store):
        entries = list(read_audit(store.engine, limit, user))
    if as_json:
        click.echo(msgspec.json.encode(entries).decode())
        return
    table = plain_table("time", "user", "action", "subject", "detail")
    for entry in entries:
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S} UTC", entry.user, entry.action, entry.subject, entry.detail
        )
    stdout_console().print(table)


def _ask_password() -> str:
    if sys.stdin.isatty():
        answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return sys.stdin.readline().rstrip("\n")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _replace(file: Path, text: str) -> None:
    """Write the file whole, so that a running monitor never reads half of it; only its owner may read it."""
    new = file.with_name(f".{file.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as stream:
        stream.write(text)
    if file.exists():
        new.chmod(file.stat().st_mode & 0o777)
    new.replace(file)
