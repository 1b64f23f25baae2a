"""Who first said a text: its origin, a short text that is equal for texts of one publisher or author.

The origin is, in this order: a credit in the text (`stream.stories.credits`); the publisher of its address;
its author; its source.  A portal that shows the texts of others, and a social network, come after a known
author.  The origin of a comment is its author.  A comment without an author, and news of which nothing is
known, is an origin of its own.
"""

import re

from stream.domain.documents import UNKNOWN_SOURCE, Document, Kind, printable, shorten_name
from stream.domain.stories import LONGEST_ORIGIN
from stream.stories.credits import author_in_text, find_credits, publisher_in_byline
from stream.stories.publishers import Publishers, Role, host_of, name_key, plain_name, word_set

# How much of an author is read, in characters.
MOST_OF_AUTHOR = 512
BEFORE_AUTHOR = re.compile(
    r"\s*(?:(?:written )?by\b\s*:?\s+|/?u/|(?:作者|撰文|文|记者|記者)\s*[:：/／]\s*)", re.IGNORECASE
)
# Who gives one of these names gives none; see `name_key`.
NOBODY = word_set(
    "anonymous anon guest unknown deleted removed none null na nan user 匿名 匿名用户 匿名用戶 "
    "佚名 网友 網友 游客 未知 用户已注销"
)
# The same for authors of news.
NO_AUTHOR = NOBODY | word_set(
    "admin administrator agencies author contributor contributors correspondent editor editors "
    "editorial news newsdesk newsroom reporter staff staffreporter staffwriter webdesk webmaster "
    "wires 编辑 編輯 记者 記者 小编 本报记者 本站 综合 网络 整理"
)


def origin(document: Document, publishers: Publishers) -> str:
    """Who first said the text of a document: at most LONGEST_ORIGIN printable characters, never empty.

    It is a family of `publishers`, a site, an author or a source in lower case, or the document's key.  It
    depends on the document and the table alone.  Never raises, whatever the document holds.
    """
    if document.kind is Kind.COMMENT:
        author = _plain_author(document.author or "")
        found = "" if name_key(author) in NOBODY else author
    else:
        found = _news_origin(document, publishers)
    return shorten_name(printable(found).strip() or document.key, LONGEST_ORIGIN)


def _news_origin(document: Document, publishers: Publishers) -> str:
    syndicator = ""
    for text in (document.text, document.title):
        for credit in find_credits(text, publishers) if text else ():
            role = publishers.role(credit)
            if role is Role.PUBLISHER:
                return credit
            if role is Role.SYNDICATOR:
                syndicator = syndicator or credit
    host = host_of(document.url)
    site = publishers.site(host) if host else ""
    role = publishers.role(site) if site else Role.PLATFORM
    if role is Role.PUBLISHER:
        return syndicator or site
    if role is Role.SYNDICATOR:
        syndicator = syndicator or site
    return _of_author_or_source(document, publishers, syndicator)


def _of_author_or_source(document: Document, publishers: Publishers, syndicator: str) -> str:
    """The author or the source, empty without both; for a syndicator's text a known publisher or itself."""
    author = (document.author or author_in_text(document.text) or "")[:MOST_OF_AUTHOR]
    by_author = publisher_in_byline(author, publishers) if author else None
    if by_author and publishers.role(by_author) is Role.PUBLISHER:
        return by_author
    by_source = publishers.by_name(document.source)
    if syndicator:
        is_publisher = by_source and publishers.role(by_source) is Role.PUBLISHER
        return by_source if by_source and is_publisher else syndicator
    if by_author and publishers.role(by_author) is Role.SYNDICATOR:
        return by_author
    author = _plain_author(author)
    if author and not by_author and name_key(author) not in NO_AUTHOR:
        return author
    return "" if document.source == UNKNOWN_SOURCE else by_source or plain_name(document.source)


def _plain_author(author: str) -> str:
    before = BEFORE_AUTHOR.match(author)
    return plain_name(author[before.end() if before else 0 :][:MOST_OF_AUTHOR])
