"""Bursts of bad news about rare entities, planted in a calm stream: how many are paged, and what else is.

    .venv/bin/python -m tools.entity_bursts [--days 365] [--bursts 100] [--seed 1] [--rules FILE]

The stream has entities whose volumes follow Zipf's law, the rhythm of the day and of the week, and for each
entity a share of negatives of its own.  A burst is some texts about one entity within half an hour.  Labels
are made by the generator: this measures the rules, not the classifier.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from alerts.backtest import Page, replay
from alerts.detectors.base import Rule
from alerts.history.memory_store import Text
from alerts.rules.rule_file import load_rules
from stream.domain.entities import EntityMention

START = datetime(2025, 1, 6, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
TOPICS = ("Earnings", "Macro", "M&A", "Stock Movement")
SCORES = {"negative": -0.8, "neutral": 0.0, "positive": 0.7}
RULES = """\
rules:
  - name: entity-surge
    type: negative_surge
    entities: each
    window: 30m
    factor: 3
    false_pages_per_month: 0.25
"""


@dataclass(frozen=True)
class Calm:
    """A stream without events: `per_day` texts a day about `entities` entities, for `days` days.

    The volume of the entity of rank r is proportional to 1 / r ** `exponent`.  A text is followed by copies
    with the probability `copied`.
    """

    days: int = 365
    entities: int = 2000
    per_day: float = 400.0
    exponent: float = 1.0
    negative: float = 0.2
    copied: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Burst:
    """`texts` texts about one entity within `length` from `start` on, with this sentiment."""

    entity: str
    start: datetime
    texts: int = 12
    length: timedelta = timedelta(minutes=30)
    sentiment: str = "negative"


@dataclass(frozen=True)
class Outcome:
    """What became of the bursts: the delay to the page of each (None: no page), and the other pages."""

    delays: Sequence[timedelta | None]
    others: Sequence[Page] = field(repr=False)
    pages: int = 0

    def within(self, limit: timedelta) -> int:
        """How many bursts were paged within this time of their beginning."""
        return sum(delay is not None and delay <= limit for delay in self.delays)


def entity_name(rank: int) -> str:
    """The id of the entity of this rank, from 0 on."""
    return f"XNAS:E{rank:04}"


def text_about(
    number: int, at: datetime, sentiment: str, *entities: str, topic: str = "Earnings", relevance: int = 80
) -> Text:
    """A text with this sentiment towards each of the entities."""
    score = SCORES[sentiment]
    mentions = tuple(
        EntityMention(entity, f"Company {entity[-4:]}", (), relevance, sentiment, 0.9, score)
        for entity in entities
    )
    return Text(
        id=str(number),
        source=f"wire {number % 7}",
        kind="news",
        published_at=at,
        content=f"Text {number} about {' '.join(entities)}, which is {sentiment}",
        topic=topic,
        sentiment=sentiment,
        score=round(score * 10_000),
        entities=mentions,
    )


def calm_texts(calm: Calm) -> Iterator[Text]:
    """The texts of the calm stream, in order."""
    generator = np.random.default_rng(calm.seed)
    volumes = 1 / np.arange(1, calm.entities + 1) ** calm.exponent
    volumes /= volumes.sum()
    shares = generator.beta(4, 4 * (1 - calm.negative) / calm.negative, calm.entities)
    number = 0
    for hour in range(calm.days * 24):
        start = START + hour * HOUR
        texts = generator.poisson(calm.per_day / 24 * rhythm(start))
        for second in sorted(generator.integers(0, 3600, texts)):
            entity = int(generator.choice(calm.entities, p=volumes))
            negative = generator.random() < shares[entity]
            sentiment = "negative" if negative else ("neutral", "positive")[int(generator.random() < 0.4)]
            copies = 1 + (generator.geometric(0.5) if generator.random() < calm.copied else 0)
            topic = TOPICS[entity % len(TOPICS)]
            for copy in range(copies):
                at = start + timedelta(seconds=int(second), minutes=2 * copy)
                yield text_about(number, at, sentiment, entity_name(entity), topic=topic)
                number += 1


def rhythm(at: datetime) -> float:
    """How busy the hour is, 1 on average: working hours, and quiet weekends."""
    day = (1.3, 1.3, 1.3, 1.3, 1.3, 0.25, 0.25)[at.weekday()]
    return day * (0.35 + 1.6 * max(0.0, math.sin(math.pi * (at.hour - 5) / 16)) ** 2)


def rare_bursts(calm: Calm, bursts: int, first: timedelta = timedelta(days=30)) -> list[Burst]:
    """Bursts on different entities of the rarer half, at any time of the day, after the first days."""
    choice = random.Random(calm.seed)
    ranks = choice.sample(range(calm.entities // 2, calm.entities), bursts)
    length = timedelta(days=calm.days) - first - DAY
    return [Burst(entity_name(rank), START + first + choice.random() * length) for rank in ranks]


def burst_texts(bursts: Sequence[Burst], seed: int) -> list[Text]:
    """The texts of the bursts: the first at the beginning, the others at random."""
    choice = random.Random(seed)
    texts: list[Text] = []
    for place, burst in enumerate(bursts):
        times = [0.0, *sorted(choice.random() for _ in range(burst.texts - 1))]
        texts += [
            text_about(
                10_000_000 + 1000 * place + i, burst.start + at * burst.length, burst.sentiment, burst.entity
            )
            for i, at in enumerate(times)
        ]
    return texts


def run(rules: Sequence[Rule], texts: Sequence[Text], bursts: Sequence[Burst]) -> Outcome:
    """Run the rules, and assign the pages to the bursts: by entity, from the beginning until a day after."""
    pages = replay(rules, TOPICS, texts).alerts
    firsts: dict[int, Page] = {}
    others: list[Page] = []
    for page in pages:
        of = [
            place
            for place, burst in enumerate(bursts)
            if burst.entity == page.fired.entity and burst.start <= page.fired_at <= burst.start + DAY
        ]
        for place in of:
            firsts.setdefault(place, page)
        if not of:
            others.append(page)
    delays = [
        firsts[place].fired_at - burst.start if place in firsts else None
        for place, burst in enumerate(bursts)
    ]
    return Outcome(delays, others, len(pages))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--entities", type=int, default=2000)
    parser.add_argument("--per-day", type=float, default=400.0)
    parser.add_argument("--copied", type=float, default=0.0)
    parser.add_argument("--bursts", type=int, default=100)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rules", type=Path)
    options = parser.parse_args()
    calm = Calm(options.days, options.entities, options.per_day, copied=options.copied, seed=options.seed)
    bursts = [
        replace(burst, texts=options.texts, length=options.minutes * MINUTE)
        for burst in rare_bursts(calm, options.bursts)
    ]
    rules = load_rules(options.rules) if options.rules else _own_rules()
    texts = [*calm_texts(calm), *burst_texts(bursts, calm.seed)]
    began = time.perf_counter()
    outcome = run(rules, texts, bursts)
    delays = sorted(delay for delay in outcome.delays if delay is not None)
    print(f"{len(texts):,} texts in {time.perf_counter() - began:.0f} s, {outcome.pages} pages")
    print(f"bursts paged within 30 minutes: {outcome.within(30 * MINUTE)} of {len(bursts)}")
    if delays:
        print(f"delay: median {delays[len(delays) // 2]}, longest {delays[-1]}")
    months = options.days / 30
    budget = sum(rule.false_page_budget for rule in rules) * months
    print(f"other pages: {len(outcome.others)}; the budget in {months:.1f} months is {budget:.2f}")
    for page in outcome.others[:20]:
        print(f"  {page.fired_at:%Y-%m-%d %H:%M} {page.fired.rule}: {page.fired.summary}")


def _own_rules() -> Sequence[Rule]:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(RULES)
        file.flush()
        return load_rules(Path(file.name))


if __name__ == "__main__":
    main()
