"""Edits of a text that remember where in the text as it was sent each character came from."""

from collections.abc import Iterable, Sequence

# Replace the characters from start up to end.
Edit = tuple[int, int, str]


class Draft:
    """A text under work, and where in the text as sent each of its characters came from."""

    def __init__(
        self, text: str, starts: Sequence[int] | None = None, ends: Sequence[int] | None = None
    ) -> None:
        self.text, self.starts, self.ends = text, starts, ends

    def edit(self, edits: Iterable[Edit]) -> None:
        """Replace spans, given in order.  A replacement of the same length keeps the places one by one."""
        text = self.text
        old_starts: Sequence[int] = range(len(text)) if self.starts is None else self.starts
        old_ends: Sequence[int] = range(1, len(text) + 1) if self.ends is None else self.ends
        parts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for start, end, new in edits:
            kept = end if end - start == len(new) else start
            parts += (text[at:start], new)
            starts += old_starts[at:kept]
            ends += old_ends[at:kept]
            if kept < end:
                starts += [old_starts[start]] * len(new)
                ends += [old_ends[end - 1]] * len(new)
            at = end
        if not at:
            return
        parts.append(text[at:])
        starts += old_starts[at:]
        ends += old_ends[at:]
        self.text, self.starts, self.ends = "".join(parts), starts, ends

    def replace(self, text: str) -> None:
        """Take a text of the same length, character for character."""
        self.text = text
