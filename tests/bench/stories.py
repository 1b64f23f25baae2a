"""How many documents a second one core assigns to stories, and how much memory that takes.

    .venv/bin/python -m tests.bench.stories [DOCUMENTS]

Documents arrive for a day, so many (200,000 unless told) in all: two in five are copies or tell a story that
goes on, the others begin one.  Words follow Zipf's law.  The rate is that of the last tenth, when the memory
is full; it counts assignment alone, without the database, in processor time.
"""

import random
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import numpy as np

from stream.domain.documents import Embedding, Kind
from stream.domain.stories import StoryFeatures, StoryInput, TextTerms
from stream.stories.assignment import Assigner
from stream.stories.signature import SIGNATURE_SIZE

START = datetime(2026, 3, 4, tzinfo=UTC)
DAY = 86_400
VOCABULARY, WORDS, ENTITIES, SIZE = 60_000, 14, 4_000, 128


def documents(count: int) -> Iterator[StoryInput]:
    """Documents in the order of their times, the same ones in every run."""
    rng, chance = np.random.default_rng(1), random.Random(1)
    events: list[tuple[TextTerms, np.ndarray]] = []
    last: list[StoryFeatures] = []
    for number in range(count):
        kind = chance.random()
        if kind < 0.2 and last:
            features = chance.choice(last[-2000:])
        else:
            if kind < 0.4 and events:
                terms, vector = chance.choice(events[-3000:])
                terms = TextTerms(
                    terms.entities,
                    terms.numbers,
                    words=tuple(sorted({*terms.words[::2], *_words(rng, WORDS // 2)})),
                )
                vector = vector + rng.normal(0, 4, SIZE)
            else:
                entities = tuple(sorted(rng.zipf(1.3, 2) % ENTITIES))
                terms = TextTerms(tuple(map(int, entities)), _words(rng, 3), words=_words(rng, WORDS))
                vector = rng.normal(0, 11, SIZE)
                events.append((terms, vector))
            values = np.clip(np.rint(vector), -127, 127).astype(np.int8).tobytes()
            signature = rng.integers(0, 256, SIGNATURE_SIZE, dtype=np.uint8).tobytes()
            features = StoryFeatures(
                f"wire {chance.randrange(400)}", signature, terms, Embedding("m/en", values)
            )
            last.append(features)
        received = START + timedelta(seconds=number * DAY / count)
        yield StoryInput(f"news:wire:{number}", Kind.NEWS, "wire", f"{number}", received, features)


def _words(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    return tuple(sorted({int(word) % VOCABULARY for word in rng.zipf(1.15, count)}))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    assigner, stories = Assigner(), set()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = 0.0
    tenth = count // 10
    for number, document in enumerate(documents(count)):
        started = time.process_time()
        assignment, _ = assigner.assign(document)
        if number >= count - tenth:
            seconds += time.process_time() - started
        stories.add(assignment.story)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    click.echo(f"{count:,} documents, {len(stories):,} stories")
    click.echo(f"{tenth / seconds:,.0f} documents a second at the end")
    click.echo(
        f"{(after - before) / 1024:,.0f} MB for the memory, and for the documents that the benchmark makes"
    )


if __name__ == "__main__":
    main()
