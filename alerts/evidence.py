"""Which documents stand for an alert: the worst ones, one of each story."""

from collections.abc import Iterable
from dataclasses import replace

from stream.domain.alerts import EvidenceItem

# Texts that share so much of their words, of all that both have, tell the same story (Jaccard).
SAME_STORY = 0.5
# An alert travels: of a whole article its beginning must do.
SHOWN = 500


def stories(found: Iterable[EvidenceItem], limit: int) -> tuple[EvidenceItem, ...]:
    """The first `limit` of them that do not tell what an earlier one tells, in their order."""
    kept: list[tuple[set[str], EvidenceItem]] = []
    for exhibit in found:
        said = words(exhibit.content)
        if all(len(said & other) < SAME_STORY * len(said | other) for other, _ in kept):
            kept.append((said, replace(exhibit, content=exhibit.content[:SHOWN])))
        if len(kept) == limit:
            break
    return tuple(exhibit for _, exhibit in kept)


def words(text: str) -> set[str]:
    """Its words without links, marks and case; in Chinese pairs of signs, since there are no spaces."""
    found: set[str] = set()
    for word in text.casefold().split():
        if "://" in word:
            continue
        letters = "".join(char for char in word if char.isalnum())
        if any("\u3400" <= char <= "\u9fff" for char in letters):
            found |= {letters[i : i + 2] for i in range(max(1, len(letters) - 1))}
        elif letters:
            found.add(letters)
    return found
