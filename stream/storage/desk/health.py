"""What the health page reads: deliveries of pages, and how texts were labelled lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading

WAITING = "waiting"


@dataclass(frozen=True)
class Delivery:
    """A page that was sent, or waits to be, to one receiver; `outcome` is None while it waits."""

    target: str
    key: str
    queued_at: datetime
    settled_at: datetime | None
    outcome: str | None
    incident: str | None

    @property
    def took(self) -> timedelta | None:
        return None if self.settled_at is None else self.settled_at - self.queued_at


def latest_deliveries(store: Store, limit: int) -> list[Delivery]:
    """The deliveries that were queued last, newest first.  Raises StoreUnavailable."""
    table = schema.deliveries.c
    columns = (table.target, table.key, table.queued_at, table.settled_at, table.outcome, table.incident)
    query = select(*columns).order_by(table.queued_at.desc(), table.target, table.key).limit(limit)
    with reading(store.engine) as connection:
        return [Delivery(*row) for row in connection.execute(query)]


def delivery_counts(store: Store, since: datetime) -> Mapping[str, Mapping[str, int]]:
    """How many deliveries were queued since then, by target and outcome.  Raises StoreUnavailable."""
    table = schema.deliveries.c
    outcome = func.coalesce(table.outcome, WAITING)
    query = select(table.target, outcome, func.count()).where(table.queued_at >= since)
    counts: dict[str, dict[str, int]] = {}
    with reading(store.engine) as connection:
        for target, name, count in connection.execute(query.group_by(table.target, outcome)):
            counts.setdefault(target, {})[name] = int(count)
    return dict(sorted(counts.items()))


@dataclass(frozen=True)
class Labelling:
    """How the texts of a time were labelled: how many by each model, the latest model, and their sums."""

    latest: str | None
    by_model: Mapping[str, int]
    total: Aggregate

    @property
    def uncertain_share(self) -> float | None:
        """The share of texts on whose sentiment the model was not certain; None without texts."""
        return self.total.uncertain / self.total.n if self.total.n else None


def read_labelling(store: Store, start: datetime, end: datetime) -> Labelling:
    """How the texts published in [start, end) were labelled.  Raises StoreUnavailable."""
    by_model: dict[str, int] = {}
    for (_, model), count in store.reads.count_by_model(start, end).items():
        by_model[model] = by_model.get(model, 0) + count
    total: Any = sum(store.reads.sums(start, end), Aggregate(EPOCH, "", ""))
    return Labelling(store.reads.latest_model(), by_model, total)
