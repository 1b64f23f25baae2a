"""The SQL tables.  Alembic's migrations create them, and a test compares them with this module.

`documents` holds every document with its prediction, `mentions` the entities it is about, `event_labels` the
events it reports; `aggregates` and `rollups` hold the sums over documents, `entity_aggregates` those over
mentions; `offsets` holds how far each Kafka partition was read.  A batch changes these in one transaction.
`story_inputs`, `document_stories`, `stories` and the sums over voices belong to the story task.
`document_events` has a row for every later change of a document.  `outbox` holds what has to be sent because
of a batch.  `alerts`, `alert_transitions`, `incidents`, `pages` and `deliveries` belong to the alerts,
`incident_actions` to the desk, `sessions` and `audit_log` to its logins, and `marks` and `leases` to
background tasks.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

from stream.domain.entities import LONGEST_ENTITY, LONGEST_GAZETTEER
from stream.domain.incident_actions import LONGEST_KEY, LONGEST_NAME
from stream.domain.stories import LONGEST_ORIGIN
from stream.domain.sums import SUM_FIELDS


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times on every database; SQLite stores them without the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

# The widths of the windows that are stored besides the base windows, in seconds, from short to long.
HOUR, DAY = 3600, 86_400
ROLLUP_WIDTHS = (HOUR, DAY)

# SQLite gives new row numbers only to a primary key of type INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


def _column(name: str, type_: Any, **options: Any) -> Column[Any]:
    return Column(name, type_, nullable=options.pop("nullable", False), **options)


def _sum_columns(**options: dict[str, Any]) -> list[Column[Any]]:
    """A column for each of SUM_FIELDS, with options by name."""
    return [_column(name, BigInteger, **options.get(name, {})) for name in SUM_FIELDS]


# Every document, with its prediction.  `score` is in units of 1/10,000.  `status` is a DocumentStatus: an
# uncertain document has a score and its most probable topic, and no sentiment.
documents = Table(
    "documents",
    metadata,
    # `stream.domain.documents.document_key` of kind, source and id.
    _column("key", String(512), primary_key=True),
    _column("source", String(128)),
    _column("id", String(512)),
    _column("kind", String(16)),
    _column("published_at", UtcDateTime),
    _column("received_at", UtcDateTime),
    _column("title", Text),
    _column("text", Text),
    _column("author", String(256), nullable=True),
    _column("url", Text, nullable=True),
    _column("symbols", JSON),
    _column("lang", String(35), nullable=True),
    _column("status", String(16)),
    _column("topic", String(100), nullable=True),
    _column("topic_probability", Float, nullable=True),
    _column("sentiment", String(16), nullable=True),
    _column("sentiment_probability", Float, nullable=True),
    _column("score", Integer, nullable=True),
    _column("evidence", JSON),
    _column("model", String(200)),
    _column("kafka_topic", String(249)),
    _column("kafka_partition", Integer),
    _column("kafka_offset", BigInteger),
    # How exactly `published_at` is known (`stream.domain.documents.Precision`), and when the text changed.
    _column("published_precision", String(8), server_default="exact"),
    _column("updated_at", UtcDateTime, nullable=True),
    # The trace of its message (stream.domain.tracing).
    _column("traceparent", String(55), nullable=True),
    # The version of the list of entities that its mentions were found with.  Null if none looked.
    _column("gazetteer", String(LONGEST_GAZETTEER), nullable=True),
    # The events that it reports: a list of [type, probability].  Null before they were looked for.
    _column("events", JSON(none_as_null=True), nullable=True),
    # The model whose labels these are, where `model` is the version of two.
    _column("judged_by", String(200), nullable=True),
    Index("ix_documents_topic_time", "topic", "published_at"),
    Index("ix_documents_time", "published_at"),
    Index("ix_documents_received", "received_at"),
    # For the most negative documents of a long time range, without reading all of it.
    Index(
        "ix_documents_negative",
        "score",
        "published_at",
        postgresql_where=text("status = 'ok' AND sentiment = 'negative'"),
        sqlite_where=text("status = 'ok' AND sentiment = 'negative'"),
    ),
    # For the sums of a past window without those whose time says little.
    Index(
        "ix_documents_inexact",
        "published_at",
        postgresql_where=text("published_precision <> 'exact'"),
        sqlite_where=text("published_precision <> 'exact'"),
    ),
)


def _aggregates(name: str, **options: dict[str, Any]) -> Table:
    """Sums by event-time window, topic and kind.

    Each Kafka partition has rows of its own, so that workers never contend; readers add them up.
    """
    return Table(
        name,
        metadata,
        _column("window_start", UtcDateTime, primary_key=True),
        _column("topic", String(100), primary_key=True),
        _column("kind", String(16), primary_key=True),
        _column("kafka_partition", Integer, primary_key=True, autoincrement=False),
        *_sum_columns(**options),
    )


def _rollups(name: str) -> Table:
    """The same sums by hour and by day (`width` in seconds), so that a query over a year need not add up half
    a million minutes."""
    return Table(
        name,
        metadata,
        _column("width", Integer, primary_key=True, autoincrement=False),
        _column("window_start", UtcDateTime, primary_key=True),
        _column("topic", String(100), primary_key=True),
        _column("kind", String(16), primary_key=True),
        _column("kafka_partition", Integer, primary_key=True, autoincrement=False),
        *_sum_columns(),
    )


def _entity_aggregates(name: str) -> Table:
    """The sums over mentions by hour and by day (`width` in seconds), entity and kind.

    `band` is the relevance rounded down to a multiple of 20, at most 80, so that sums from a multiple of 20
    on are exact.
    """
    return Table(
        name,
        metadata,
        _column("width", Integer, primary_key=True, autoincrement=False),
        _column("entity", String(LONGEST_ENTITY), primary_key=True),
        _column("window_start", UtcDateTime, primary_key=True),
        _column("kind", String(16), primary_key=True),
        _column("kafka_partition", Integer, primary_key=True, autoincrement=False),
        _column("band", SmallInteger, primary_key=True, autoincrement=False),
        *_sum_columns(),
        Index(f"ix_{name}_time", "width", "window_start"),
    )


# The sums over all documents, written with them.
aggregates = _aggregates("aggregates", uncertain={"server_default": "0"})
rollups = _rollups("rollups")
entity_aggregates = _entity_aggregates("entity_aggregates")
# The sums over the documents that are voices, written when they are assigned to stories.
voice_aggregates = _aggregates("voice_aggregates")
voice_rollups = _rollups("voice_rollups")
voice_entity_aggregates = _entity_aggregates("voice_entity_aggregates")

# The entities that a document is about.  Kind, times and partition are those of the document.  `relevance` is
# from 0 to 100.  `sentiment` and `score` (in units of 1/10,000) are towards the entity; the sentiment is null
# if the model is not certain, both are null if the document is unsupported, and it is then in no sum.  They
# are those of the whole document unless `of_target`.  `spans` is where the text names the entity: a list of
# [start, end), in code points of title and text joined by a newline; empty if only the symbols do, and once
# the text is erased.
mentions = Table(
    "mentions",
    metadata,
    _column("key", String(512), primary_key=True),
    _column("entity", String(LONGEST_ENTITY), primary_key=True),
    _column("kind", String(16)),
    _column("published_at", UtcDateTime),
    _column("published_precision", String(8)),
    _column("received_at", UtcDateTime),
    _column("kafka_partition", Integer),
    _column("relevance", SmallInteger),
    _column("sentiment", String(16), nullable=True),
    _column("sentiment_probability", Float, nullable=True),
    _column("score", Integer, nullable=True),
    _column("of_target", Boolean),
    _column("spans", JSON),
    Index("ix_mentions_entity_time", "entity", "published_at"),
    Index("ix_mentions_time", "published_at"),
)

# The events that a document reports, which its row has too: a rule finds the documents with some type of
# event by the index, whatever the length of its history.  `published_at` is that of the document.
event_labels = Table(
    "event_labels",
    metadata,
    _column("key", String(512), primary_key=True),
    _column("type", String(100), primary_key=True),
    _column("published_at", UtcDateTime),
    _column("probability", Float),
    Index("ix_event_labels_type_time", "type", "published_at", "key"),
    Index("ix_event_labels_time", "published_at"),
)

# What the story of a document depends on, written with it.  It waits for its story while `sequence` is null:
# in the order of time of receipt, kind, source and id.  After the story window the row is deleted.
story_inputs = Table(
    "story_inputs",
    metadata,
    _column("key", String(512), primary_key=True),
    _column("received_at", UtcDateTime),
    _column("kind", String(16)),
    _column("source", String(128)),
    _column("id", String(512)),
    # stream.domain.stories.StoryFeatures, as MessagePack.
    _column("features", LargeBinary),
    # Once it has its story: its sequence, and the time by which it is forgotten.
    _column("sequence", BigInteger, nullable=True),
    _column("seen_at", UtcDateTime, nullable=True),
    Index(
        "ix_story_inputs_waiting",
        "received_at",
        "kind",
        "source",
        "id",
        postgresql_where=text("sequence IS NULL"),
        sqlite_where=text("sequence IS NULL"),
    ),
    Index("ix_story_inputs_seen", "seen_at"),
)

# The story of each document (stream.domain.stories.StoryAssignment), decided once.  `sequence` has no gaps;
# it is below zero, and falls, for documents of before there were stories (`monitor backfill stories`).
# `published_at` is that of the document, and `assigned_at` when the row was written.
document_stories = Table(
    "document_stories",
    metadata,
    _column("key", String(512), primary_key=True),
    _column("sequence", BigInteger),
    _column("seen_at", UtcDateTime),
    _column("assigned_at", UtcDateTime),
    _column("published_at", UtcDateTime),
    _column("story", BigInteger),
    _column("novelty", SmallInteger),
    _column("copy_of", String(512), nullable=True),
    _column("voice", SmallInteger),
    _column("origin", String(LONGEST_ORIGIN)),
    Index("ix_document_stories_sequence", "sequence", unique=True),
    Index("ix_document_stories_story", "story"),
    Index("ix_document_stories_assigned", "assigned_at"),
    # For the documents of a time that are voices, without reading them.
    Index("ix_document_stories_time", "published_at", "voice", "key"),
)

# The stories: documents that tell the same event.  `id` is the `sequence` of the first document, `first_key`,
# and the document `central_key` stands for it.  `state` is what later documents are compared with
# (stream.stories.story.Story), null once the story is over.  `merged_into` is the story that it was joined
# with by a person; null if it was not.
stories = Table(
    "stories",
    metadata,
    _column("id", BigInteger, primary_key=True, autoincrement=False),
    _column("first_key", String(512)),
    _column("central_key", String(512)),
    _column("first_seen_at", UtcDateTime),
    _column("last_seen_at", UtcDateTime),
    _column("documents", Integer),
    _column("copies", Integer),
    _column("voices", Integer),
    _column("merged_into", BigInteger, nullable=True),
    _column("state", LargeBinary, nullable=True),
    Index("ix_stories_last_seen", "last_seen_at"),
)

# How embeddings of a space decide whether texts tell the same event (stream.domain.stories.StoryWeights), as
# they were when the first of them was assigned: so that they decide alike after a restart with another model.
story_weights = Table(
    "story_weights",
    metadata,
    _column("space", String(300), primary_key=True),
    _column("weights", JSON),
)

# Every change of a stored document, numbered for each document from 1.  Rows are only added; `purge` erases
# the texts in them.  `cause` is an EventCause.  `old` and `new` hold labels, mentions and time of receipt,
# and the texts if those changed.  `text_received_at` is when the oldest text in the row was received.
document_events = Table(
    "document_events",
    metadata,
    _column("key", String(512), primary_key=True),
    _column("sequence", Integer, primary_key=True, autoincrement=False),
    _column("at", UtcDateTime),
    _column("cause", String(16)),
    _column("old", JSON),
    _column("new", JSON),
    _column("text_received_at", UtcDateTime, nullable=True),
    Index("ix_document_events_at", "at"),
    Index(
        "ix_document_events_texts",
        "text_received_at",
        postgresql_where=text("text_received_at IS NOT NULL"),
        sqlite_where=text("text_received_at IS NOT NULL"),
    ),
)

# The names of the entities, from the monitor's list of them.  None is deleted: old mentions name it.
entities = Table(
    "entities",
    metadata,
    _column("id", String(LONGEST_ENTITY), primary_key=True),
    _column("kind", String(16)),
    _column("name", Text),
    _column("chinese_name", Text, nullable=True),
)

# The next offset to read of each partition of one incarnation of a topic.  A batch skips what is below it.
# `leader_epoch` is that of what is before it: it tells whether the log was cut there.  Null if it is unknown.
offsets = Table(
    "offsets",
    metadata,
    _column("incarnation", String(200), primary_key=True),
    _column("kafka_topic", String(249), primary_key=True),
    _column("kafka_partition", Integer, primary_key=True, autoincrement=False),
    _column("next_offset", BigInteger),
    _column("updated_at", UtcDateTime),
    _column("leader_epoch", Integer, nullable=True),
)

# The messages that were refused, and why.  The payload itself is sent to the dead-letters topic.
dead_letters = Table(
    "dead_letters",
    metadata,
    _column("incarnation", String(200), primary_key=True),
    _column("kafka_topic", String(249), primary_key=True),
    _column("kafka_partition", Integer, primary_key=True, autoincrement=False),
    _column("kafka_offset", BigInteger, primary_key=True, autoincrement=False),
    # The index of the document in a message that holds several; 0 otherwise.
    _column("item", Integer, primary_key=True, autoincrement=False, server_default="0"),
    # Whether it is a document of such a message, and not all of it.  Null in rows of older versions.
    _column("in_array", Boolean, nullable=True),
    # The key of the document, if the message could be read as one.
    _column("key", String(512), nullable=True),
    _column("reason", String(32)),
    _column("detail", Text),
    _column("seen_at", UtcDateTime),
    # When an operator sent the message again; null if nobody did.
    _column("sent_at", UtcDateTime, nullable=True),
    _column("traceparent", String(55), nullable=True),
)

# Messages to send, inserted by the transaction that decides to send them.  `target` is "kafka:TOPIC",
# "webhook:NAME" or "channel:NAME".  The messages of one target and lane are sent in order.  `key` is the key
# of a page in `deliveries`.
outbox = Table(
    "outbox",
    metadata,
    _column("id", RowId, primary_key=True, autoincrement=True),
    _column("target", String(300)),
    _column("lane", String(200), server_default=""),
    _column("key", String(100), nullable=True),
    _column("body", LargeBinary),
    _column("created_at", UtcDateTime),
    _column("attempts", SmallInteger),
    _column("retry_at", UtcDateTime),
    _column("failing_since", UtcDateTime, nullable=True),
    _column("last_error", Text, nullable=True),
    Index("ix_outbox_due", "target", "lane", "id"),
)

# One row for each episode: an alert of one rule on one topic, from pending to resolved.
alerts = Table(
    "alerts",
    metadata,
    _column("id", String(64), primary_key=True),
    _column("rule", String(200)),
    _column("topic", String(100)),
    _column("severity", String(32)),
    _column("state", String(16)),
    _column("since", UtcDateTime),
    _column("value", Float),
    _column("threshold", Float),
    _column("n", BigInteger),
    _column("uncertainty", Text),
    _column("summary", Text),
    _column("usual", Float, nullable=True),
    _column("message", Text, server_default=""),
    _column("evidence", JSON),
    _column("sources", JSON, server_default="{}"),
    _column("fired_at", UtcDateTime, nullable=True),
    _column("resolved_at", UtcDateTime, nullable=True),
    _column("clear_since", UtcDateTime, nullable=True),
    # NULL: stored before labels were kept.
    _column("labels", JSON, nullable=True),
    # The entity that the episode is about; null if its rule watches topics.
    _column("entity", String(LONGEST_ENTITY), nullable=True),
    # What `n` is a number of (stream.domain.sums.Counted), and the texts, stories, voices and copies in the
    # window when it fired; null if stories did not cover it.
    _column("counted", String(8), server_default="texts"),
    *[_column(name, BigInteger, nullable=True) for name in ("texts", "stories", "voices", "copies")],
    _column("stories_text", Text, server_default=""),
    # The incident that it belongs to; null before it fires, and in rows of older versions.
    _column("incident", String(64), nullable=True),
    Index("ix_alerts_state", "state"),
    Index("ix_alerts_incident", "incident"),
)

# Every change of an episode's state, with its values at that moment.
alert_transitions = Table(
    "alert_transitions",
    metadata,
    _column("id", RowId, primary_key=True, autoincrement=True),
    _column("alert_id", String(64)),
    _column("rule", String(200)),
    _column("topic", String(100)),
    _column("before", String(16), nullable=True),
    _column("state", String(16)),
    _column("at", UtcDateTime),
    _column("value", Float),
    _column("threshold", Float),
    _column("n", BigInteger),
    _column("uncertainty", Text),
    _column("summary", Text),
    _column("entity", String(LONGEST_ENTITY), nullable=True),
    Index("ix_alert_transitions_alert", "alert_id"),
    Index("ix_alert_transitions_at", "at"),
)

# The alerts of one event (stream.domain.incidents.Incident); its lists and its mapping are JSON.
incidents = Table(
    "incidents",
    metadata,
    _column("id", String(64), primary_key=True),
    _column("began_at", UtcDateTime),
    _column("severity", String(32)),
    _column("title", Text),
    *[_column(name, JSON) for name in ("lead_entities", "stories", "alerts")],
    _column("stands_alone", Boolean),
    _column("calm_since", UtcDateTime, nullable=True),
    _column("ended_at", UtcDateTime, nullable=True),
    _column("last_page_at", UtcDateTime, nullable=True),
    _column("paged_number", Integer),
    _column("paged_value", Float),
    _column("paged_severity", String(32), nullable=True),
    *[_column(name, JSON) for name in ("paged_values", "paged_entities", "told")],
    _column("acknowledged_at", UtcDateTime, nullable=True),
    _column("acknowledged_by", String(256), nullable=True),
    _column("escalated_at", UtcDateTime, nullable=True),
    # What the desk said; only its actions write these and the two `acknowledged` columns.  `seen` is a
    # stream.domain.incidents.SeenByDesk, and `actions` the number of the last row in `incident_actions`.
    _column("assigned_to", String(LONGEST_NAME), nullable=True),
    _column("quiet_until", UtcDateTime, nullable=True),
    _column("closed_at", UtcDateTime, nullable=True),
    _column("closed_by", String(LONGEST_NAME), nullable=True),
    _column("verdict", String(16), nullable=True),
    _column("seen", JSON(none_as_null=True), nullable=True),
    _column("actions", Integer, server_default="0"),
    Index("ix_incidents_began", "began_at"),
    Index("ix_incidents_ended", "ended_at"),
)

# What people did with an incident, numbered from 1 (stream.domain.incident_actions.Action).  Rows are only
# added; `purge` erases the texts.  `key` makes a request that comes twice one action.
incident_actions = Table(
    "incident_actions",
    metadata,
    _column("incident", String(64), primary_key=True),
    _column("number", Integer, primary_key=True, autoincrement=False),
    _column("key", String(LONGEST_KEY)),
    _column("kind", String(16)),
    _column("actor", String(LONGEST_NAME)),
    _column("at", UtcDateTime),
    _column("text", Text, server_default=""),
    _column("assignee", String(LONGEST_NAME), nullable=True),
    _column("until", UtcDateTime, nullable=True),
    _column("verdict", String(16), nullable=True),
    Index("ix_incident_actions_key", "incident", "key", unique=True),
    Index("ix_incident_actions_at", "at"),
)

# Every page of an incident, as it was made, and digests of what it was made from
# (stream.domain.incidents.PageInputs).  `purge` erases the message.
pages = Table(
    "pages",
    metadata,
    _column("key", String(100), primary_key=True),
    _column("incident", String(64)),
    _column("kind", String(16)),
    _column("number", Integer),
    _column("at", UtcDateTime),
    _column("message", JSON),
    _column("inputs", JSON),
    Index("ix_pages_incident", "incident"),
    Index("ix_pages_at", "at"),
)

# Every page to every receiver, once for each key.  `outcome` is null until the page is sent or refused.
deliveries = Table(
    "deliveries",
    metadata,
    _column("target", String(300), primary_key=True),
    _column("key", String(100), primary_key=True),
    _column("alert_id", String(64)),
    _column("queued_at", UtcDateTime),
    _column("settled_at", UtcDateTime, nullable=True),
    _column("outcome", String(16), nullable=True),
    # Null for pages of older versions, which were of one alert each.
    _column("incident", String(64), nullable=True),
    Index("ix_deliveries_alert", "alert_id"),
    Index("ix_deliveries_incident", "incident"),
)

# The progress of long-running tasks, by name.
marks = Table(
    "marks",
    metadata,
    _column("name", String(100), primary_key=True),
    _column("at", UtcDateTime),
)

# What the monitors of one installation share and nobody else may read, by name.
secrets = Table(
    "secrets",
    metadata,
    _column("name", String(100), primary_key=True),
    _column("value", LargeBinary),
)

# Which monitor runs a task that only one of them may run, and until when.
leases = Table(
    "leases",
    metadata,
    _column("name", String(100), primary_key=True),
    _column("holder", String(200)),
    _column("expires_at", UtcDateTime),
)

# Who is logged in to the desk's pages.  The browser has the token, the database only its hash.  `credential`
# says what they logged in with, so that a changed password ends the login.
sessions = Table(
    "sessions",
    metadata,
    _column("token_hash", String(64), primary_key=True),
    _column("user_name", String(256)),
    _column("role", String(16)),
    _column("method", String(16)),
    _column("credential", String(64)),
    _column("began_at", UtcDateTime),
    _column("seen_at", UtcDateTime),
    Index("ix_sessions_user", "user_name", "began_at"),
)

# What people did, and who logged in or was refused.  Rows are only added; `purge` deletes old ones.
audit_log = Table(
    "audit_log",
    metadata,
    _column("number", RowId, primary_key=True, autoincrement=True),
    _column("at", UtcDateTime),
    _column("user_name", String(256)),
    _column("action", String(64)),
    _column("subject", String(256)),
    _column("detail", Text),
    Index("ix_audit_log_at", "at"),
)
