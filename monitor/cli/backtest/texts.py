"""The texts of a backtest: from a file, classified now, or from the database."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from alerts.backtest import Text
from alerts.detectors.base import Rule
from models import backend_selection
from models.data.dataset import fingerprint
from models.errors import DataError
from models.inference.engine import Engine
from models.settings import ModelSettings, user_cache
from monitor.runtime.settings import Settings
from stream.codec import Codec
from stream.domain.documents import EPOCH, SCORE_SCALE, Document, Kind, Prediction
from stream.domain.errors import FeedError, Rejected
from stream.feed import FeedOptions, to_message, unknown_field_error
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.reads import evidence_words

log = logging.getLogger(__name__)

CHUNK = 512
Progress = Callable[[str, float], None]


def classify_file(
    models: ModelSettings,
    file: Path,
    columns: Mapping[str, str],
    *,
    kind: Kind,
    end: datetime | None,
    progress: Progress,
) -> tuple[list[Text], list[str]]:
    """The classified texts of a file of JSON lines, stamped before `end`, and an error for each skipped line.

    The predictions of a model for a file are cached.  Raises DataError.
    """
    if complaint := unknown_field_error(columns):
        raise DataError(complaint)
    documents, line_errors = _documents(file, FeedOptions(columns), kind)
    engine = Engine.load(backend_selection.cached_backend(models))
    cache = _cache_file(file, [Text.__slots__, engine.info.version, sorted(columns.items()), kind])
    texts = _read_cache(cache)
    if texts is None:
        texts = list(_classified(engine, documents, progress))
        _write_cache(cache, texts)
    return _in_order([text for text in texts if end is None or text.published_at < end]), line_errors


def _classified(engine: Engine, documents: Sequence[Document], progress: Progress) -> Iterator[Text]:
    for at in range(0, len(documents), CHUNK):
        part = documents[at : at + CHUNK]
        predictions = engine.classify([d.content for d in part], [d.lang for d in part])
        for document, prediction in zip(part, predictions, strict=True):
            if prediction.topic is not None and prediction.score is not None:
                yield _text(document, prediction)
        progress("classifying", (at + len(part)) / len(documents))


def _cache_file(file: Path, key: object) -> Path:
    """The cache of a file's predictions, named by a hash of the model's version and the file's content."""
    digest = hashlib.sha256(json.dumps([key, fingerprint(file)]).encode())
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


def _documents(file: Path, options: FeedOptions, kind: Kind) -> tuple[list[Document], list[str]]:
    """Every document once, as the stream would read it, and an error for each line that cannot be read."""
    codec = Codec(timedelta(0), 1 << 30)
    unique: dict[str, Document] = {}
    line_errors = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                message, stamp = to_message(line, options)
                document = codec.decode(json.dumps(message).encode(), kind, stamp)
            except (FeedError, Rejected) as error:
                line_errors.append(f"{file}:{number}: {error}")
                continue
            unique.setdefault(document.key, document)
    return list(unique.values()), line_errors


def _text(document: Document, prediction: Prediction) -> Text:
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
    )


def read_database(
    settings: Settings, start: datetime | None, end: datetime | None, rule_files: Sequence[Sequence[Rule]]
) -> list[Text]:
    """The classified documents of the database before `end`, beginning one baseline before `start`."""
    lengths = [r.baseline_spec.history for rules in rule_files for r in rules if r.baseline_spec]
    since = start - max(lengths, default=timedelta(0)) if start else EPOCH
    store = Store(database.connect_existing(settings.database), settings.stream.window_seconds)
    return _in_order(
        [
            Text(
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
            )
            for row in store.reads.scored_documents(since, end or datetime.max.replace(tzinfo=UTC))
        ]
    )
