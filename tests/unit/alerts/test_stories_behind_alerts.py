"""Rules over a real database in which the story task assigns what arrives."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from alerts.delivery.alertmanager import alertmanager_alert
from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import load_rules
from stream.domain.alerts import Alert
from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import Counted
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.marks import set_mark
from stream.storage.outbox import Outbox
from stream.storage.stories import STORIES_MARK
from stream.storage.story_task import StoryStore
from tests.desk_parts import page_at
from tests.unit.alerts.story_texts import COPIES, OWN, dull
from tests.unit.stream.samples import NOW, classified, no_messages

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = (
    "rules: [{name: surge, type: negative_surge, topics: all, window: 15m, min_negative: 10, "
    "min_documents: 10, baseline: 1d, min_baseline: 12h}]"
)


class Loop:
    """A monitor's loop: what arrives is written, gets its story, and the rules are evaluated."""

    def __init__(self, store: Store, folder: Path, mark: datetime) -> None:
        self.store, self.now, self.offset = store, NOW - 30 * HOUR, 0
        with database.writing(store.engine) as connection:
            set_mark(connection, STORIES_MARK, mark)
        (folder / "rules.yaml").write_text(RULE)
        self.rules = load_rules(folder / "rules.yaml")
        self.episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 3600), "alerts")
        self.router = PageRouter(("webhook:desk",))
        self.evaluator = AlertEvaluator(
            rules=self.rules,
            topics=("Earnings",),
            reader=store.reads,
            episodes=self.episodes,
            delivery=self.router,
            window_width=MINUTE,
            metrics=AlertMetrics(),
        )
        lease = Lease(store, "stories", "me", 3600)
        self.stories = StoryStore(store, lease, weights=dict, outbound=lambda _: [], clock=lambda: self.now)

    def arrive(self, titles: Sequence[str], gap: timedelta, sentiment: str = "negative") -> None:
        """So many documents, each by a source of its own, published when they arrive."""
        score = -0.9 if sentiment == "negative" else 0.0
        for title in titles:
            self.now += gap
            self.offset += 1
            item = classified(
                str(self.offset), self.offset, at=self.now, title=title, sentiment=sentiment, score=score
            )
            self.store.write(Batch([_by(item, f"source {self.offset}")]), no_messages, self.now)

    def assign(self) -> None:
        while self.stories.assign_next():
            pass

    def calm(self) -> None:
        """Twenty-nine hours with a text every half hour."""
        self.arrive([dull(i) for i in range(58)], HOUR / 2, "neutral")
        self.assign()

    def evaluate(self) -> list[Alert]:
        self.now += timedelta(seconds=5)
        return self.evaluator.evaluate(self.now)


def _by(item: ClassifiedDocument, source: str) -> ClassifiedDocument:
    return structs.replace(item, document=structs.replace(item.document, source=source))


@pytest.fixture
def loop(store: Store, tmp_path: Path) -> Loop:
    made = Loop(store, tmp_path, mark=NOW - 100 * HOUR)
    made.calm()
    return made


def test_one_text_in_eighteen_copies_pages_nobody(loop: Loop) -> None:
    loop.arrive(["Northgate Bank halts withdrawals after depositors pull $2.4 billion in two days"], MINUTE)
    loop.arrive(COPIES, MINUTE / 2)
    loop.assign()
    assert loop.evaluate() == []


def test_eighteen_texts_of_their_own_are_one_page_that_says_so(loop: Loop) -> None:
    loop.arrive([*OWN, *COPIES[:3]], MINUTE / 2)
    loop.assign()
    (alert,) = loop.evaluate()
    # Twenty negative texts and a neutral one; two repeat the nineteenth.
    assert (alert.counted, alert.n, alert.texts, alert.voices, alert.copies) == ("voices", 20, 21, 19, 2)
    assert alert.stories is not None and 1 <= alert.stories < 19
    assert alert.stories_text.startswith("21 negative texts in ")
    assert loop.episodes.open_alerts() == [alert]
    assert [item.copies for item in alert.evidence if item.content == COPIES[0]] in ([], [2])
    (entry,) = Outbox(loop.store.engine).due(["webhook:desk"], loop.now, 9)
    page: dict[str, Any] = msgspec.json.decode(entry.body)
    assert (page["counted"], page["texts"], page["voices"], page["copies"]) == ("voices", 21, 19, 2)
    assert all(item["story"] and item["is_voice"] for item in page["evidence"])
    annotations = alertmanager_alert(alert, loop.rules[0], loop.now + HOUR, loop.router)["annotations"]
    assert (annotations["counted"], annotations["stories"]) == ("voices", alert.stories_text)
    html = page_at(f"/incidents/{alert.incident}", loop.store, lambda: loop.now)
    assert page["counts_text"] in html
    assert f"/stories/{page['evidence'][0]['story']}" in html


def test_a_rule_waits_for_documents_that_are_about_to_get_their_story(loop: Loop) -> None:
    loop.arrive(OWN, timedelta(seconds=2))
    assert loop.evaluate() == []
    loop.assign()
    assert [alert.counted for alert in loop.evaluate()] == ["voices"]


def test_when_the_story_task_stands_still_texts_are_counted_and_the_page_says_so(loop: Loop) -> None:
    loop.arrive([COPIES[0], *COPIES], timedelta(seconds=4))
    assert loop.now - loop.store.reads.oldest_waiting() > timedelta(seconds=60)  # type: ignore[operator]
    (alert,) = loop.evaluate()
    assert (alert.counted, alert.n, alert.voices) == (Counted.TEXTS, 20, None)
    assert alert.summary.endswith("(counted texts, since stories are 77 s behind)")


def test_documents_from_before_the_upgrade_are_counted_as_texts(store: Store, tmp_path: Path) -> None:
    loop = Loop(store, tmp_path, mark=NOW - 20 * HOUR)
    loop.calm()
    loop.arrive([COPIES[0], *COPIES], MINUTE / 2)
    loop.assign()
    (alert,) = loop.evaluate()
    # The window has stories: the page says how many.
    assert (alert.counted, alert.n, alert.stories, alert.voices, alert.copies) == ("texts", 20, 1, 1, 18)
    with database.writing(store.engine) as connection:
        set_mark(connection, STORIES_MARK, NOW - 100 * HOUR)
    loop.now += 10 * MINUTE
    (after,) = loop.evaluate()
    assert after.counted == "voices"
