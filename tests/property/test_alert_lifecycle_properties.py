"""What holds for the states of an alert, whatever is observed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerts.detectors.base import Observation, Subject
from alerts.detectors.threshold import ThresholdRule
from alerts.lifecycle import step
from stream.domain.alerts import Alert

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def observation(outcome: str) -> Observation:
    """A breach, a value in the middle, a calm value, or no data."""
    return Observation(
        n=0 if outcome == "no data" else 9,
        value=None if outcome == "no data" else 0.5,
        threshold=0.6,
        breached=outcome == "breach",
        calm=outcome == "calm",
        uncertainty="",
        summary="",
    )


observations = st.sampled_from(["breach", "middle", "calm", "no data"]).map(observation)
short_times = st.integers(0, 300).map(lambda s: timedelta(seconds=s))


@given(st.lists(st.tuples(observations, st.integers(0, 200))), short_times, short_times)
def test_an_episode_goes_from_pending_to_firing_to_resolved_and_never_back(
    observed: list[tuple[Observation, int]], for_: timedelta, keep_firing_for: timedelta
) -> None:
    rule = ThresholdRule.model_validate(
        {
            "name": "r",
            "type": "threshold",
            "watch": "negative_share",
            "threshold": 0.6,
            "for": for_,
            "keep_firing_for": keep_firing_for,
        }
    )
    order = ["pending", "firing", "resolved"]
    alert: Alert | None = None
    now = NOW
    for one, seconds in observed:
        now += timedelta(seconds=seconds)
        before, alert = alert, step(alert, rule, Subject("IPO"), one, now)
        if alert is None:
            assert before is None or before.state == "pending"
            continue
        if before is not None:
            assert alert.id == before.id and alert.since == before.since
            assert order.index(alert.state) >= order.index(before.state)
            if one.value is None:
                assert (alert.state, alert.clear_since) == ("firing", None)
        if alert.state != "pending":
            assert alert.fired_at is not None and alert.fired_at - alert.since >= for_
        if alert.state == "resolved":
            assert alert.resolved_at == now and alert.clear_since is not None
            assert now - alert.clear_since >= keep_firing_for
            alert = None
