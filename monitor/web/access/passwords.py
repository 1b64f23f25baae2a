"""The password file: a line NAME:ROLE:HASH for each user, with hashes of Argon2."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import Type

from monitor.web.access.users import ROLES, User, is_name

log = logging.getLogger(__name__)

# The second recommendation of RFC 9106: 64 MiB and three passes, some 50 ms.
HASHER = PasswordHasher(type=Type.ID)
SHORTEST, LONGEST = 12, 1024
# Of a password file, in bytes; its hashes take some 100 each.
LONGEST_FILE = 1_000_000
PREFIX = "$argon2id$"


class PasswordFileError(Exception):
    """The password file cannot be used.  The message says where and why."""


@dataclass(frozen=True)
class Account:
    """A user of the password file, and the hash of their password."""

    user: User
    hash: str

    @property
    def credential(self) -> str:
        """What a login was made with; it changes with the password."""
        return hashlib.sha256(self.hash.encode()).hexdigest()


def password_line(name: str, role: str, password: str) -> str:
    """The line of a user.  Raises PasswordFileError if the name or the password cannot be used."""
    if ":" in name or name.startswith("#") or not is_name(name):
        raise PasswordFileError(
            f"{name[:100]!r} cannot be a name: it has a colon, a space at an end, or is too long"
        )
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordFileError(f"a password has {SHORTEST} to {LONGEST} characters")
    return f"{name}:{role}:{HASHER.hash(password)}"


def parse_passwords(text: str) -> dict[str, Account]:
    """The accounts of a password file, by name.  Raises PasswordFileError with the line."""
    accounts: dict[str, Account] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _parse(line.rstrip(), number)
        if account.user.name in accounts:
            raise PasswordFileError(f"line {number}: {account.user.name} was there before")
        accounts[account.user.name] = account
    return accounts


def with_line(text: str, line: str) -> str:
    """The text of a password file in which this line replaces that of the same user.

    Raises PasswordFileError if the file has a wrong line.
    """
    name = line.partition(":")[0]
    parse_passwords(text)
    others = [old for old in text.splitlines() if old.partition(":")[0] != name]
    return "\n".join([*others, line]) + "\n"


def _parse(line: str, number: int) -> Account:
    """The account of a line.  Errors do not show it: it holds a hash."""
    name, role, hash_ = (*line.split(":", 2), "", "")[:3]
    if not is_name(name) or role not in ROLES:
        raise PasswordFileError(f"line {number}: not NAME:ROLE:HASH with a role of {', '.join(ROLES)}")
    try:
        HASHER.check_needs_rehash(hash_)
    except InvalidHashError:
        hash_ = ""
    if not hash_.startswith(PREFIX):
        raise PasswordFileError(f"line {number}: no hash of Argon2id; `monitor access password` writes one")
    return Account(User(name, ROLES[role]), hash_)


def check_password(accounts: Mapping[str, Account], name: str, password: str) -> Account | None:
    """The account that has this name and password; an unknown name takes as long as a wrong password."""
    account = accounts.get(name)
    try:
        HASHER.verify(account.hash if account else _nobody(), password[:LONGEST])
    except Argon2Error:
        return None
    return account


@cache
def _nobody() -> str:
    """The hash of a password that nobody has."""
    return HASHER.hash("")


class PasswordFile:
    """A password file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Raises PasswordFileError if it cannot be read or has a wrong line."""
        self._path = path
        self._state = self._stat()
        self._accounts = self._read()

    def accounts(self) -> dict[str, Account]:
        """As the file says now; as it said before, with a line in the log, while it cannot be used."""
        try:
            state = self._stat()
            if state != self._state:
                self._state = state
                self._accounts = self._read()
        except PasswordFileError as error:
            log.error("%s; the accounts that it had before still count", error)
        return self._accounts

    def _stat(self) -> tuple[int, int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise PasswordFileError(
                f"the password file {self._path} cannot be read: {error.strerror}"
            ) from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> dict[str, Account]:
        try:
            with self._path.open(encoding="utf-8") as file:
                text = file.read(LONGEST_FILE + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise PasswordFileError(f"the password file {self._path} cannot be read: {error}") from error
        if len(text) > LONGEST_FILE:
            raise PasswordFileError(
                f"the password file {self._path} is longer than {LONGEST_FILE} characters"
            )
        try:
            accounts = parse_passwords(text)
        except PasswordFileError as error:
            raise PasswordFileError(f"the password file {self._path}: {error}") from error
        if not accounts:
            raise PasswordFileError(
                f"the password file {self._path} has no user; `monitor access password` adds one"
            )
        return accounts
