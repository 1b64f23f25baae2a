"""`monitor sums`: what was known of a topic or an entity at a time."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from monitor.cli.main import main
from stream.domain.records import Batch
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.events import EVENTS_MARK
from stream.storage.marks import set_mark
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import NOW, about, classified, mention, no_messages, write

LATER = NOW + timedelta(minutes=30)
DAY = ("--from", "2026-03-01", "--until", "2026-03-02")


@pytest.fixture
def story(
    store: Store, database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A bad story that is corrected to a good one after half an hour."""
    monkeypatch.setenv("MONITOR_DATABASE__URL", database_settings.url.get_secret_value())
    with database.writing(store.engine) as connection:
        set_mark(connection, EVENTS_MARK, NOW - timedelta(minutes=1))
    item = about(classified("a", 0), mention("XNAS:AAPL", -0.5, 30))
    write(store, item)
    better = about(classified("a", 1, score=0.5, sentiment="positive"), mention("XNAS:AAPL", 0.5, 30))
    document = structs.replace(item.document, title="Shares rise", updated_at=LATER)
    store.write(Batch([structs.replace(better, document=document)]), no_messages, LATER)
    yield


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["sums", *words])


def answer(*words: str) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


@pytest.mark.parametrize("subject", [("--topic", "Earnings"), ("--entity", "XNAS:AAPL")])
@pytest.mark.usefixtures("story")
def test_a_correction_counts_from_the_time_it_was_received(subject: tuple[str, str]) -> None:
    now = answer(*subject, *DAY)
    then = answer(*subject, *DAY, "--known-at", (LATER - timedelta(seconds=1)).isoformat())
    assert now["known"] and then["known"]
    assert (now["sums"]["n"], now["sums"]["positive"], now["sums"]["mean_score"]) == (1, 1, 0.5)
    assert (then["sums"]["n"], then["sums"]["negative"], then["sums"]["mean_score"]) == (1, 1, -0.5)
    assert then["kinds"] == {"news": then["sums"]}
    assert then["known_at"] == "2026-03-01T12:30:29Z"


@pytest.mark.usefixtures("story")
def test_before_changes_were_kept_the_answer_is_unknown_and_no_number() -> None:
    words = ("--topic", "Earnings", *DAY, "--known-at", "2026-03-01T11:00:00Z")
    unknown = answer(*words)
    assert (unknown["known"], unknown["sums"], unknown["kinds"]) == (False, None, None)
    assert unknown["changes_kept_since"] == "2026-03-01T11:59:30Z"
    result = run(*words)
    assert result.stdout.startswith("unknown: changes of documents are kept since 2026-03-01T11:59:30Z")


@pytest.mark.usefixtures("story")
def test_only_mentions_of_enough_relevance_and_documents_of_the_kind_count() -> None:
    subject = ("--entity", "XNAS:AAPL", *DAY)
    assert answer(*subject, "--min-relevance", "30")["sums"]["n"] == 1
    assert answer(*subject, "--min-relevance", "31")["sums"]["n"] == 0
    assert answer(*subject, "--kind", "comment")["sums"]["mean_score"] is None
    lines = run(*subject, "--known-at", NOW.isoformat()).stdout.splitlines()
    assert lines[0] == "known at 2026-03-01T12:00:30Z"
    assert lines[2].split() == ["news", "1", "0", "0", "1", "0", "-0.5000"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (DAY, "name either a --topic or an --entity"),
        (("--topic", "A", "--entity", "B", *DAY), "name either a --topic or an --entity"),
        (("--topic", "A", "--min-relevance", "20", *DAY), "--min-relevance is for an --entity"),
        (("--topic", "A", *DAY, "--known-at", "2999-01-01"), "--known-at 2999-01-01T00:00:00Z is in the future"),
        (("--topic", "A", "--from", "2026-03-02", "--until", "2026-03-01"), "--until must be after --from"),
    ],
)  # fmt: skip
def test_wrong_options_are_explained(words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2 and message in result.stderr
