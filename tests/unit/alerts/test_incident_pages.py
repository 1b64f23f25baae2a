"""Pages of incidents over a real database: who, what, how much, since when, how sure, and how it went on."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerts.backtest import replay
from alerts.delivery.messages import merge_pages
from alerts.delivery.page_text import plain_text
from alerts.history.memory_store import Text
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from stream.domain.alerts import AlertState
from stream.domain.entities import EntityMention
from stream.storage.batches import Store
from stream.storage.outbox import Outbox
from tests.unit.alerts.story_texts import COPIES, OWN, dull
from tests.unit.alerts.test_stories_behind_alerts import HOUR, MINUTE, Loop
from tests.unit.stream.samples import NOW


@pytest.fixture
def loop(store: Store, tmp_path: Path) -> Loop:
    made = Loop(store, tmp_path, mark=NOW - 100 * HOUR)
    made.calm()
    return made


def pages(loop: Loop) -> list[dict[str, Any]]:
    """The pages that wait for the desk, in order."""
    entries = Outbox(loop.store.engine).due(["webhook:desk"], loop.now + HOUR, 99)
    return [msgspec.json.decode(entry.body) for entry in entries]


def test_a_page_tells_what_its_alert_is_made_of(loop: Loop) -> None:
    loop.arrive([*OWN[:11], *COPIES[:3]], MINUTE / 2)
    loop.assign()
    (alert,) = loop.evaluate()
    (page,) = pages(loop)
    assert (page["page"], page["number"], page["incident"]) == ("begin", 1, alert.incident)
    # Fourteen negative texts: the last two repeat the one before them.  The eleven and that one are voices.
    counted = ("texts", "voices", "origins", "copies", "authors")
    assert [page[name] for name in counted] == [14, 12, 12, 2, 0]
    assert page["how_much"].startswith("12 negative voices in 15 minutes where hardly any is usual; chance")
    assert page["robustness"] == {"origins": 13, "still_fires_without": 2, "at_least": False}
    assert page["headline"]["text"] == page["what"] and page["what"] in OWN
    assert page["seen_by"].startswith("source ") and page["seen_since"] < page["began_at"]
    stories = [item["story"] for item in page["evidence"]]
    assert len(stories) == len(set(stories)) == 5
    title, body = plain_text(merge_pages([page]))
    assert title == f"All topics: {page['what']}"
    assert "It would still fire without any two of its origins." in body


def test_without_stories_a_page_says_what_it_does_not_know(loop: Loop) -> None:
    loop.arrive([COPIES[0], *COPIES], timedelta(seconds=4))
    loop.evaluate()
    (page,) = pages(loop)
    assert page["headline"] is None and page["robustness"] is None
    assert page["what"] == page["evidence"][0]["content"]
    assert page["counts_text"] == "19 negative documents, who said them first is not known yet"


def test_the_end_says_how_long_it_lasted_and_how_large_all_of_it_was(loop: Loop) -> None:
    loop.arrive([*OWN[:11], *COPIES[:3]], MINUTE / 2)
    loop.assign()
    loop.evaluate()
    # More of it, too little for an update, before it is over.
    loop.arrive([*OWN[11:17]], MINUTE / 2)
    loop.assign()
    loop.evaluate()
    for number in range(7):
        loop.arrive([dull(900 + number)], HOUR / 2, "neutral")
        loop.assign()
        loop.evaluate()
    begin, end = pages(loop)
    assert [page["key"].partition(":")[2] for page in (begin, end)] == ["begin:1", "end:2"]
    assert begin["title"] == end["title"] and begin["id"] == end["id"]
    assert (end["state"], end["robustness"], end["changes"]) == ("resolved", None, [])
    assert end["lasted_text"].startswith("it lasted ")
    assert end["how_much"] == f"at its largest: {begin['how_much'].partition(';')[0]}"
    # In the end all of them count, whichever window they were in.
    assert (begin["voices"], end["voices"]) == (12, 18)


def test_a_value_that_an_alert_keeps_while_its_window_is_empty_is_no_update(loop: Loop) -> None:
    loop.evaluator.rules = [loop.rules[0].model_copy(update={"keep_firing_for": 2 * HOUR})]
    loop.arrive(OWN[:11], MINUTE / 2)
    loop.assign()
    loop.evaluate()
    # Three times as many, too soon after the page for an update.
    loop.arrive([dull(2000 + number) for number in range(22)], timedelta(seconds=5), "negative")
    loop.assign()
    (grown,) = loop.evaluate()
    loop.arrive([dull(900), dull(901)], HOUR / 2, "neutral")
    loop.assign()
    (kept,) = loop.evaluate()
    assert kept.state is AlertState.FIRING and kept.value == grown.value >= 22
    assert [page["page"] for page in pages(loop)] == ["begin"]


def test_the_evidence_is_about_whom_the_incident_is_about_however_bad_another_text_is() -> None:
    def told(number: int, minutes: float, score: int, *entities: str) -> Text:
        sentiment = "negative" if score < 0 else "neutral"
        mentions = tuple(
            EntityMention(each, each, (), 80, sentiment, 0.9, score / 10_000) for each in entities
        )
        at = NOW + minutes * MINUTE
        return Text(str(number), f"wire {number % 3}", "news", at, f"text {number}", "Crypto", sentiment, score,
                    entities=mentions)  # fmt: skip

    usual = [told(number, -30 * number, 0) for number in range(1, 150)]
    run = [told(1000 + number, number / 2, -5000 - number, "house:halcyon") for number in range(20)]
    others = [told(2000 + number, number / 2 + 5, -9900, "house:other") for number in range(3)]
    rules = [rule for rule in load_rules(SHIPPED_RULES, ("Crypto",)) if rule.name == "negative-surge"]
    (begin, *_) = replay(
        rules, ("Crypto",), sorted([*usual, *run, *others], key=lambda t: t.published_at), NOW
    ).pages
    assert begin.incident.lead_entities == ("house:halcyon",)
    shown = [item.content for item in begin.message["evidence"]]
    assert len(shown) == 5 and all(content.startswith("text 10") for content in shown)
