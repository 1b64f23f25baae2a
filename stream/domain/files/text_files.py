"""Opens a file of texts as text: compressed or not, in UTF-8 or another encoding.

What a file is, its first bytes say.  A file that is no text, or text in an encoding that cannot be known, is
refused with the option or program that helps: read as something else, it would give labels for garbage.
"""

import bz2
import codecs
import gzip
import io
import lzma
import mmap
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import cramjam

from stream.domain.errors import InputFileError

Read = Callable[[int], bytes]
Progress = Callable[[int], None]

# How much of a file decides what it is.
HEAD_BYTES = 65_536
OTHER_ENCODINGS = (
    "name its encoding, such as --encoding gb18030 or big5 (Chinese), shift_jis (Japanese), cp1252 (Western)"
)
UTF_16 = "if it is UTF-16 without a byte-order mark, --encoding utf-16-le (or utf-16-be) reads it"
# Documents with texts among their tags.
MARKUP = (b"<?xml", b"<!doctype", b"<html", b"<rss", b"<feed", b"{\\rtf")
BLANKS = " \t\r\0"
# zstd is unpacked at once, into memory that is mapped; a larger file comes through `zstd -dc`.
MAX_ZSTD_BYTES = 1 << 30
# A text from a PDF may hold a few; UTF-16 read as UTF-8, and what is no text, has more.
MOST_NULS = 10  # percent of its characters
# Errors of damaged compressed files.
UNPACK_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, cramjam.DecompressionError)
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    b"\x84\x31\x95\x33": "gb18030",
}
# The first bytes of what is no text, and how to get the text.
NOT_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: save the sheet as CSV UTF-8",
    b"%PDF": "a PDF document: export its texts first",
    b"PAR1": "a Parquet file: write its rows as JSON lines first",
    b"Obj\x01": "an Avro file: write its rows as JSON lines first (avro-tools tojson)",
    b"SQLite format 3": "an SQLite database: export its rows as CSV first",
    b"\x04\x22\x4d\x18": "compressed with lz4: pass it through `lz4 -dc`",
    b"\x1f\x9d": "compressed with compress: pass it through `zcat`",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive: unpack it first",
    b"Rar!\x1a\x07": "a RAR archive: unpack it first",
}


@dataclass(frozen=True, slots=True)
class OpenText:
    """A file that is open as text.  `head` is its beginning, which `lines` gives again."""

    name: str
    head: str
    lines: TextIO


class _Source(io.RawIOBase):
    """What was already read of a file, and then the rest of it."""

    def __init__(self, head: bytes, read: Read) -> None:
        self._head, self._read = head, read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._head[: len(buffer)] or self._read(len(buffer))
        self._head = self._head[len(part) :]
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def open_text(
    path: Path, encoding: str | None = None, progress: Progress = lambda size: None
) -> Iterator[OpenText]:
    """Open a file, or standard input for `-`, as text.  It is read once, so it may be a pipe.

    `encoding` is that of a file without a byte-order mark, UTF-8 if None.  A byte that is invalid in it
    becomes half a surrogate pair, so `is_valid` finds its line.  `progress` gets the number of bytes read.
    Raises InputFileError.
    """
    with ExitStack() as stack:
        try:
            unpacked = _unpacked(path, stack, progress)
            head = _head(unpacked, lambda head: b"\n" in head.lstrip())
        except UNPACK_ERRORS as error:
            raise InputFileError(f"{path}: cannot be read: {error}") from error
        mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
        if not mark:
            _refuse_other_formats(path, head, encoding)
        codec = BYTE_ORDER_MARKS[mark] if mark else encoding or "utf-8"
        head = head.removeprefix(mark)
        try:
            wide = codecs.lookup(codec).name.startswith(("utf-16", "utf-32"))
            text = head.decode(codec, "replace").removeprefix("\ufeff")
        except LookupError as error:
            raise InputFileError(
                f"{path}: {codec!r} is no encoding, such as utf-8, gb18030 or cp1252"
            ) from error
        if text.count("\0") * 100 > len(text) * MOST_NULS:
            raise InputFileError(f"{path}: not a text file, or not in {codec}: it is full of NUL bytes")
        if not mark and not encoding:
            _refuse_other_encodings(path, head)
        lines = io.TextIOWrapper(
            io.BufferedReader(_Source(head, unpacked), HEAD_BYTES),
            encoding=codec,
            errors="strict" if wide else "surrogateescape",
            newline="\r" if "\r" in text and "\n" not in text else "\n",
        )
        yield OpenText(str(path), text, stack.enter_context(lines))


def is_valid(line: str) -> bool:
    """Whether every byte of the line was valid in the encoding of its file."""
    if line.isascii():
        return True
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def encoding_hint(line: str) -> str:
    """Which encoding a line that is not UTF-8 may have."""
    data = line.encode("utf-8", "surrogateescape")
    try:
        text = data.decode("gb18030")
        text.encode("gb2312")  # the usual characters: bytes of another encoding give rare ones
    except UnicodeError:
        return OTHER_ENCODINGS
    return f"--encoding gb18030 reads it as {text.strip()[:20]!r}"


def _unpacked(path: Path, stack: ExitStack, progress: Progress) -> Read:
    """The function that reads the content of a file: unpacked, if its first bytes say that it is packed."""
    file: Any = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))

    def read(size: int) -> bytes:
        part: bytes = file.read1(size)
        progress(len(part))
        return part

    longest = max(map(len, UNPACKERS))
    head = _head(read, lambda head: len(head) >= longest or not any(m.startswith(head) for m in UNPACKERS))
    for mark, unpack in UNPACKERS.items():
        if head.startswith(mark):
            return unpack(io.BufferedReader(_Source(head, read), HEAD_BYTES))
    return io.BufferedReader(_Source(head, read), HEAD_BYTES).read1


def _head(read: Read, is_enough: Callable[[bytes], bool]) -> bytes:
    """The beginning of a stream: no more than is enough, so that a line of a pipe is seen when it comes."""
    head = b""
    while len(head) < HEAD_BYTES and not (head and is_enough(head)):
        part = read(HEAD_BYTES - len(head))
        if not part:
            break
        head += part
    return head


def _unzstd(packed: BinaryIO) -> Read:
    data = packed.read(MAX_ZSTD_BYTES + 1)
    # Memory that is mapped costs nothing before it is written.
    buffer = mmap.mmap(-1, MAX_ZSTD_BYTES)
    try:
        size = cramjam.zstd.decompress_into(data, buffer)
    except cramjam.DecompressionError as error:
        if "whole buffer" not in str(error):
            raise
        limit = f"more than {MAX_ZSTD_BYTES:,} bytes of zstd"
        raise OSError(f"{limit}: pass it through `zstd -dc`, and give - as the file") from error
    unpacked = io.BytesIO(memoryview(buffer)[:size])
    return unpacked.read1


UNPACKERS: Mapping[bytes, Callable[[BinaryIO], Read]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed).read1,
    b"BZh": lambda packed: bz2.BZ2File(packed).read1,
    b"\xfd7zXZ\x00": lambda packed: lzma.LZMAFile(packed).read1,  # noqa: SIM115
    b"\x28\xb5\x2f\xfd": _unzstd,
}


def _refuse_other_formats(path: Path, head: bytes, encoding: str | None) -> None:
    for mark, what in NOT_TEXT.items():
        if head.startswith(mark):
            raise InputFileError(f"{path}: this is {what}")
    if any(head.startswith(mark) for mark in UNPACKERS):
        raise InputFileError(f"{path}: compressed twice: unpack it first")
    if head[257:262] == b"ustar":
        raise InputFileError(f"{path}: a tar archive: pass it through `tar -xO`, and give - as the file")
    if head[:100].lstrip().lower().startswith(MARKUP):
        raise InputFileError(f"{path}: XML, HTML or RTF: write its texts as JSON lines or CSV first")
    if b"\0" in head[:4] and not encoding:
        wide = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        advice = f"if it is UTF-16 without a byte-order mark, --encoding {wide} reads it"
        raise InputFileError(f"{path}: not UTF-8: it holds NUL bytes; {advice}")


def _refuse_other_encodings(path: Path, head: bytes) -> None:
    """Raise InputFileError if most lines at the beginning are not UTF-8: then the file is not."""
    # The head may end within a character, which this decoder waits for.
    beginning = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(head)
    lines = [(number, line) for number, line in enumerate(beginning.split("\n"), 1) if line.strip(BLANKS)]
    invalid = [(number, line) for number, line in lines if not is_valid(line)]
    if len(invalid) * 2 > len(lines):
        number, line = invalid[0]
        hint = UTF_16 if b"\0" in head else encoding_hint(line)
        raise InputFileError(f"{path}:{number}: the file is not UTF-8; {hint}")
