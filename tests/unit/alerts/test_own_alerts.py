"""A rule's own alerts are no part of what it compares with, while they are open as well as later."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from alerts.backtest import Replay, replay
from alerts.history.memory_episodes import MemoryEpisodes
from alerts.history.memory_store import Text
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from alerts.windows.own_alerts import own_alert_times
from stream.domain.alerts import Alert, AlertState
from stream.domain.incidents import PageKind
from stream.domain.sums import TimeRange

TOPIC = "Stock Movement"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
BURST = START + 2 * DAY


def texts(start: datetime, end: datetime, every: timedelta, moods: Sequence[str]) -> list[Text]:
    """Texts at equal distances, whose moods come in turn."""
    scores = {"neutral": 0, "negative": -9000}
    found = []
    for number in range((end - start) // every):
        at, mood = start + number * every, moods[number % len(moods)]
        source = ("wire", "paper")[number % 2]
        id_ = f"{at.isoformat()} {every}"
        found.append(Text(id_, source, "news", at, f"story {number}", TOPIC, mood, scores[mood]))
    return found


def beside_usual(added: list[Text], rule: str, quiet: timedelta) -> Replay:
    """What the rule does from the burst on, `quiet` long: a text in half an hour is usual, some are added."""
    rules = [each for each in load_rules(SHIPPED_RULES, (TOPIC,)) if each.name == rule]
    usual = texts(START, BURST + quiet, 30 * MINUTE, ("neutral", "neutral", "negative"))
    return replay(rules, (TOPIC,), usual + added, start=BURST)


def test_a_burst_that_grows_sends_updates_although_the_history_before_it_is_short() -> None:
    growing = texts(BURST, BURST + 6 * HOUR, MINUTE / 2, ("negative",))
    growing += texts(BURST + 6 * HOUR, BURST + 10 * HOUR, MINUTE / 10, ("negative",))
    pages = beside_usual(growing, "negative-surge", DAY).pages
    grown = [page.kind for page in pages if page.page.at > BURST + 6 * HOUR]
    assert pages[0].kind is PageKind.BEGIN and {page.incident.id for page in pages} == {pages[0].incident.id}
    assert grown == [PageKind.UPDATE, PageKind.UPDATE, PageKind.END]


def test_an_alert_ends_once_and_for_all_when_what_it_is_about_has_become_usual() -> None:
    lasting = texts(BURST, BURST + 3 * DAY, MINUTE / 2, ("negative",))
    (alert,) = beside_usual(lasting, "negative-surge", 3 * DAY).alerts
    assert alert.now.resolved_at is not None
    assert DAY < alert.now.resolved_at - BURST < 2 * DAY


def test_what_was_usual_when_an_alert_began_is_usual_afterwards() -> None:
    """Its window began with a stored one: a sliver before that would take a whole hour out of the baseline."""
    (rule,) = [each for each in load_rules(SHIPPED_RULES, (TOPIC,)) if each.name == "negative-surge"]
    since = BURST + timedelta(minutes=14, seconds=50)
    episodes = MemoryEpisodes()
    episodes.alerts["a"] = Alert(
        "a", rule.name, TOPIC, rule.severity, AlertState.FIRING, since, 9.0, 3.0, 20, "", ""
    )
    times = own_alert_times(rule, episodes, START, BURST + DAY, MINUTE)
    assert times == {TOPIC: [TimeRange(BURST, BURST + DAY)]}
