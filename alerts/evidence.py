"""Which documents are the evidence of an alert: the most negative ones, one of each story."""

from collections.abc import Iterable
from dataclasses import replace

from stream.domain.alerts import EvidenceItem
from stream.domain.cleaning import clean

# Documents that share this much of all their words (Jaccard similarity) tell the same story.
SAME_STORY = 0.5
# An alert is sent to receivers, so it carries only the beginning of an article.
LONGEST_CONTENT = 500


def distinct_stories(items: Iterable[EvidenceItem], limit: int) -> tuple[EvidenceItem, ...]:
    """The first `limit` items that tell different stories, in their order, as a reader sees their texts.

    Markup and boilerplate, which stories of one feed share, tell none apart and are not shown.
    """
    kept: list[tuple[set[str], EvidenceItem]] = []
    for item in items:
        news = clean(item.content).news
        content = item.content if news.starts is None else news.text
        own_words = words(news.text)
        if all(len(own_words & other) < SAME_STORY * len(own_words | other) for other, _ in kept):
            kept.append((own_words, replace(item, content=content[:LONGEST_CONTENT])))
        if len(kept) == limit:
            break
    return tuple(item for _, item in kept)


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
