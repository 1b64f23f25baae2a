"""`monitor feed`: sending a file of texts to Kafka."""

import json
import sys
from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path

import click

from monitor.cli.options import (
    EXISTING,
    config_option,
    encoding_option,
    examples,
    json_option,
    load_settings,
    map_option,
    plain_errors,
    progress,
    time_options,
)


def parse_speed(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(f"{value!r}: a number above 0, or max, was expected")
    return speed


@click.command(
    epilog=examples(
        "monitor feed news.jsonl --kind news --speed max",
        "monitor feed headlines.csv.gz --map title=headline,published_at=ts --timezone Asia/Shanghai",
        "tail -f posts.jsonl | monitor feed - --kind comment --shift-to-now",
    )
)
@click.argument("file", type=EXISTING)
@config_option
@click.option("--kind", type=click.Choice(["news", "comment"]), default="news", show_default=True)
@click.option(
    "--speed",
    default="1",
    callback=parse_speed,
    show_default=True,
    help="How many times faster than the timestamps; max: as fast as possible.",
)
@click.option("--shift-to-now", is_flag=True, help="Timestamp every text with the time it is sent.")
@click.option("--source", help="Source of rows that have none.")
@map_option("id, source, published_at, updated_at, title, text, author, url, symbols, lang")
@encoding_option
@time_options
@json_option
@plain_errors
def feed(
    file: Path,
    config: Path | None,
    kind: str,
    speed: float | None,
    shift_to_now: bool,
    source: str | None,
    columns: Mapping[str, str],
    encoding: str | None,
    zone: tzinfo | None,
    excel_days: bool,
    as_json: bool,
) -> None:
    """Send the texts in FILE (or - for standard input) to Kafka: JSON lines, a JSON array or CSV."""
    from stream import feed as feeding
    from stream.codec import Codec
    from stream.domain.documents import Kind
    from stream.domain.files.file_times import TimeFormat
    from stream.domain.files.input_rows import read_rows
    from stream.kafka import admin

    if error_message := feeding.unknown_field_error(columns):
        raise click.BadParameter(error_message)
    settings = load_settings(config)
    kafka = settings.kafka
    topic = {each.value: name for name, each in kafka.kinds.items()}[kind]
    admin.incarnations(kafka, [topic])
    rows = feeding.RowOptions(
        columns, source, Kind(kind), TimeFormat(zone, excel_days), expects_time=not shift_to_now
    )
    producer = admin.producer(kafka, linger_ms=20, batch_size=1 << 16)
    with progress(file, "feeding") as advance:
        report = feeding.send_rows(
            read_rows(file, text_columns=rows.text_columns(), encoding=encoding, progress=advance),
            str(file),
            topic,
            producer,
            Codec.from_settings(settings.stream),
            feeding.FeedOptions(rows, speed, shift_to_now),
        )
    producer.close()
    for note in (*report.error_messages, *report.notes()):
        click.echo(note, err=True)
    rate = report.sent / report.seconds if report.seconds else 0.0
    if as_json:
        summary: dict[str, float] = {"sent": report.sent, "refused": report.refused_rows}
        summary |= {"seconds": round(report.seconds, 3), "per_second": round(rate, 1)}
        click.echo(json.dumps(summary))
    else:
        counts = f"{report.sent} sent to {topic}, {report.refused_rows} refused"
        click.echo(f"{counts}, {report.seconds:.1f} s, {rate:.0f} documents/s")
    sys.exit(1 if report.refused_rows else 0)
