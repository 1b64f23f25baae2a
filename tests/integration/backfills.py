"""Search a database for entities in processes that kill themselves at a statement, until one comes through.

    python -m tests.integration.backfills URL STEP        killed at the first, then STEP statements later, and so on

Entities are found by the stand-in for the classifier.  Prints how many were killed.
"""

import os
import sys
from datetime import UTC, datetime

from msgspec import structs
from pydantic import SecretStr
from sqlalchemy import Engine, event

from monitor.bench.stand_in import StandIn
from stream.domain.documents import Prediction, TextInput
from stream.domain.sums import TimeRange
from stream.storage import backfill, database
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.integration.upgrades import is_through, kill_at

LIST = StandIn("list 2")
CHUNK = 40
ALL_TIMES = TimeRange(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def find(inputs: list[TextInput], predictions: list[Prediction]) -> list[Prediction]:
    """The stand-in's entities, with the score of the stored text, so that its sentiment does not matter."""
    found = LIST.classify(inputs)
    return [
        structs.replace(
            prediction,
            entities=tuple(structs.replace(each, score=prediction.score) for each in one.entities),
        )
        for one, prediction in zip(found, predictions, strict=True)
    ]


def search(store: Store, published: TimeRange = ALL_TIMES) -> int:
    version = LIST.gazetteer.version
    return backfill.backfill_entities(store, published, version, find=find, clock=lambda: datetime.now(UTC))  # type: ignore[arg-type]


def start(url: str, call: int) -> int:
    """The id of a process that kills itself at a statement."""
    child = os.fork()
    if child == 0:
        event.listen(Engine, "before_cursor_execute", kill_at(call))
        backfill.CHUNK = CHUNK
        search(Store(database.connect(DatabaseSettings(url=SecretStr(url))), 60))
        os._exit(0)
    return child


def main(url: str, step: str) -> None:
    killed = 0
    while not is_through(start(url, killed * int(step) + 1)):
        killed += 1
    print(killed)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
