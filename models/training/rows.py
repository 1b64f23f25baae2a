"""The rows of a training run: files, a recipe's sources, and the project's augmentation sets."""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.data.augmentation_sets import GENERATED, WRITTEN, Sentence, generated_sentences, written_sentences
from models.data.dataset import Recipe, Row, Source, Target, read_recipe, read_source
from models.errors import DataError
from models.network.info import read_info
from models.training.options import DataOptions, TrainingOptions
from stream.domain.documents import SENTIMENTS
from stream.domain.text.cleaning import clean

log = logging.getLogger(__name__)


def training_rows(data: DataOptions, options: TrainingOptions) -> tuple[list[Source], list[Row]]:
    """The sources, and their rows with the augmentation sets.  Raises DataError without any source."""
    sources = [Source.plain(file, data.columns, data.encoding) for file in data.files]
    recipe = read_recipe(data.recipe, data.root) if data.recipe else Recipe(sources=[])
    sources += recipe.sources
    if data.licensed_only:
        sources = [source for source in sources if source.licence or source.file in data.files]
    if not sources:
        raise DataError("nothing to train on: give files of labelled rows, or a recipe")
    for source in sources:
        if not source.file.is_file():
            # The model's card has its checksum, and a resumed run reads it again.
            raise DataError(f"{source.file}: not a regular file: write the rows to one first")
    rows = [row for source in sources for row in restrict_to_used_sentiments(read_source(source))]
    generated = augmentation_rows(recipe.generated, options.fit.seed)
    return sources, rows + generated + _rehearsal_rows(len(rows), data, options)


def as_classified(row: Row) -> Row:
    """The row with the text that the network reads when it classifies: clean, and without boilerplate."""
    news = clean(row.text).news
    if news.text == row.text:
        return row
    targets = []
    for target in row.targets:
        spans = (news.clean_span(*place) for place in target.places)
        if places := tuple((start, end) for start, end in spans if start < end):
            targets.append(Target(places, target.label))
    return replace(row, text=news.text, targets=tuple(targets))


def restrict_to_used_sentiments(rows: list[Row]) -> list[Row]:
    """Treat sentiments that never occur in a file as not asked for there, instead of as never right.

    Otherwise posts that their authors marked bullish or bearish would teach that nothing is neutral.
    """
    labels = [row.labels["sentiment"] for row in rows if "sentiment" in row.labels]
    used = tuple(name for name in SENTIMENTS if any(name in label.names for label in labels))
    if not used or len(used) == len(SENTIMENTS) or any(label.among for label in labels):
        return rows
    unused = " or ".join(name for name in SENTIMENTS if name not in used)
    log.warning("%s: no row is %s: treated as not asked for", rows[0].source, unused)
    return [_restrict_sentiment(row, used) for row in rows]


def _restrict_sentiment(row: Row, among: tuple[str, ...]) -> Row:
    if "sentiment" not in row.labels:
        return row
    return replace(row, labels={**row.labels, "sentiment": replace(row.labels["sentiment"], among=among)})


def written_rows(language: str) -> list[Row]:
    """The written sentences of a language as rows; none if there are no files."""
    return _as_rows(WRITTEN, written_sentences(language))


def augmentation_rows(counts: Mapping[str, int], seed: int) -> list[Row]:
    """For each language, its written sentences and the given number of generated ones, as rows."""
    rows: list[Row] = []
    for language, count in counts.items():
        rows += written_rows(language) + _as_rows(GENERATED, generated_sentences(language, count, seed))
    return rows


def _as_rows(source: str, sentences: Sequence[Sentence]) -> list[Row]:
    return [
        replace(Row.of(text, **labels), source=source, events=events) for text, labels, events in sentences
    ]


def _rehearsal_rows(own_rows: int, data: DataOptions, options: TrainingOptions) -> list[Row]:
    """Written sentences against forgetting: as many as there are own rows, unless --rehearsal says otherwise.

    None with a recipe, which brings its own, and none for a bare encoder, which has nothing to forget.  Only
    topics and events that the base knows: it cannot forget others.
    """
    count = own_rows if data.rehearsal is None else data.rehearsal
    is_bare_encoder = not (Path(options.base) / "model.json").is_file()
    if data.recipe or is_bare_encoder or not count:
        return []
    info = read_info(Path(options.base))
    topics, looks_for_events = info.labels["topic"], any(part.event_types for part in info.parts)
    rows = [
        row if looks_for_events else replace(row, events=None)
        for language in options.languages
        for row in written_rows(language)
        if row.labels["topic"].only in topics
    ]
    return random.Random(options.fit.seed).sample(rows, min(count, len(rows)))
