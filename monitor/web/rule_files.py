"""The rule file as the pages of rules and watchlists read, check and save it."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import alerts
import monitor
from alerts.detectors.base import Rule
from alerts.errors import RuleError
from alerts.rules.rule_file import RuleFile, RuleSet
from alerts.rules.watchlist_edit import FileChange
from monitor.web.errors import BadRequest, Conflict
from stream.domain.files.plain_yaml import read_yaml

SHIPPED = tuple(Path(package.__file__).parent for package in (alerts, monitor) if package.__file__)


@dataclass(frozen=True)
class ReadRules:
    """What the rule file says now: its text, and the rules and watchlists in it.

    `problem` is why it cannot be used; the rules and watchlists are then those that were read before.
    """

    path: Path
    text: str
    rules: tuple[Rule, ...]
    watchlists: Mapping[str, tuple[str, ...]]
    problem: str = ""

    def rule(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)


class RuleFiles:
    """Reads, checks and replaces the rule file and the files of its watchlists."""

    def __init__(self, rule_file: RuleFile) -> None:
        self._file = rule_file

    @property
    def path(self) -> Path:
        return self._file.path

    def read(self) -> ReadRules:
        """The rule file as it is now, whatever is wrong with it."""
        text = ""
        try:
            text = read_text(self.path)
            found = self._file.load({self.path: text})
            return ReadRules(self.path, text, found.rules, found.watchlists)
        except (OSError, RuleError, ValueError) as error:
            return ReadRules(self.path, text, self._file.rules, self._file.watchlists, str(error))

    def check(self, texts: Mapping[Path, str]) -> RuleSet:
        """What the files would say with these texts.  Raises RuleError, a line for each error."""
        return self._file.load(texts)

    def why_read_only(self, path: Path) -> str | None:
        """Why a page cannot write a file; None if it can."""
        target = path.resolve()
        if any(target.is_relative_to(folder) for folder in SHIPPED):
            return (
                f"{path} belongs to the program, and the next version replaces it: copy it, and name the "
                "copy in the setting alerts.rules"
            )
        if not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
            return f"the monitor may not write {path}"
        return None

    def save(self, change: FileChange) -> None:
        """Replace a file, if it still says what the change was made from: all of it or nothing.

        Raises BadRequest if the monitor may not write it or the rules could not be used then, Conflict if it
        was changed meanwhile.
        """
        if problem := self.why_read_only(change.path):
            raise BadRequest(problem)
        try:
            self.check({change.path: change.after})
            with _held(change.path.resolve()) as target:
                if read_text(target) != change.before:
                    raise Conflict(f"{change.path} was changed meanwhile: look at it again, then repeat this")
                _replace(target, change.after)
        except RuleError as error:
            raise BadRequest(str(error)) from error
        except OSError as error:
            raise BadRequest(f"{change.path} cannot be written: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """The text of a file.  Raises OSError, and RuleError where it is no short text."""
    try:
        return read_yaml(path)
    except ValueError as error:
        raise RuleError(str(error)) from error


def digest(text: str) -> str:
    """What names a text in a form, so that what was seen is what is changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _held(path: Path) -> Iterator[Path]:
    """Of two processes that save a file at once, one waits for the other."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


def _replace(path: Path, text: str) -> None:
    """Put a new file in place of this one, with the same mode; a reader sees the old one or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(path.stat().st_mode & 0o777)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
