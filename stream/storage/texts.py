"""Reading the texts of stored documents, page by page."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, select, tuple_

from stream.domain.documents import HEARTBEAT_SOURCE
from stream.storage import schema
from stream.storage.database import reading

# Documents of one query: no transaction lasts while they are worked on, and giants fit into memory.
PAGE = 1000


def text_pages(engine: Engine, since: datetime, page: int = PAGE) -> Iterator[Sequence[Any]]:
    """The documents published at or after `since`, by time, without heartbeats.

    Pages of key, time, title, text, symbols and language, each in a transaction of its own.  Raises
    StoreUnavailable.
    """
    table = schema.documents
    columns = (
        table.c.key, table.c.published_at, table.c.title, table.c.text, table.c.symbols, table.c.lang
    )  # fmt: skip
    after: Any = table.c.published_at >= since
    while True:
        query = (
            select(*columns)
            .where(after, table.c.source != HEARTBEAT_SOURCE)
            .order_by(table.c.published_at, table.c.key)
            .limit(page)
        )
        with reading(engine) as connection:
            rows = connection.execute(query).all()
        if rows:
            yield rows
        if len(rows) < page:
            return
        last = rows[-1]
        # PostgreSQL reads on in the index from here, which it does not for an OR of two conditions.
        after = tuple_(table.c.published_at, table.c.key) > (last.published_at, last.key)
