"""Backtests count voices as the daemon would: texts get their stories in the order of their times."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from alerts.history.memory_store import MemoryStore, Text
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from monitor.cli.backtest.outcome import run_backtest
from monitor.cli.backtest.report import as_answer
from monitor.cli.backtest.texts import read_database, with_stories
from monitor.cli.main import main
from monitor.runtime.settings import Settings
from stream.domain.documents import EPOCH, Document, Kind, Prediction
from stream.domain.sums import Counted, MentionSelection, Scope, Selection
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.marks import set_mark
from stream.storage.stories import STORIES_MARK
from stream.stories.publishers import shipped_publishers
from tests.unit.alerts.story_texts import COPIES, OWN, dull
from tests.unit.stream.samples import NOW, about, mention, write
from tests.unit.stream.test_story_task import TITLES, sent, tasks

START = datetime(2026, 3, 2, tzinfo=UTC)
EVENT = START + timedelta(days=9, hours=10)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BAD = Prediction("m", "en", "Earnings", "negative", -0.9, {})
CALM = Prediction("m", "en", "Earnings", "neutral", 0.0, {})
UNSUPPORTED = Prediction("m", None)


def document(title: str, at: datetime, number: int) -> Document:
    return Document(str(number), Kind.NEWS, f"source {number}", at, title=title)


def texts_of(*titles: str, days: int = 9) -> list[Text]:
    """So many days with two texts an hour, and these bad texts by sources of their own."""
    first = (9 - days) * 48
    calm = [document(dull(i), START + i * HOUR / 2, i) for i in range(first, 9 * 48 + 40)]
    bad = [document(title, EVENT + i * MINUTE / 2, 5000 + i) for i, title in enumerate(titles)]
    # A file need not be in order.
    documents = [*bad, *calm]
    predictions = [BAD] * len(bad) + [CALM] * len(calm)
    return with_stories(documents, predictions, shipped_publishers(), {})


def pages_of(texts: list[Text]) -> list[dict[str, Any]]:
    """What `monitor backtest --json` shows of the shipped rules."""
    rules = load_rules(SHIPPED_RULES, ("Earnings",))
    result = run_backtest(
        "rules.yaml", rules, ("Earnings",), texts, start=EVENT - HOUR, events=(), progress=lambda *_: None
    )
    answer = msgspec.json.decode(msgspec.json.encode(as_answer([result], len(texts))))
    return list(answer["pages"])


def test_one_text_in_eighteen_copies_pages_nobody_and_is_one_voice() -> None:
    texts = texts_of(COPIES[0], *COPIES)
    assert pages_of(texts) == []
    assigned = [text.assignment for text in texts if text.score < 0]
    assert len({each.story for each in assigned if each}) == 1
    assert [each.is_voice for each in assigned if each] == [True] + [False] * 18
    assert sum(each.copy_of is not None for each in assigned if each) == 18


def test_eighteen_texts_of_their_own_are_one_page_where_the_history_is_too_short_for_the_slow_rules() -> None:
    page, *later = pages_of(texts_of(*OWN, days=3))
    assert page["page"] == "begin" and {one["page"] for one in later} <= {"update", "end"}
    assert (page["rule"], page["counted"]) == ("negative-surge", "voices")


def test_eighteen_texts_of_their_own_page_with_their_stories_and_voices() -> None:
    pages = pages_of(texts_of(*OWN, *COPIES[:5]))
    assert [page["page"] for page in pages].count("begin") == 1
    surge = next(page for page in pages if page["rule"] == "slow-surge")
    assert surge["counted"] == "voices" and surge["n"] >= surge["voices"] >= 14
    assert 1 <= surge["stories"] <= surge["voices"]
    assert surge["texts"] == surge["voices"] + surge["copies"]
    assert len({item["story"] for item in surge["evidence"]}) > 1 or surge["stories"] == 1


def test_documents_without_a_label_are_in_the_sequence_too() -> None:
    documents = [document(title, EVENT + i * MINUTE, i) for i, title in enumerate((TITLES[0], *TITLES[:3]))]
    (text, other) = with_stories(documents, [UNSUPPORTED, BAD, UNSUPPORTED, BAD], shipped_publishers(), {})
    assert text.assignment and other.assignment
    # The first text is a copy of one without a label.
    assert (text.assignment.sequence, text.assignment.copy_of, text.assignment.is_voice) == (
        2, documents[0].key, False,
    )  # fmt: skip
    assert other.assignment.sequence == 4


def test_documents_of_a_database_keep_the_stories_that_they_got(store: Store) -> None:
    write(store, *(sent(title, i) for i, title in enumerate(TITLES)))
    tasks(store).assign_next(3)
    with database.writing(store.engine) as connection:
        set_mark(connection, STORIES_MARK, NOW)
    settings = Settings.model_validate({"database": {"url": str(store.engine.url)}})
    texts, since, _ = read_database(settings, None, None, [])
    found = [(each.assignment.story, each.assignment.is_voice) for each in texts if each.assignment]
    assert sorted(found) == [(1, False), (1, True), (3, True)]
    # The fourth waits for its story: it is not from before there were any.
    assert (len(texts), since) == (4, EPOCH)
    assert MemoryStore(texts).voices_since() == NOW + timedelta.resolution
    assert MemoryStore(texts, since).voices_since() == EPOCH


def test_a_backtest_of_a_database_counts_what_the_database_counts(store: Store) -> None:
    titles = [*COPIES[:6], *OWN[:6], *map(dull, range(20))]
    items = [
        about(
            sent(title, i, at=NOW - i * 7 * MINUTE, sentiment="negative" if i % 3 else "neutral"),
            mention("bank:NGTB", score=-0.5 if i % 4 else 0.0),
        )
        for i, title in enumerate(titles)
    ]
    write(store, *items)
    while tasks(store).assign_next():
        pass
    settings = Settings.model_validate({"database": {"url": str(store.engine.url)}})
    texts, *_ = read_database(settings, None, None, [])
    memory, stored, start = MemoryStore(texts), store.reads, NOW - 5 * HOUR
    for counted in Counted:
        for novelty in (0, 50, 80):
            selection = Selection(counted=counted, min_novelty=novelty)
            end = NOW + HOUR
            assert memory.sums(start, end, selection) == stored.sums(start, end, selection)
            assert memory.sums_by_window(start, end, HOUR, selection) == stored.sums_by_window(
                start, end, HOUR, selection
            )
            mentions = MentionSelection(documents=selection)
            assert memory.entity_sums(start, end, mentions) == stored.entity_sums(start, end, mentions)
            for entity in (None, "bank:NGTB"):
                scope = Scope(None, ("news",), start, end, selection, entity)
                for negative in (True, False):
                    assert memory.story_counts(scope, negative=negative) == stored.story_counts(
                        scope, negative=negative
                    )
                assert [
                    (item.key, item.story, item.novelty, item.is_voice, item.copies)
                    for item in memory.most_negative(scope, 9)
                ] == [
                    (item.key, item.story, item.novelty, item.is_voice, item.copies)
                    for item in stored.most_negative(scope, 9)
                ]


def test_the_command_shows_stories_and_voices(tmp_path: Path) -> None:
    rows = [
        {"published_at": (START + i * HOUR / 2).isoformat(), "title": dull(i), "source": f"s{i}"}
        for i in range(96)
    ]
    at = START + 47 * HOUR
    rows += [
        {"published_at": (at + i * MINUTE).isoformat(), "title": title, "source": f"o{i}"}
        for i, title in enumerate((*OWN[:12], OWN[0], OWN[0].upper()))
    ]
    data, rules = tmp_path / "news.jsonl", tmp_path / "rules.yaml"
    data.write_text("\n".join(map(json.dumps, rows)))
    rules.write_text(
        "rules: [{name: gloom, type: threshold, topics: all, watch: negative_share, threshold: 0.5, "
        "min_documents: 14, window: 20m}]"
    )
    clean = {"MONITOR_CONFIG": None, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = ["backtest", "--rules", str(rules), "--data", str(data), "--html", str(tmp_path / "pages.html")]
    shown = [
        CliRunner().invoke(main, [*words, *more], env=clean, catch_exceptions=False)
        for more in ((), ("--json",))
    ]
    (page,) = json.loads(shown[1].stdout)["pages"]
    assert page["counted"] == "texts" and page["copies"] >= 1
    assert page["texts"] == page["voices"] + page["copies"] >= 8
    text = f"{page['texts']} negative texts in"
    assert text in " ".join(shown[0].stdout.split()) and text in (tmp_path / "pages.html").read_text()
