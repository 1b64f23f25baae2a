"""Rules that count the documents which report certain events."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.backtest import Page, replay
from alerts.errors import RuleError
from alerts.history.memory_store import Text
from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_file import load_rules
from alerts.wording import events_text
from stream.domain.entities import EntityMention

START = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
TYPES = ("bankruptcy", "default", "guidance_cut")
WORDS = {"threshold": "watch: mean_score, threshold: 0.9", "heartbeat": "sources: [wire]"}


def rules_file(folder: Path, text: str) -> Path:
    path = folder / "rules.yaml"
    path.write_text(f"rules:\n  - {text}\n")
    return path


def text(minute: float, *events: str, score: int = 0, entities: Sequence[EntityMention] = ()) -> Text:
    return Text(
        id=str(minute),
        source="wire",
        kind="news",
        published_at=START + timedelta(minutes=minute),
        content=f"Text of minute {minute}",
        topic="Earnings",
        sentiment="negative" if score < 0 else "neutral",
        score=score,
        entities=tuple(entities),
        events=events,
    )


def pages(folder: Path, rule: str, texts: Sequence[Text]) -> list[Page]:
    rules = load_rules(rules_file(folder, rule), ("Earnings",), event_types=TYPES)
    return replay(rules, ("Earnings",), texts).alerts


@pytest.mark.parametrize("type_name", RULE_TYPES)
def test_every_rule_type_takes_events_and_its_selection_has_them(tmp_path: Path, type_name: str) -> None:
    words = f", {WORDS[type_name]}" if type_name in WORDS else ""
    (rule,) = load_rules(
        rules_file(tmp_path, f"{{name: a, type: {type_name}{words}, events: [default]}}"), event_types=TYPES
    )
    assert rule.selection.events == ("default",) and rule.feed.events == ()
    assert "events default" in rule.scope_text


def test_an_unknown_event_is_refused_with_the_name_that_was_meant(tmp_path: Path) -> None:
    path = rules_file(tmp_path, "{name: a, type: volume_surge, events: [default, guidance_cuts]}")
    with pytest.raises(RuleError, match=r"rules.yaml:2: rule 'a': unknown event 'guidance_cuts' \(did you"):
        load_rules(path, event_types=TYPES)
    with pytest.raises(RuleError, match="known: none, by this model"):
        load_rules(path, event_types=())
    assert load_rules(path)


RULE = (
    "{name: a, type: threshold, watch: mean_score, threshold: 1, topics: all, events: [default, bankruptcy], "
    "window: 15m, min_documents: 1}"
)


def test_a_single_event_pages_with_its_name_and_resolves_while_other_texts_arrive(tmp_path: Path) -> None:
    other = [text(minute, "guidance_cut") for minute in range(0, 180, 2)]
    (page,) = pages(tmp_path, RULE, [*other, text(61, "default", "guidance_cut", score=-9000)])
    assert page.fired_at == START + timedelta(minutes=62)
    assert page.fired.n == 1
    assert page.fired.summary.startswith("all (default or bankruptcy): mean score -0.90")
    (item,) = page.fired.evidence
    assert item.events == ("default", "guidance_cut")
    assert page.now.resolved_at is not None


def test_a_text_with_two_of_the_events_counts_once(tmp_path: Path) -> None:
    (page,) = pages(tmp_path, RULE, [text(1, "default", "bankruptcy", score=-9000)])
    assert page.fired.n == 1


def test_rare_events_surge_against_a_history_in_which_most_texts_report_none(tmp_path: Path) -> None:
    """The feed is live although no event is reported for days: nothing is usual then, and three are many."""
    rule = (
        "{name: a, type: volume_surge, topics: all, events: [default], window: 1h, min_documents: 3, "
        "baseline: 7d, min_baseline: 1d}"
    )
    days = [text(minute) for minute in range(0, 8 * 1440, 10)]
    daily = [text(1440 * day + 5, "default") for day in range(8)]
    surge = [text(8 * 1440 + minute, "default") for minute in range(0, 30, 5)]
    found = pages(tmp_path, rule, [*days, *daily, *surge])
    assert [page.fired.topic for page in found] == ["all"]
    assert found[0].fired.usual is not None and found[0].fired.usual < 0.2


def test_an_event_about_an_entity_counts_for_a_rule_on_that_entity(tmp_path: Path) -> None:
    about = EntityMention("XNAS:ACME", "Acme", (), 80, "negative", 0.9, -0.9)
    rule = RULE.replace("topics: all", "entities: ['XNAS:ACME']")
    texts = [
        text(1, "guidance_cut", score=-9000, entities=[about]),
        text(20, "default", score=-9000, entities=[about]),
        text(21, "default", score=-9000),
    ]
    (page,) = pages(tmp_path, rule, texts)
    assert (page.fired.entity, page.fired.n) == ("XNAS:ACME", 1)
    assert page.fired.summary.startswith("Acme (default or bankruptcy)")


def test_events_in_a_sentence() -> None:
    assert events_text(["guidance_cut"]) == "guidance cut"
    assert events_text(["a", "b", "c"]) == "a, b or c"
    assert events_text(list("abcdefg")) == "a, b, c, d or 3 other events"
