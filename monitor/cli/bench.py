"""`monitor bench`: measures the monitor on this machine, and what one would write instead."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from monitor.cli.options import EXISTING, config_option, counting, examples, json_option, plain_errors
from monitor.runtime import log
from monitor.runtime.settings import LogSettings, Settings, load

# What is compared with the whole way is measured in turns with it: the speed of a shared machine changes.
CLASSIFIER_ALONE, WITHOUT_ENTITIES, TURNS = (
    "the classifier alone, in turns with it",
    "whole, without entities",
    3,
)
PARTS = ("model", "stream", "whole", "worker", "loop", "store")
SAMPLE_TEXTS = 2048
# Fewer where few documents are measured.
LATENCY_SECONDS = 10.0


@click.command(
    epilog=examples(
        "monitor bench",
        "monitor bench --only model --file headlines.txt --rounds 9",
        "MONITOR_DATABASE__URL=postgresql+psycopg://.../bench monitor bench -c monitor.toml --json",
    )
)
@click.option(
    "--file",
    type=EXISTING,
    help=f"Texts, one per line, at most {SAMPLE_TEXTS}; default: invented headlines.",
)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Measure only these parts.")
@click.option(
    "--documents",
    type=click.IntRange(500),
    default=20_000,
    show_default=True,
    help="Documents sent through the whole monitor; five times as many without the classifier.",
)
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
    """Measure documents per second: the classifier, the stream without it, both, and a simple loop.

    Uses the broker and the database of the settings file; the database must be empty.  Without a settings
    file it uses an embedded broker and SQLite.
    """
    settings = load(config)
    log.set_up(LogSettings(level="error", format=settings.log.format))
    texts = _lines(file) if file else invented()
    results = _measure(settings, texts, set(only or PARTS), documents, rounds, embedded=config is None)
    if as_json:
        click.echo(json.dumps(results, indent=1))
    else:
        _show(results)


def _lines(file: Path) -> list[str]:
    with click.open_file(str(file), encoding="utf-8", errors="replace") as lines:
        texts = [line.strip() for line in lines if line.strip()][:SAMPLE_TEXTS]
    if not texts:
        raise click.BadParameter(f"{file} has no texts", param_hint="--file")
    return texts


def invented() -> list[str]:
    """English headlines and comments of the sample feed: each language has a network of its own."""
    from datetime import UTC, datetime

    from monitor.demo.sample import SampleFeed

    feed, now = SampleFeed("bench"), datetime.now(UTC)
    messages = (feed.calm(now).message for _ in itertools.count())
    english = (message for message in messages if message["lang"] == "en")
    return [
        str(message.get("title") or message.get("text"))
        for message in itertools.islice(english, SAMPLE_TEXTS)
    ]


def _measure(
    settings: Settings, texts: list[str], parts: set[str], documents: int, rounds: int, *, embedded: bool
) -> dict[str, Any]:
    from monitor.bench import classifier, pipeline

    results: dict[str, Any] = {}
    if "model" in parts:
        with counting("classifier and alternatives, in turns", None) as advance:
            results = classifier.measure_classifier(settings.models, texts, rounds, advance)
    results.setdefault("figures", {})
    if parts - {"model"}:
        with pipeline.prepared_settings(settings, embedded=embedded) as by_name:
            results["database"] = "SQLite" if embedded else "of the settings"
            _measure_streams(by_name, texts, parts, documents, rounds, results)
    results["ratios"] = results.get("ratios", {}) | stream_ratios(results["figures"])
    return results


def _measure_streams(
    by_name: Mapping[str, Settings],
    texts: list[str],
    parts: set[str],
    documents: int,
    rounds: int,
    results: dict[str, Any],
) -> None:
    from monitor.bench import classifier, pipeline, worker
    from monitor.runtime.classifier import LoadClassifier, load_engine

    figures = results["figures"]

    def measure(name: str, count: int, load: LoadClassifier) -> float:
        with counting(name, count) as advance:
            return pipeline.measure_stream(by_name[name], texts, count, load, advance)

    if "whole" in parts:
        wholes, plains, alones = [], [], []
        for _ in range(TURNS):
            wholes.append(measure("whole", documents, load_engine))
            plains.append(measure("plain", documents, pipeline.without_entities))
            alones.append(classifier.classifier_rate(by_name["whole"].models, texts, documents))
        figures["whole"] = classifier.summarise_rates(documents, wholes)
        figures[WITHOUT_ENTITIES] = classifier.summarise_rates(documents, plains)
        figures[CLASSIFIER_ALONE] = classifier.summarise_rates(documents, alones)
    if "stream" in parts:
        figures["stream"] = classifier.summarise_rates(
            5 * documents, [measure("stream", 5 * documents, pipeline.stand_in)]
        )
    if "worker" in parts:
        rate = (
            figures["whole"]["documents_per_second"]
            if "whole" in figures
            else measure("whole", documents, load_engine)
        )
        with counting("a separate process: start, memory, latency", None):
            results["worker"] = worker.backlog(by_name["worker"], texts, documents)
            seconds = min(LATENCY_SECONDS, documents / 100)
            results["worker"] |= worker.latency(by_name["latency"], texts, rate / 2, seconds)
    if "loop" in parts:
        figures["loop"] = classifier.summarise_rates(
            pipeline.LOOP_DOCUMENTS, [pipeline.measure_user_loop(by_name["loop"], texts)]
        )
    if "store" in parts:
        results["queries_ms"] = pipeline.measure_queries(by_name["whole"], rounds)
        results["queries_ms"]["all rules on all topics"] = pipeline.measure_rules(by_name["whole"], rounds)


def stream_ratios(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The ratios of those figures that were measured."""
    pairs = {
        "whole_way_over_classifier": ("whole", CLASSIFIER_ALONE),
        "whole_way_with_entities_over_without": ("whole", WITHOUT_ENTITIES),
        "whole_way_over_user_loop": ("whole", "loop"),
        "stream_over_whole_way": ("stream", "whole"),
    }
    rates = {name: figure["documents_per_second"] for name, figure in figures.items()}
    return {
        name: round(rates[one] / rates[other], 3)
        for name, (one, other) in pairs.items()
        if one in rates and other in rates
    }


def _show(results: dict[str, Any]) -> None:
    console = Console()
    if "machine" in results:
        facts = results["machine"] | results["model"] | results["texts"]
        console.print(", ".join(f"{name} {value}" for name, value in facts.items() if value is not None))
    table = Table("", "documents", "documents/s", "slowest", "fastest", box=None)
    for name, figure in results["figures"].items():
        spread = [f"{figure[key]:,.0f}" if key in figure else "" for key in ("slowest", "fastest")]
        table.add_row(name, str(figure["documents"]), f"{figure['documents_per_second']:,.0f}", *spread)
    console.print(table)
    for name, value in results["ratios"].items():
        console.print(f"{name.replace('_', ' ')}: {value:g}")
    for name, value in results.get("worker", {}).items():
        console.print(f"{name.replace('_', ' ')}: {value}")
    for name, value in results.get("queries_ms", {}).items():
        console.print(f"{name}: {value:g} ms")
