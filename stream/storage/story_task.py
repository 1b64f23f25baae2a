"""Assigning the documents that wait to stories: by one monitor at a time, in one transaction a step."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection, select

from stream.domain.errors import LeaseLost
from stream.domain.records import OutboundMessage
from stream.domain.stories import StoryAssignment, StoryInput, StoryWeights
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.leases import Lease
from stream.storage.outbox import enqueue
from stream.storage.stories import (
    Sequences,
    drop_assigned,
    forget_inputs,
    load_assigner,
    waiting_inputs,
    write_assignments,
)
from stream.storage.sums import add_sums, document_sums
from stream.stories.assignment import Assigner
from stream.stories.story import Story

# Documents of one transaction.
CHUNK = 500


class StoryOutbound(Protocol):
    """Decides what to send because of documents that were assigned to stories."""

    def __call__(self, assigned: Sequence[StoryAssignment], /) -> Sequence[OutboundMessage]: ...


class StoryStore:
    """Assigns documents to stories in the database.  One thread uses it.

    What later documents are compared with is in memory, and in SQL for the next holder of the lease.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        *,
        weights: Callable[[], Mapping[str, StoryWeights]],
        outbound: StoryOutbound,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._lease, self._weights = store, lease, weights
        self._outbound, self._clock = outbound, clock
        self._assigner: Assigner | None = None

    def assign_next(self, limit: int = CHUNK) -> list[StoryAssignment]:
        """Assign the documents that wait, at most so many; return what was decided.

        Nothing is assigned without the lease.  Raises StoreUnavailable, StoreRefused and LeaseLost; nothing
        of the step is written then.
        """
        assigner, self._assigner = self._assigner, None
        with writing(self._store.engine) as connection:
            if not self._lease.renew(connection):
                raise LeaseLost("stories are assigned by another monitor")
            if assigner is None:
                assigner = load_assigner(connection, self._weights())
            waiting = drop_assigned(connection, waiting_inputs(connection, limit))
            assigned: list[StoryAssignment] = []
            now = self._clock()
            if waiting:
                assigned = assign_documents(connection, self._store.width, assigner, waiting, now)
                enqueue(connection, self._outbound(assigned), now)
        # Only now is it sure that memory and SQL say the same.
        self._assigner = assigner
        return assigned

    def forget(self) -> None:
        """Keep nothing in memory: another monitor may assign documents meanwhile."""
        self._assigner = None


def assign_documents(
    connection: Connection,
    width: timedelta,
    assigner: Assigner,
    waiting: Sequence[StoryInput],
    now: datetime,
    sequences: Sequences = Sequences.LIVE,
) -> list[StoryAssignment]:
    """Assign these documents, which wait for their story, within a transaction; return what was decided.

    `width` is the width of the base windows.
    """
    documents, mentions = schema.documents, schema.mentions
    # Labels that change meanwhile change the sums of voices too: by one transaction after the other.
    keys = sorted(document.key for document in waiting)
    query = select(documents).where(documents.c.key.in_(keys)).order_by(documents.c.key)
    rows = connection.execute(query.with_for_update()).all()
    stories: dict[int, Story] = {}
    assigned = []
    for document in waiting:
        assignment, story = assigner.assign(document)
        assigned.append(assignment)
        stories[story.id] = story
    voices = {assignment.key for assignment in assigned if assignment.is_voice}
    mentioned: dict[str, list[object]] = {key: [] for key in voices}
    for row in connection.execute(select(mentions).where(mentions.c.key.in_(sorted(voices)))):
        mentioned[row.key].append(row)
    published = {row.key: row.published_at for row in rows}
    pairs = list(zip(waiting, assigned, strict=True))
    write_assignments(connection, pairs, stories.values(), published, now, sequences)
    add_sums(connection, document_sums(rows, mentioned, voices, width).only_voices)
    forget_inputs(connection, assigned[-1].seen_at, CHUNK, sequences)
    return assigned
