"""Relevance: how much a text is about each of its entities, from 0 to 100.

    relevance = 100 x place x share x role x list

    place   1 in the headline; in the body it falls with the sentence of the first mention
    share   falls once the other entities have more than twice as many mentions
    role    1 for the first entity of a sentence, if it begins the sentence, as the subject mostly does
    list    1 for an entity that is named outside of lists; else it falls with the length of the list

docs/entities.md compares this with the definitions that vendors of news analytics publish.  In a given text,
another entity never raises the relevance of one.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

# A half-open range of characters.
Range = tuple[int, int]
# Where a mention is, and the index of its entity.
Mention = tuple[int, int, int]

# A text without a title has its first sentence as a headline, and no more than the length of a post.
LONGEST_HEADLINE = 280
# The place of what the first sentence of the body names, of what a far one names, and how fast it falls.
BODY, FAR, SENTENCES = 0.8, 0.3, 2
# So many entities of a text share it without loss.
EQUALS = 3
NO_SUBJECT = 0.85
# Characters before the subject of a sentence: an article, a quotation mark, "Shares of".
BEFORE_SUBJECT = 16
LIST_POWER = 1.5
# What only the symbols of the message name: the feed says that the text is about it, the text does not.
SYMBOLS_ONLY = 40
# A full stop is the end of a sentence before a blank, unless it is that of an abbreviation.
SENTENCE_END = re.compile(
    r"[。！？!?；\n.](?:(?<!\.)|(?=[\"'”’)]?\s)(?<!\bInc\.)(?<!\bCorp\.)(?<!\bCo\.)(?<!\bLtd\.)(?<!\bBros\.)"
    r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\bvs\.)(?<!\b[A-Z]\.))"
)
# Names with only this between them are in a list: also unknown tickers, prices and changes, and exchanges.
LONGEST_SEPARATOR, LONGEST_REST = 80, 400
SEPARATOR = re.compile(
    r"(?:[^\w$#]|[\d_]|[$#]\w*+|\b[A-Z]{1,5}\b|\b(?i:and|or|und|et|pct|bps|nasdaq|nyse|otc\w{0,4})\b|[和与及跟或])*+"
)
TAG = re.compile(r"<[^<>]{0,80}>|&#?\w{1,8};")
# What the members of a list are counted by, if not all of them are known: their tickers, or what is between
# separators, without figures.
TICKER, BETWEEN = re.compile(r"[$#]([A-Za-z]\w*)"), re.compile(r"[,;|，；](?!\d)|、")
NO_LETTER = re.compile(r"[\W\d_]+")


def relevances(entities: Sequence[Sequence[Range]], text: str, title_length: int = 0) -> list[int]:
    """The relevance of each entity, in order.

    An entity is the ranges of `text` that name it, in order; none if only the symbols of the message do.
    The first `title_length` characters are the title; 0 if there is none.
    """
    mentions = sorted((start, end, index) for index, own in enumerate(entities) for start, end in own)
    of_symbol = round(SYMBOLS_ONLY * min(1.0, EQUALS / max(len(entities), 1)) ** LIST_POWER)
    if not mentions:
        return [of_symbol] * len(entities)
    sentences = _sentences(text, mentions[-1][1])
    headline = title_length or min(LONGEST_HEADLINE, *sentences[:1], LONGEST_HEADLINE)
    shares, subjects = _shares(mentions, sentences, headline), _subjects(mentions, sentences)
    lists = _shortest_lists(mentions, text)
    return [
        round(
            100
            * _place(own[0][0], sentences, headline)
            * min(1.0, EQUALS * shares[index]) ** 0.5
            * (1.0 if index in subjects else NO_SUBJECT)
            * min(1.0, EQUALS / lists[index]) ** LIST_POWER
        )
        if own
        else of_symbol
        for index, own in enumerate(entities)
    ]


def _sentences(text: str, end: int) -> list[int]:
    """The ends of the sentences of a text that are before `end`."""
    ends: list[int] = []
    for match in SENTENCE_END.finditer(text, 0, end):
        if ends and ends[-1] == match.start():
            ends[-1] = match.end()
        else:
            ends.append(match.end())
    return ends


def _place(first: int, sentences: Sequence[int], headline: int) -> float:
    """Of a first mention at character `first`; sentences and the headline are given by their ends."""
    if first < headline:
        return 1.0
    before = bisect_right(sentences, first) - bisect_right(sentences, headline)
    return FAR + (BODY - FAR) / (1 + max(before, 0) / SENTENCES)


def _shares(mentions: Sequence[Mention], sentences: Sequence[int], headline: int) -> dict[int, float]:
    """The share of each entity in the mentions of the text, or of a sentence of the headline, the larger one.

    Of the other entities a sentence counts for EQUALS mentions at most: thirty tickers in a row do not make a
    text less about what the rest of it is about.
    """
    by_sentence: dict[int, Counter[int]] = {}
    for start, _, index in mentions:
        by_sentence.setdefault(bisect_right(sentences, start), Counter())[index] += 1
    most = sum(min(EQUALS, counts.total()) for counts in by_sentence.values())
    own, others, in_headline = Counter[int](), dict[int, int](), dict[int, float]()
    last = bisect_right(sentences, headline - 1)
    for sentence, counts in by_sentence.items():
        total = counts.total()
        for index, count in counts.items():
            own[index] += count
            rest = min(EQUALS, total - count)
            others[index] = others.get(index, most) + rest - min(EQUALS, total)
            if sentence <= last:
                in_headline[index] = max(count / (count + rest), in_headline.get(index, 0.0))
    return {
        index: max(count / (count + others[index]), in_headline.get(index, 0.0))
        for index, count in own.items()
    }


def _subjects(mentions: Sequence[Mention], sentences: Sequence[int]) -> set[int]:
    """The entities that are the first of a sentence, and near its beginning."""
    subjects: set[int] = set()
    last = -1
    for start, _, index in mentions:
        sentence = bisect_right(sentences, start)
        if sentence != last:
            last = sentence
            if start - (sentences[sentence - 1] if sentence else 0) <= BEFORE_SUBJECT:
                subjects.add(index)
    return subjects


def _shortest_lists(mentions: Sequence[Mention], text: str) -> dict[int, int]:
    """The length of the shortest list that names each entity; 1 if it is named outside of lists."""
    shortest: dict[int, int] = {}
    if len(mentions) == 1:
        return {mentions[0][2]: 1}
    for members in _lists(mentions, text):
        indexes = {index for _, _, index in members}
        size = len(indexes)
        if size > 1:
            size = max(size, _members(text, max(members[0][0] - 1, 0), members[-1][1]))
        for index in indexes:
            shortest[index] = min(size, shortest.get(index, size))
    return shortest


def _members(text: str, start: int, last: int) -> int:
    """How many members a list from `start` seems to have: the last known ends at `last`."""
    rest = SEPARATOR.match(text, last, last + LONGEST_REST)
    listed = _without_tags(text[start : rest.end() if rest else last])
    tickers = set(TICKER.findall(listed))
    named = {NO_LETTER.sub("", piece) for piece in BETWEEN.split(listed)}
    return max(len(tickers), len(named - {""}))


def _lists(mentions: Sequence[Mention], text: str) -> Iterator[list[Mention]]:
    """The mentions in groups, with nothing but separators between those of one group."""
    group = [mentions[0]]
    end = mentions[0][1]
    for mention in mentions[1:]:
        if not _is_separator(text, end, mention[0]):
            yield group
            group = []
        group.append(mention)
        end = max(end, mention[1])
    yield group


def _is_separator(text: str, start: int, end: int) -> bool:
    if end - start > LONGEST_SEPARATOR:
        return False
    return SEPARATOR.fullmatch(_without_tags(text[start:end])) is not None


def _without_tags(text: str) -> str:
    return TAG.sub(" ", text) if "<" in text or "&" in text else text
