"""Laws that hold whatever comes: codec, windows, batching, sums, quantisation, life cycle."""

import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.detectors.base import Observation
from alerts.detectors.threshold import ThresholdRule
from alerts.lifecycle import step
from models.inference.batching import token_batches
from models.network.artifact import pack, unpack
from stream.codec import REASONS, Codec
from stream.domain.alerts import Alert
from stream.domain.documents import SENTIMENTS, Document, Kind
from stream.domain.errors import Rejected
from stream.domain.sums import Aggregate, window_start

# A busy machine is no broken law.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CODEC = Codec(timedelta(minutes=5), 100_000)
stamps = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
widths = st.sampled_from([1, 10, 60, 300, 3600]).map(lambda s: timedelta(seconds=s))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
fields = st.sampled_from(["id", "title", "text", "published_at", "source", "symbols", "url", "lang", "x"])


@given(st.binary() | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_bytes_make_the_codec_raise_anything_but_rejected(value: bytes) -> None:
    try:
        assert isinstance(CODEC.decode(value, Kind.NEWS, NOW), Document)
    except Rejected as error:
        assert error.reason in REASONS


@given(st.dictionaries(fields, json_values | st.just("2026-02-28T23:00:00Z")))
def test_what_the_codec_lets_through_can_be_stored(message: dict[str, object]) -> None:
    try:
        document = CODEC.decode(json.dumps(message).encode(), Kind.NEWS, NOW)
    except Rejected:
        return
    assert document.content.strip()
    assert "\0" not in document.content + document.id + document.source
    document.content.encode("utf-8")
    assert document.published_at.utcoffset() == timedelta(0)
    assert len(document.id.encode()) + len(document.source.encode()) < 2700


@given(stamps, widths, st.integers(-12, 12))
def test_a_stamp_lies_in_its_window_whatever_its_zone(stamp: datetime, width: timedelta, hours: int) -> None:
    start = window_start(stamp, width)
    assert start <= stamp < start + width
    assert window_start(start, width) == start
    assert window_start(stamp.astimezone(timezone(timedelta(hours=hours))), width) == start


@given(st.lists(st.tuples(st.sampled_from(SENTIMENTS), st.integers(-10_000, 10_000)), min_size=1), st.data())
def test_sums_are_the_same_however_the_batches_are_cut(
    judged: list[tuple[str, int]], data: st.DataObject
) -> None:
    singles = [Aggregate.of_document(NOW, "IPO", "news", mood, score) for mood, score in judged]
    empty = Aggregate(NOW, "IPO", "news")
    cut = data.draw(st.integers(0, len(singles)))
    halves = sum(singles[:cut], empty) + sum(singles[cut:], empty)
    whole = sum(singles, empty)
    assert halves == whole
    assert whole.n == whole.positive + whole.neutral + whole.negative == len(judged)
    assert whole.mean is not None and -1 <= whole.mean <= 1
    assert whole.score_squares == sum(score * score for _, score in judged)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 600))), st.integers(64, 4096))
def test_batches_hold_every_text_once_within_the_budget(shapes: list[tuple[int, int]], budget: int) -> None:
    batches = token_batches(shapes, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(shapes)))
    for batch in batches:
        longest = max(shapes[i][1] for i in batch)
        assert len(batch) == 1 or longest * sum(shapes[i][0] for i in batch) <= budget
    largest = [max(shapes[i][0] * shapes[i][1] for i in batch) for batch in batches]
    assert all(a >= b for a, b in pairwise(largest))


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=8))
def test_quantised_weights_are_off_by_half_a_step_at_most(rows: list[list[float]]) -> None:
    state = {"encoder.w.weight": torch.tensor(rows)}
    restored = unpack(pack(state, large=1))["encoder.w.weight"]
    steps = state["encoder.w.weight"].abs().amax(1, keepdim=True) / 127
    assert ((restored - state["encoder.w.weight"]).abs() <= 0.51 * steps + 1e-9).all()


observations = st.sampled_from("bmc-").map(
    lambda kind: Observation(
        n=0 if kind == "-" else 9,
        value=None if kind == "-" else 0.5,
        threshold=0.6,
        breached=kind == "b",
        calm=kind == "c",
        uncertainty="",
        summary="",
    )
)


@given(
    st.lists(st.tuples(observations, st.integers(0, 200))),
    st.integers(0, 300).map(lambda s: timedelta(seconds=s)),
    st.integers(0, 300).map(lambda s: timedelta(seconds=s)),
)
def test_an_episode_goes_from_pending_to_firing_to_resolved_and_never_back(
    seen: list[tuple[Observation, int]], hold: timedelta, keep: timedelta
) -> None:
    rule = ThresholdRule.model_validate({
        "name": "r", "type": "threshold", "watch": "negative_share", "threshold": 0.6,
        "for": hold, "keep_firing_for": keep,
    })  # fmt: skip
    order = ["pending", "firing", "resolved"]
    alert: Alert | None = None
    now = NOW
    for observation, seconds in seen:
        now += timedelta(seconds=seconds)
        before, alert = alert, step(alert, rule, "IPO", observation, now)
        if alert is None:
            assert before is None or before.state == "pending"
            continue
        if before is not None:
            assert alert.id == before.id and alert.since == before.since
            assert order.index(alert.state) >= order.index(before.state)
            if observation.value is None:
                assert (alert.state, alert.clear_since) == ("firing", None)
        if alert.state != "pending":
            assert alert.fired_at is not None and alert.fired_at - alert.since >= hold
        if alert.state == "resolved":
            assert alert.resolved_at == now and alert.clear_since is not None
            assert now - alert.clear_since >= keep
            alert = None
