"""Characters that were decoded by the wrong encoding: what to replace so that they read right again."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from stream.domain.text.edits import Edit

LINE = re.compile("[^\n]+")
# What UTF-8 looks like in another encoding: a letter of Latin, Greek or Cyrillic (or what stands for its byte
# there) next to another character that is not ASCII, or one before a blank.
SUSPECT = re.compile("[\xc0-\xd6\xd8-\xf6\xf8-\u04ff√├┬‚¬][^\x00-\x7f]|[ÂÃÎÐâ](?![A-Za-z])")
# GB 2312 that was decoded as Latin-1: only the upper half, two characters for each Chinese one.
LATIN = re.compile("[\xa1-\xfe]{2,}")
LATIN_RUN = "[\xa1-\xfe]{4}"
# Runs of what is not ASCII, such as UTF-8 that was decoded as GBK leaves them.
HIGH = re.compile("[^\x00-\x7f\ufffd]+\ufffd?")
# What such a run reads as: Chinese and its punctuation, or typographic punctuation with a letter.
CHINESE = re.compile("[\u2010-\u2027\u3000-\u303f\u3400-\u9fff\uff00-\uffef\ufffd]+")
TYPOGRAPHIC = re.compile("(?:[\u2010-\u2027]+[ -~]?)+")
# The first bytes of these characters in UTF-8.
LEADS = b"\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xef"


def utf8_as_other(text: str) -> Iterator[Edit]:
    """UTF-8 that was decoded as Windows-1252, Latin-1 and the like, line by line."""
    for line in LINE.finditer(text):
        if SUSPECT.search(line[0]):
            yield from _one_layer(line[0], line.start())


def _one_layer(text: str, offset: int) -> Iterator[Edit]:
    """One layer of wrong decoding undone, as edits of single characters where they can be told apart."""
    ftfy = _ftfy()
    _, plan = ftfy.fix_encoding_and_explain(text)
    ends = [index for index, step in enumerate(plan or (), 1) if step.action in ("decode", "apply")]
    if not ends:
        return
    steps = plan[: ends[0]]
    if steps[-1].action == "apply":
        # Only some characters are wrong: find them.
        for match in ftfy.chardata.UTF8_DETECTOR_RE.finditer(text):
            if len(match[0]) < len(text) and ftfy.badness.is_bad(match[0]):
                yield from _one_layer(match[0], offset + match.start())
        return
    fixed: str = ftfy.apply_plan(text, steps)
    # In an encoding of one byte a character, a character of n bytes in UTF-8 was n characters.
    is_utf8 = steps[-1].parameter.startswith("utf-8")
    widths = [len(char.encode("utf-8", "surrogatepass")) if is_utf8 else 1 for char in fixed]
    if sum(widths) != len(text):
        yield offset, offset + len(text), fixed
        return
    at = 0
    for char, width in zip(fixed, widths, strict=True):
        if text[at : at + width] != char:
            yield offset + at, offset + at + width, char
        at += width


def gb2312_as_latin(text: str) -> Iterator[Edit]:
    """GB 2312 that was decoded as Latin-1: runs in which two characters each are a Chinese one."""
    runs = [(match.start(), _gb2312(match[0])) for match in LATIN.finditer(text)]
    # One long run shows that this happened; then the short ones between figures are Chinese too.
    if any(fixed is not None and len(set(fixed)) > 1 for _, fixed in runs):
        for start, fixed in runs:
            for index, char in enumerate(fixed or ""):
                yield start + 2 * index, start + 2 * index + 2, char


def _gb2312(run: str) -> str | None:
    data = run.encode("latin-1")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            fixed = data.decode("gb2312")
        except UnicodeDecodeError:
            return None
        return fixed if CHINESE.fullmatch(fixed) else None
    return None


def utf8_as_gbk(text: str) -> Iterator[Edit]:
    """UTF-8 that was decoded as GBK: three characters are two Chinese ones."""
    if not may_be_gbk(text):
        return
    for match in HIGH.finditer(text):
        fixed = _utf8(match[0]) if _gbk_leads().match(match[0]) else None
        if fixed is None:
            continue
        # An edit ends where a character of both ends.
        start, at, new = match.start(), 0, ""
        for char in fixed:
            new += char
            at += len(char.encode())
            if at % 2 == 0:
                yield start, match.start() + at // 2, new
                start, new = match.start() + at // 2, ""
        if start < match.end():
            yield start, match.end(), new


def may_be_gbk(text: str) -> bool:
    """Whether a run of the text begins as UTF-8 does that was decoded as GBK."""
    return _gbk_leads().search(text) is not None


def _utf8(run: str) -> str | None:
    """What the run is in UTF-8; of a last character that lost a byte U+FFFD is left."""
    try:
        data = run.rstrip("\ufffd").encode("gbk")
    except UnicodeEncodeError:
        return None
    try:
        fixed = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(data) or error.start < len(data) - 2 or not run.endswith("\ufffd"):
            return None
        fixed = data[: error.start].decode("utf-8") + "\ufffd"
    return fixed if CHINESE.fullmatch(fixed) or TYPOGRAPHIC.fullmatch(fixed) else None


@cache
def _gbk_leads() -> re.Pattern[str]:
    """A run that begins with a character of GBK whose first byte begins a Chinese one in UTF-8."""
    codes = (bytes([lead, trail]) for lead in LEADS for trail in range(0x80, 0xC0))
    first = "".join(code.decode("gbk", "ignore") for code in codes)
    return re.compile(f"(?<![^\x00-\x7f])[{first}][^\x00-\x7f]")


@cache
def _ftfy() -> Any:
    import ftfy

    return ftfy
