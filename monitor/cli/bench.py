"""The command that measures the monitor on this machine, beside what one would write instead."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from monitor.cli.options import EXISTING, config_option, counting, examples, json_option, plain_errors
from monitor.runtime import log, settings
from monitor.runtime.settings import LogSettings, Settings

# In turns with the whole way: a machine that others use as well is another one minutes later.
BESIDE, TURNS = "the classifier alone, in turns with it", 3
PARTS = ("model", "stream", "whole", "worker", "loop", "store")
SAMPLE_TEXTS = 2048
# At each rate; fewer where few documents are measured.
LATENCY_SECONDS = 10.0


@click.command(
    epilog=examples(
        "monitor bench",
        "monitor bench --only model --file headlines.txt --rounds 9",
        "MONITOR_DATABASE__URL=postgresql+psycopg://.../bench monitor bench -c monitor.toml --json",
    )
)
@click.option(
    "--file", type=EXISTING, help=f"Texts, one a line, {SAMPLE_TEXTS} at most; without it invented headlines."
)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Of the parts these alone.")
@click.option("--documents", type=click.IntRange(500), default=20_000, show_default=True,
              help="Documents that go the whole way; five times as many without the classifier.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each timing.")
@config_option
@json_option
@plain_errors
def bench(
    file: Path | None,
    only: tuple[str, ...],
    documents: int,
    rounds: int,
    config: Path | None,
    as_json: bool,
) -> None:
    """Measure documents a second: the classifier, the stream around it, both, and a loop by hand.

    With a settings file its broker and its database are used, which must be empty; without one an embedded
    broker and SQLite.
    """
    chosen = settings.load(config)
    log.set_up(LogSettings(level="error", format=chosen.log.format))
    texts = _lines(file) if file else invented()
    found = _measure(chosen, texts, set(only or PARTS), documents, rounds, embedded=config is None)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)


def _lines(file: Path) -> list[str]:
    with click.open_file(str(file), encoding="utf-8", errors="replace") as lines:
        found = [line.strip() for line in lines if line.strip()][:SAMPLE_TEXTS]
    if not found:
        raise click.BadParameter(f"{file} has no texts", param_hint="--file")
    return found


def invented() -> list[str]:
    from datetime import UTC, datetime

    from monitor.demo.sample import SampleFeed

    feed, now = SampleFeed("bench"), datetime.now(UTC)
    messages = (feed.calm(now).message for _ in range(SAMPLE_TEXTS))
    return [str(message.get("title") or message.get("text")) for message in messages]


def _measure(
    chosen: Settings, texts: list[str], parts: set[str], documents: int, rounds: int, *, embedded: bool
) -> dict[str, Any]:
    from monitor.bench import classifier, pipeline

    found: dict[str, Any] = {}
    if "model" in parts:
        with counting("classifier, in turns with others", None) as advance:
            found = classifier.compare(chosen.models, texts, rounds, advance)
    found.setdefault("figures", {})
    if parts - {"model"}:
        with pipeline.surroundings(chosen, embedded=embedded) as places:
            found["database"] = "SQLite" if embedded else "of the settings"
            _measure_ways(places, texts, parts, documents, rounds, found)
    found["ratios"] = found.get("ratios", {}) | ratios_of_ways(found["figures"])
    return found


def _measure_ways(
    places: Mapping[str, Settings],
    texts: list[str],
    parts: set[str],
    documents: int,
    rounds: int,
    found: dict[str, Any],
) -> None:
    from monitor.bench import classifier, pipeline, worker
    from monitor.runtime.classifier import LoadClassifier, load_engine

    figures = found["figures"]

    def way(place: str, count: int, load: LoadClassifier) -> float:
        with counting(place, count) as advance:
            return pipeline.whole_way(places[place], texts, count, load, advance)

    if "whole" in parts:
        wholes, alones = [], []
        for _ in range(TURNS):
            wholes.append(way("whole", documents, load_engine))
            alones.append(classifier.alone(places["whole"].models, texts, documents))
        figures["whole"] = classifier.figure(documents, wholes)
        figures[BESIDE] = classifier.figure(documents, alones)
    if "stream" in parts:
        figures["stream"] = classifier.figure(
            5 * documents, [way("stream", 5 * documents, pipeline.stand_in)]
        )
    if "worker" in parts:
        rate = (
            figures["whole"]["documents_per_second"]
            if "whole" in figures
            else way("whole", documents, load_engine)
        )
        with counting("a worker of its own: start, memory, latency", None):
            found["worker"] = worker.backlog(places["worker"], texts, documents)
            seconds = min(LATENCY_SECONDS, documents / 100)
            found["worker"] |= worker.latency(places["latency"], texts, rate / 2, seconds)
    if "loop" in parts:
        figures["loop"] = classifier.figure(
            pipeline.LOOP_DOCUMENTS, [pipeline.by_hand(places["loop"], texts)]
        )
    if "store" in parts:
        found["queries_ms"] = pipeline.queries(places["whole"], rounds)
        found["queries_ms"]["all rules on all topics"] = pipeline.evaluations(places["whole"], rounds)


def ratios_of_ways(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Of those that were measured."""
    pairs = {
        "whole_way_over_classifier": ("whole", BESIDE),
        "whole_way_over_user_loop": ("whole", "loop"),
        "stream_over_whole_way": ("stream", "whole"),
    }
    rates = {name: figure["documents_per_second"] for name, figure in figures.items()}
    return {
        name: round(rates[one] / rates[other], 3)
        for name, (one, other) in pairs.items()
        if one in rates and other in rates
    }


def _show(found: dict[str, Any]) -> None:
    console = Console()
    if "machine" in found:
        told = found["machine"] | found["model"] | found["texts"]
        console.print(", ".join(f"{name} {value}" for name, value in told.items() if value is not None))
    table = Table("", "documents", "documents/s", "slowest", "fastest", box=None)
    for name, figure in found["figures"].items():
        spread = [f"{figure[key]:,.0f}" if key in figure else "" for key in ("slowest", "fastest")]
        table.add_row(name, str(figure["documents"]), f"{figure['documents_per_second']:,.0f}", *spread)
    console.print(table)
    for name, value in found["ratios"].items():
        console.print(f"{name.replace('_', ' ')}: {value:g}")
    for name, value in found.get("worker", {}).items():
        console.print(f"{name.replace('_', ' ')}: {value}")
    for name, value in found.get("queries_ms", {}).items():
        console.print(f"{name}: {value:g} ms")
