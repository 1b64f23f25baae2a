"""Which documents are the evidence of an alert: the most negative ones, of every story one first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from stream.domain.alerts import EvidenceItem
from stream.domain.text.cleaning import clean

# Documents that share this much of all their words (Jaccard similarity) say the same.
SAME_WORDS = 0.5
# An alert is sent to receivers, so it carries only the beginning of an article.
LONGEST_CONTENT = 500


def distinct_stories(items: Iterable[EvidenceItem], limit: int) -> tuple[EvidenceItem, ...]:
    """The first `limit` items that say different things, as a reader sees their texts.

    One item of each story comes first, a voice if it has any, then the others.  Items of no story are told
    apart by their words alone.  Markup and boilerplate, which texts of one feed share, tell none apart and
    are not shown.
    """
    kept: list[tuple[set[str], EvidenceItem]] = []
    for item in _stories_first(list(items)):
        news = clean(item.content).news
        content = item.content if news.starts is None else news.text
        own_words = words(news.text)
        if all(len(own_words & other) < SAME_WORDS * len(own_words | other) for other, _ in kept):
            kept.append((own_words, replace(item, content=content[:LONGEST_CONTENT])))
        if len(kept) == limit:
            break
    return tuple(item for _, item in kept)


def _stories_first(items: Sequence[EvidenceItem]) -> Iterator[EvidenceItem]:
    """One item of each story, in the order of their stories; then the others."""
    by_story: dict[tuple[int | None, int], EvidenceItem] = {}
    for place, item in enumerate(items):
        story = (item.story, place if item.story is None else 0)
        first = by_story.setdefault(story, item)
        if item.is_voice and not first.is_voice:
            by_story[story] = item
    yield from by_story.values()
    chosen = set(map(id, by_story.values()))
    yield from (item for item in items if id(item) not in chosen)


def words(text: str) -> set[str]:
    """The words of a text without links, punctuation and case.

    Chinese has no spaces, so its words are all pairs of neighbouring characters.
    """
    result: set[str] = set()
    for word in text.casefold().split():
        if "://" in word:
            continue
        letters = "".join(char for char in word if char.isalnum())
        if any("\u3400" <= char <= "\u9fff" for char in letters):
            result |= {letters[i : i + 2] for i in range(max(1, len(letters) - 1))}
        elif letters:
            result.add(letters)
    return result
