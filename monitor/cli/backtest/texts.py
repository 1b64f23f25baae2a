"""The texts of a backtest: from a file, classified now, or from the database."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from alerts.detectors.base import Rule
from alerts.history.memory_store import Text
from models import backend_selection
from models.document_classifier import DocumentClassifier
from models.errors import DataError
from models.settings import user_cache
from monitor.cli.stories import assign
from monitor.runtime.settings import Settings
from stream.codec import Codec
from stream.domain.documents import EPOCH, SCORE_SCALE, Document, Precision, Prediction
from stream.domain.entities import EntityMention
from stream.domain.errors import FeedError
from stream.domain.files.input_rows import read_rows
from stream.domain.incidents import Moment
from stream.domain.stories import StoryAssignment, StoryWeights
from stream.domain.sums import TimeRange
from stream.feed import RowOptions, to_document
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.reads import evidence_words
from stream.stories import features
from stream.stories.publishers import Publishers, load_publishers

log = logging.getLogger(__name__)

CHUNK = 512
SHOWN_ERRORS = 5
Progress = Callable[[str, float], None]


def classify_file(
    settings: Settings,
    file: Path,
    options: RowOptions,
    *,
    encoding: str | None = None,
    end: datetime | None,
    progress: Progress,
) -> tuple[list[Text], list[str]]:
    """The classified texts of a file (- for standard input) with their stories, stamped before `end`, and an
    error for each skipped row.

    The predictions of a model for these texts, and their stories, are cached.  Raises DataError and
    InputFileError.
    """
    documents, row_errors = _documents(file, options, encoding)
    if not documents:
        raise DataError(_nothing_read(file, row_errors))
    publishers = load_publishers(settings.stream.publishers)
    classifier = DocumentClassifier.load(settings.models, choose=backend_selection.cached_backend)
    cache = _cache_file(documents, classifier, settings.stream.publishers)
    texts = _read_cache(cache)
    if texts is None:
        predictions = list(_predictions(classifier, documents, progress))
        texts = with_stories(documents, predictions, publishers, classifier.story_weights)
        _write_cache(cache, texts)
    if not texts:
        raise DataError(f"{file}: no text has words in a language that the model knows")
    return _in_order([text for text in texts if end is None or text.published_at < end]), row_errors


def _nothing_read(file: Path, row_errors: Sequence[str]) -> str:
    """Why a file has no texts, by the errors in its first rows."""
    if not row_errors:
        return f"{file}: the file has no rows"
    shown = "".join(f"\n  {error}" for error in row_errors[:SHOWN_ERRORS])
    return f"{file}: no row can be read (rows: {len(row_errors)}); the first errors:{shown}"


def _predictions(
    classifier: DocumentClassifier, documents: Sequence[Document], progress: Progress
) -> Iterator[Prediction]:
    for at in range(0, len(documents), CHUNK):
        part = documents[at : at + CHUNK]
        yield from classifier.classify([document.text_input for document in part])
        progress("classifying", (at + len(part)) / len(documents))


def with_stories(
    documents: Sequence[Document],
    predictions: Sequence[Prediction],
    publishers: Publishers,
    weights: Mapping[str, StoryWeights],
) -> list[Text]:
    """The texts that have a label, with the stories that the daemon would assign them to if each document
    arrived when it was published."""
    pairs = list(zip(documents, predictions, strict=True))
    inputs = [
        features.story_input(
            document, features.story_features(document, prediction, publishers), document.published_at
        )
        for document, prediction in pairs
    ]
    assigned = assign(inputs, weights)
    return [
        _text(document, prediction, assigned[document.key], waiting.features.origin)
        for (document, prediction), waiting in zip(pairs, inputs, strict=True)
        if prediction.topic is not None and prediction.score is not None
    ]


def _cache_file(
    documents: Sequence[Document], classifier: DocumentClassifier, publishers: Path | None
) -> Path:
    """The cache of the predictions for these documents, named by a hash of all that they depend on.

    It is by what was read and not by the file: a pipe has another content each time, and it is read once.
    """
    release = metadata.version("sentiment-monitor")
    gazetteer = classifier.gazetteer.version if classifier.gazetteer else None
    weights = msgspec.to_builtins(classifier.story_weights)
    digest = hashlib.sha256(
        msgspec.json.encode([release, classifier.version, gazetteer, weights, Text.__slots__])
    )
    # Who a publisher is, and how stories are found.
    for path in [*([publishers] if publishers else []), *sorted(Path(features.__file__).parent.glob("*.*"))]:
        digest.update(path.read_bytes())
    for document in documents:
        digest.update(msgspec.json.encode(document))
    return user_cache() / f"{digest.hexdigest()[:24]}.json"


def _read_cache(path: Path) -> list[Text] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Text])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read, so the texts are classified again: %s", path, error)
        return None


def _write_cache(path: Path, texts: Sequence[Text]) -> None:
    """A cache that cannot be written costs only the cache: the predictions are there."""
    unfinished = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(msgspec.json.encode(texts))
        unfinished.replace(path)
    except OSError as error:
        log.warning("the predictions cannot be cached, so the next backtest classifies again: %s", error)


def _in_order(texts: Sequence[Text]) -> list[Text]:
    if not texts:
        raise DataError("no classified documents in that time: choose other times, or a file with --data")
    return sorted(texts, key=lambda text: text.published_at)


def _documents(file: Path, options: RowOptions, encoding: str | None) -> tuple[list[Document], list[str]]:
    """Every document once, as the stream would read it, and an error for each row that cannot be read."""
    codec = Codec(timedelta(0), 1 << 30)
    unique: dict[str, Document] = {}
    row_errors = []
    for row in read_rows(file, text_columns=options.text_columns(), encoding=encoding):
        try:
            document = to_document(row, codec, options)
        except FeedError as error:
            row_errors.append(f"{file}:{row.line}: {error}")
            continue
        unique.setdefault(document.key, document)
    return list(unique.values()), row_errors


def _text(document: Document, prediction: Prediction, assignment: StoryAssignment, origin: str) -> Text:
    return Text(
        id=document.id,
        source=document.source,
        kind=document.kind.value,
        published_at=document.published_at,
        content=document.title or document.text,
        topic=prediction.topic or "",
        sentiment=prediction.counted_sentiment,
        score=round((prediction.score or 0.0) * SCORE_SCALE),
        author=document.author,
        symbols=document.symbols,
        lang=prediction.lang,
        words=evidence_words(msgspec.to_builtins(prediction.evidence)),
        url=document.url,
        precision=document.published_precision,
        entities=prediction.entities,
        events=tuple(event.type for event in prediction.events),
        assignment=assignment,
        origin=origin,
    )


class StoredTexts(NamedTuple):
    """The texts of a database, the publication time from which on they have stories, and the moment at which
    all of it was read."""

    texts: list[Text]
    stories_since: datetime | None
    moment: Moment


def time_read(start: datetime | None, end: datetime | None, rules: Iterable[Rule]) -> TimeRange:
    """When the texts of a backtest were published: before `end`, beginning one baseline before `start`."""
    lengths = [rule.baseline_spec.history for rule in rules if rule.baseline_spec]
    since = start - max(lengths, default=timedelta(0)) if start else EPOCH
    return TimeRange(since, end or datetime.max.replace(tzinfo=UTC))


def read_database(
    settings: Settings, start: datetime | None, end: datetime | None, rule_files: Sequence[Sequence[Rule]]
) -> StoredTexts:
    """The classified documents of the database before `end`, beginning one baseline before `start`."""
    published = time_read(start, end, chain.from_iterable(rule_files))
    engine = database.connect_existing(settings.database)
    try:
        reads = Store(engine, settings.stream.window_seconds).reads
        with reads.at_one_moment(datetime.now(UTC)) as moment:
            mentions = reads.mentions_by_key(*published)
            rows = reads.scored_documents(*published)
            texts = _in_order([_stored_text(row, mentions.get(row.key, ())) for row in rows])
            return StoredTexts(texts, reads.voices_since(), moment)
    finally:
        engine.dispose()


def _stored_text(row: Any, mentions: tuple[EntityMention, ...]) -> Text:
    return Text(
        id=row.id,
        source=row.source,
        kind=row.kind,
        published_at=row.published_at,
        content=row.title or row.text,
        topic=row.topic,
        sentiment=row.sentiment,
        score=row.score,
        author=row.author,
        symbols=tuple(row.symbols),
        lang=row.lang,
        words=evidence_words(row.evidence),
        url=row.url,
        precision=Precision(row.published_precision),
        entities=mentions,
        events=tuple(name for name, _ in row.events or ()),
        assignment=_stored_assignment(row),
        origin=row.origin,
    )


def _stored_assignment(row: Any) -> StoryAssignment | None:
    """The story that a document got when it arrived; None if it has none."""
    if row.story is None:
        return None
    return StoryAssignment(
        row.key, row.sequence, row.received_at, row.story, row.novelty, row.copy_of, bool(row.voice)
    )
