"""Sources whose texts the classifier does not read: a feed in another language, or one that is tagged so.

Each text is counted as unsupported and none of them is lost, so nothing else shows that a feed says nothing.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream.domain.documents import HEARTBEAT_SOURCE, DocumentStatus, Kind
from stream.domain.records import ClassifiedDocument

log = logging.getLogger(__name__)

# Fewer texts say nothing about a source; those that came before about so many are forgotten by degrees.
FEWEST_TEXTS, REMEMBERED_TEXTS = 20, 200
# The sources that sent last; what a commenter writes into the field must not fill memory.
MOST_SOURCES = 4096
# A source that sends no more, was renamed, or whose partition went to another monitor is forgotten.
FORGOTTEN_AFTER = timedelta(days=1)
# A kind and a source.
Feed = tuple[Kind, str]


@dataclass(slots=True)
class _Texts:
    """How many of the latest texts of a source are unsupported; `shown` while that are most of them."""

    last_sent: datetime
    n: float = 0.0
    unsupported: float = 0.0
    shown: bool = False


class UnsupportedSources:
    """Knows the sources of which more than `share` of the latest texts are unsupported."""

    def __init__(self, share: float) -> None:
        self._share = share
        # The one that sent last is at the end.
        self._feeds: OrderedDict[Feed, _Texts] = OrderedDict()
        # The kinds of those that are shown, and when they sent last.  It is replaced, never changed, since
        # scrapes read it in another thread.
        self._shown: tuple[tuple[Kind, datetime], ...] = ()

    def count(self, documents: Iterable[ClassifiedDocument], now: datetime) -> None:
        """Count the documents of a batch; log which sources become mostly unsupported, or are read again."""
        while self._feeds and next(iter(self._feeds.values())).last_sent < now - FORGOTTEN_AFTER:
            self._feeds.popitem(last=False)
        counts: Counter[tuple[Kind, str, bool]] = Counter(
            (item.document.kind, item.document.source, item.prediction.status is DocumentStatus.UNSUPPORTED)
            for item in documents
            if item.document.source != HEARTBEAT_SOURCE
        )
        for (kind, source, is_unsupported), n in counts.items():
            texts = self._feeds.setdefault((kind, source), _Texts(now))
            self._feeds.move_to_end((kind, source))
            texts.last_sent = now
            texts.n += n
            texts.unsupported += n * is_unsupported
        for kind, source in {(kind, source) for kind, source, _ in counts}:
            self._look((kind, source))
        while len(self._feeds) > MOST_SOURCES:
            self._feeds.popitem(last=False)
        self._shown = tuple((key[0], texts.last_sent) for key, texts in self._feeds.items() if texts.shown)

    def _look(self, feed: Feed) -> None:
        texts = self._feeds[feed]
        share = texts.unsupported / texts.n
        is_shown = texts.n >= FEWEST_TEXTS and share > self._share
        if texts.n > REMEMBERED_TEXTS:
            texts.n, texts.unsupported = texts.n / 2, texts.unsupported / 2
        if is_shown and not texts.shown:
            log.warning(
                "%.0f%% of the latest texts of the source %r (%s) are unsupported, and count in no mood: "
                "they are in a language that the model does not read, or their field lang says so",
                100 * share,
                feed[1],
                feed[0].value,
            )
        elif texts.shown and not is_shown:
            log.info("the texts of the source %r (%s) are read again", feed[1], feed[0].value)
        texts.shown = is_shown

    def number(self, kind: Kind, now: datetime) -> int:
        """How many sources of this kind are mostly unsupported and sent something within a day."""
        return sum(each is kind and last >= now - FORGOTTEN_AFTER for each, last in self._shown)
