"""Each case: what is seen at which minute, and the state it leads to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.detectors.base import Observation, Subject
from alerts.detectors.threshold import ThresholdRule
from alerts.lifecycle import episode_id, step
from stream.domain.alerts import Alert

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARNINGS = Subject("Earnings")
RULE = ThresholdRule.model_validate({
    "name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.6,
    "for": "2m", "keep_firing_for": "3m",
})  # fmt: skip
BAD = Observation(50, 0.8, 0.6, breached=True, calm=False, uncertainty="u", summary="s")
BETWEEN = Observation(50, 0.6, 0.6, breached=False, calm=False, uncertainty="u", summary="s")
CALM = Observation(50, 0.2, 0.6, breached=False, calm=True, uncertainty="u", summary="s")
NONE = Observation(3, None, 0.6, breached=False, calm=False, uncertainty="few", summary="few")
SEEN = {"b": BAD, "m": BETWEEN, "c": CALM, "-": NONE}

CASES = [
    ("a calm topic has no episode", "ccc", "..."),
    ("a breach that does not last never fires", "bbc", "pp."),
    ("a breach that lasts fires", "bbb", "ppf"),
    ("missing data does not start an episode", "---", "..."),
    ("missing data drops a pending one", "b-bbb", "p.ppf"),
    ("missing data does not resolve", "bbb------", "ppfffffff"),
    ("calm must last before it resolves", "bbbccccc", "ppffffR."),
    ("missing data is not calm", "bbbcc-cccc", "ppfffffffR"),
    ("a relapse starts the calm again", "bbbccbcccc", "ppfffffffR"),
    ("between the thresholds it keeps firing", "bbbmmmmmm", "ppfffffff"),
    ("after a resolve a new episode is possible", "bbbccccbbb", "ppffffRppf"),
]


def run(seen: str) -> tuple[str, list[Alert | None]]:
    alert: Alert | None = None
    states, alerts = "", []
    for minute, letter in enumerate(seen):
        if alert is not None and alert.state == "resolved":
            alert = None
        alert = step(alert, RULE, EARNINGS, SEEN[letter], START + timedelta(minutes=minute))
        states += "." if alert is None else {"pending": "p", "firing": "f", "resolved": "R"}[alert.state]
        alerts.append(alert)
    return states, alerts


@pytest.mark.parametrize(("sentence", "seen", "states"), CASES, ids=[case[0] for case in CASES])
def test_states(sentence: str, seen: str, states: str) -> None:
    assert run(seen)[0] == states


def test_an_episode_keeps_its_id_and_the_next_one_has_another() -> None:
    _, alerts = run("bbbccccbbb")
    assert len({alert.id for alert in alerts[:7] if alert}) == 1
    assert alerts[0] and alerts[9] and alerts[0].id != alerts[9].id
    assert alerts[0].id == episode_id("share", EARNINGS, START)


def test_the_times_of_an_episode_are_those_of_its_transitions() -> None:
    _, alerts = run("bbbcccc")
    last = alerts[-1]
    assert last
    assert last.since == START
    assert last.fired_at == START + timedelta(minutes=2)
    assert last.resolved_at == START + timedelta(minutes=6)
    assert (last.value, last.n) == (0.2, 50)


@pytest.mark.parametrize(
    ("recent", "state"), [(0, "firing"), (2, "firing"), (3, "flapping"), (9, "flapping")]
)
def test_an_alert_that_fired_three_times_recently_is_flapping_and_resolves_after_a_longer_calm(
    recent: int, state: str
) -> None:
    rule = RULE.model_copy(update={"hold": timedelta(0), "flap_window": timedelta(minutes=10)})
    alert = step(None, rule, EARNINGS, BAD, START, recent=recent)
    assert alert and alert.state == state and alert.fired_at == START
    lasted = 0
    while alert and alert.state != "resolved":
        lasted += 1
        alert = step(alert, rule, EARNINGS, CALM, START + lasted * timedelta(minutes=1))
    assert lasted == (11 if state == "flapping" else 4)


def test_a_rule_without_for_fires_at_once() -> None:
    rule = RULE.model_copy(update={"hold": timedelta(0)})
    alert = step(None, rule, EARNINGS, BAD, START)
    assert alert and alert.state == "firing"


def test_a_wait_begins_again_when_the_clock_was_set_back() -> None:
    minute, back = timedelta(minutes=1), timedelta(hours=2)
    pending = step(None, RULE, EARNINGS, BAD, START)
    assert pending and pending.state == "pending"
    now = START - back
    pending = step(pending, RULE, EARNINGS, BAD, now)
    firing = step(pending, RULE, EARNINGS, BAD, now + 2 * minute)
    assert firing and (firing.state, firing.fired_at) == ("firing", now + 2 * minute)

    calm = step(replace(firing, clear_since=START), RULE, EARNINGS, CALM, now + 3 * minute)
    assert calm and calm.state == "firing"
    resolved = step(calm, RULE, EARNINGS, CALM, now + 6 * minute)
    assert resolved and resolved.state == "resolved"
