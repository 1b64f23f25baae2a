"""The publishers that the monitor knows: which family a host, a name or a handle belongs to.

`publishers.csv` has a row per family: its `hosts` and `names`, each separated by semicolons, and its `role`.
A host stands for its subdomains too.  A name that is also a word, a person or a company ends in a question
mark (`Fortune?`): it counts where a text can mean nothing else, as after "Source:".  A name that begins with
@ is a handle.  docs/stories.md says how the list is extended.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

from stream.domain.documents import printable
from stream.domain.errors import InputFileError
from stream.domain.files.text_files import is_valid, open_text


def word_set(words: str) -> frozenset[str]:
    """The words of a text, which blanks separate."""
    return frozenset(words.split())


SHIPPED = Path(__file__).with_name("publishers.csv")
COLUMNS, OPTIONAL_COLUMNS = ("family", "hosts", "names"), ("role",)
# How many errors of a file are shown.
MOST_ERRORS = 20
LONGEST_FAMILY, LONGEST_NAME, LONGEST_HOST = 64, 100, 253
FAMILY = re.compile(r"[a-z0-9][a-z0-9-]*")
HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
MARKS = " @'\"“”‘’.,:;|/\\-–—_*#()[]（）【】《》「」"
NUMBERS = re.compile(r"\d+(?:\.\d+){3}")
NOT_WORD = re.compile(r"[\W_]+")
# The host of an address, also of one without a scheme.  What is before the last @ is a user, not a host.
ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*://+|//)?(?:[^/?#\\\s]*@)?([^/?#\\:\s@]+)", re.IGNORECASE)
# Labels that, before a country's, are no site of their own, such as co.uk, com.cn and or.jp.
SECOND_LEVEL = word_set("ac co com edu gob gov govt go ne net nom or org mil")
# Domains whose subdomains belong to different people.
SHARED_DOMAINS = word_set(
    "uk.com us.com eu.com de.com cn.com gb.net uk.net blogspot.com github.io medium.com "
    "substack.com tumblr.com typepad.com wixsite.com wordpress.com"
)
# What may stand behind a name: Bloomberg News, Reuters UK, WSJ (blog), 新华社客户端.
TRAILING_WORDS = word_set(
    "blog desk editorial exclusive feed news newsroom online poll press registration release rss "
    "source sources staff subscription video africa asia au australia business canada china "
    "europe india international live magazine markets money newspaper radio tv uk us usa world"
)
TRAILING_ZH = tuple(
    sorted(
        word_set(
            "微信公众号 官方微博 客户端 客戶端 公众号 微信号 记者 記者 网站 官网 官微 微博 微信 快讯 "
            "APP App app"
        )
    )
)
# What may stand behind a name in a handle: WSJAsia, BloombergUK, ReutersBiz.
HANDLE_ENDS = tuple(
    sorted(
        word_set(
            "africa asia au biz breaking business canada china deals economy energy europe finance hk "
            "india japan live markets money news now opinion politics tech tv uk us world"
        )
    )
)


class Role(StrEnum):
    """Whose texts a publisher shows, by the name in the column `role`; none there is PUBLISHER."""

    PUBLISHER = "publisher"  # its own, or those it credits
    SYNDICATOR = "syndicator"  # mostly those of others: a portal, an aggregator
    PLATFORM = "platform"  # those of its users: a social network, a link shortener


@dataclass(frozen=True, slots=True)
class Publishers:
    """The families by host, by the key of a name (`name_key`) and by handle.

    `words` are the keys of names that are also words.  `openings` has the names that are not English by their
    first two characters, longest first.
    """

    hosts: Mapping[str, str]
    names: Mapping[str, str]
    handles: Mapping[str, str]
    words: frozenset[str]
    roles: Mapping[str, Role]
    openings: Mapping[str, Sequence[tuple[str, str]]]

    def role(self, family: str) -> Role:
        """The role of a family or a site."""
        return self.roles.get(family, Role.PUBLISHER)

    def by_host(self, host: str) -> str | None:
        """The family with the longest listed suffix of a host; None if none is listed."""
        suffix = host
        while suffix:
            if (family := self.hosts.get(suffix)) is not None:
                return family
            suffix = suffix.partition(".")[2]
        return None

    def site(self, host: str) -> str:
        """The family of a host, else its site, such as example.co.uk for news.example.co.uk."""
        return self.by_host(host) or _site(host)

    def by_name(self, name: str) -> str | None:
        """The family that a name, a domain or an address stands for."""
        return self._by_key(name, frozenset())

    def by_plain_name(self, name: str) -> str | None:
        """The same, but not for names that are also words, persons or companies."""
        return self._by_key(name, self.words)

    def by_handle(self, handle: str) -> str | None:
        """The family of a handle, without its @."""
        key = name_key(handle)
        if found := self.handles.get(key) or self.names.get(key):
            return found
        for end in HANDLE_ENDS if key.endswith(HANDLE_ENDS) else ():
            shorter = key.removesuffix(end)
            if shorter != key and shorter not in self.words and (found := self.names.get(shorter)):
                return found
        return None

    def prefix(self, text: str) -> tuple[str, int] | None:
        """The family with whose Chinese name a text begins, and the end of the name.  The longest wins."""
        candidates = self.openings.get(text[:2].casefold())
        if candidates is None:
            return None
        beginning = text[:LONGEST_NAME].casefold()
        for name, family in candidates:
            if beginning.startswith(name):
                return family, len(name)
        return None

    def _by_key(self, name: str, excluded: frozenset[str]) -> str | None:
        if len(name) > LONGEST_NAME:
            return None
        if "$" in name:  # a ticker
            return None
        shorter: str | None = name
        while shorter:
            key = name_key(shorter)
            for each in (key, key.removeprefix("the")):
                if each in self.names and each not in excluded:
                    return self.names[each]
            shorter = _without_trailing_word(shorter)
        host = host_of(name) if "." in name and name.isascii() else None
        return self.by_host(host) if host else None


def name_key(name: str) -> str:
    """The letters and digits of a name in one case: PR Newswire, PRNewswire and PR-NEWSWIRE are one name."""
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    return NOT_WORD.sub("", name.casefold())


def plain_name(name: str) -> str:
    """A name that the list lacks in one spelling: lower case, one blank between words, no marks."""
    return " ".join(printable(unicodedata.normalize("NFKC", name)).casefold().split()).strip(MARKS)


def host_of(address: str | None) -> str | None:
    """The host of an address in lower case, international ones in ASCII; None without one.  Never raises."""
    if not address:
        return None
    match = ADDRESS.match(address)
    if match is None or len(match[2]) > LONGEST_HOST:
        return None
    host = match[2].rstrip(".").lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    is_host = HOST.fullmatch(host) or (match[1] and NUMBERS.fullmatch(host))
    return host.removeprefix("www.") if is_host else None


def load_publishers(path: Path | None = None) -> Publishers:
    """The shipped publishers, and those of a file of the same columns, which win.

    Raises InputFileError, which names the file and each line with an error.
    """
    if path is None:
        return shipped_publishers()
    table = _Table()
    table.add(SHIPPED)
    table.add(path)
    return table.publishers()


@cache
def shipped_publishers() -> Publishers:
    """The publishers of `publishers.csv`, read once."""
    table = _Table()
    table.add(SHIPPED)
    return table.publishers()


@dataclass
class _Table:
    """What was read so far."""

    hosts: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    handles: dict[str, str] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    roles: dict[str, Role] = field(default_factory=dict)
    openings: set[str] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """Add the rows of a file.  A host or a name that is there already moves to the new family."""
        errors: list[str] = []
        seen: dict[str, tuple[str, int]] = {}
        for line, row in _rows(path):
            try:
                for what, family in self._add_row(row):
                    if seen.setdefault(what, (family, line))[0] != family:
                        errors.append(f"{path}:{line}: {what!r} is on line {seen[what][1]} too")
            except ValueError as error:
                errors.append(f"{path}:{line}: {error}")
        if errors:
            rest = [f"{len(errors) - MOST_ERRORS} more errors"] if len(errors) > MOST_ERRORS else []
            raise InputFileError("\n".join([*errors[:MOST_ERRORS], *rest]))

    def publishers(self) -> Publishers:
        openings: dict[str, list[tuple[str, str]]] = {}
        for name in sorted(self.openings, key=len, reverse=True):
            if (key := name_key(name)) not in self.words:
                openings.setdefault(name[:2], []).append((name, self.names[key]))
        words = frozenset(self.words)
        return Publishers(self.hosts, self.names, self.handles, words, self.roles, openings)

    def _add_row(self, row: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The hosts and names of a row, and its family.  Raises ValueError."""
        family = row["family"]
        if not FAMILY.fullmatch(family) or len(family) > LONGEST_FAMILY:
            allowed = f"1 to {LONGEST_FAMILY} lower-case letters, digits and hyphens"
            raise ValueError(f"family is {family!r}, but must be {allowed}")
        if role := row.get("role"):
            if role not in set(Role):
                raise ValueError(f"role is {role!r}, but must be empty or one of {', '.join(Role)}")
            self.roles[family] = Role(role)
        for host in _cells(row["hosts"]):
            checked = _checked_host(host)
            self.hosts[checked] = family
            yield checked, family
        for name in _cells(row["names"]):
            key = name_key(name)
            if not key or len(name) > LONGEST_NAME:
                raise ValueError(f"name {name!r} must have letters, and at most {LONGEST_NAME} characters")
            self._add_name(name, key, family)
            yield f"@{key}" if name.startswith("@") else key, family

    def _add_name(self, name: str, key: str, family: str) -> None:
        if name.startswith("@"):
            self.handles[key] = family
            return
        self.names[key] = family
        if not key.isascii():
            self.openings.add(name.rstrip("?").casefold())
        if name.endswith("?"):
            self.words.add(key)
        else:
            self.words.discard(key)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file with their line numbers.  Raises InputFileError."""
    with open_text(path) as file:
        reader = csv.reader(file.lines, strict=True)
        try:
            header = [cell.strip().lower() for cell in next(reader, [])]
            _check_header(path, header)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(header):
                    raise InputFileError(
                        f"{path}:{reader.line_num}: more cells than the first line has columns"
                    )
                if not all(map(is_valid, cells)):
                    raise InputFileError(f"{path}:{reader.line_num}: not UTF-8: save the file as UTF-8")
                row = dict.fromkeys(header, "") | dict(zip(header, map(str.strip, cells), strict=False))
                yield reader.line_num, row
        except (csv.Error, UnicodeError) as error:
            raise InputFileError(f"{path}:{reader.line_num}: cannot be read: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in header]
    unknown = [column for column in header if column not in COLUMNS + OPTIONAL_COLUMNS]
    if missing or unknown:
        columns = f"the columns {', '.join(COLUMNS)}, and optionally {', '.join(OPTIONAL_COLUMNS)}"
        raise InputFileError(f"{path}:1: the first line must name {columns}, not {', '.join(header)}")


def _cells(cell: str) -> Iterator[str]:
    return filter(None, map(str.strip, cell.split(";")))


def _checked_host(host: str) -> str:
    """A host as `host_of` gives it.  Raises ValueError."""
    found = host_of(host)
    if found is None or "/" in host or not HOST.fullmatch(found):
        raise ValueError(f"host {host!r} must be a domain, such as example.com")
    return found


def _site(host: str) -> str:
    labels = host.split(".")
    if len(labels) < 3 or ":" in host or labels[-1].isdigit():
        return host
    is_shared = ".".join(labels[-2:]) in SHARED_DOMAINS
    is_country = len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL
    return ".".join(labels[-3:] if is_shared or is_country else labels[-2:])


def _without_trailing_word(name: str) -> str | None:
    before, _, last = name.rstrip().rpartition(" ")
    if before and name_key(last) in TRAILING_WORDS:
        return before
    for suffix in TRAILING_ZH if name.endswith(TRAILING_ZH) else ():
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return None
