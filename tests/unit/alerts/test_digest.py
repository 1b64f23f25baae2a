"""The digest of a day: when it is due, what moved beyond chance, and what it says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import SecretStr, ValidationError

from alerts.delivery.digest_text import (
    digest_forms,
    digest_markdown_text,
    digest_message,
    digest_plain_text,
    is_digest,
)
from alerts.delivery.messages import merge_pages
from alerts.incidents.digest import (
    Digest,
    DigestPlan,
    Gap,
    Mood,
    NewEntity,
    beyond_chance,
    digest_key,
    gaps,
    moves,
)
from alerts.settings import AlertSettings, DigestSettings
from stream.domain.alerts import Severity
from stream.domain.budgets import json_bytes
from stream.domain.incidents import LONGEST_TITLE, Headline, Incident, StoryBegun
from stream.domain.sums import Aggregate, Counted, TimeRange

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
PLAN = DigestPlan(time(7, 30), BERLIN)
MONDAY = date(2026, 11, 30)
DUE = datetime(2026, 11, 30, 6, 30, tzinfo=UTC)


def total(name: str, n: int, negative: int) -> Aggregate:
    """So many documents with the score -0.5, and the rest with +0.5."""
    positive = n - negative
    return Aggregate(
        DUE, name, "all", n, positive, 0, negative, 0, (positive - negative) * 5000, n * 25_000_000
    )  # fmt: skip


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (DUE - timedelta.resolution, None),
        (DUE, MONDAY),
        (DUE + 12 * HOUR, MONDAY),
        (DUE + 12 * HOUR + timedelta.resolution, None),
        (DUE + DAY, date(2026, 12, 1)),
    ],
)
def test_a_digest_is_due_from_its_time_on_and_for_half_a_day(now: datetime, day: date | None) -> None:
    assert PLAN.due(now) == day


def test_a_digest_late_in_the_evening_is_due_past_midnight_still() -> None:
    plan = DigestPlan(time(22), BERLIN)
    assert plan.due(datetime(2026, 12, 1, 4, tzinfo=BERLIN)) == MONDAY


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 11, 30), 24)]
)
def test_a_day_has_23_or_25_hours_when_the_clocks_change(day: date, hours: int) -> None:
    covered = PLAN.covered(day)
    assert covered.end - covered.start == hours * HOUR
    assert covered.end.astimezone(BERLIN).time() == time(7, 30)


def test_a_time_that_the_clocks_skip_comes_after_the_gap_and_one_that_comes_twice_is_the_first() -> None:
    night = DigestPlan(time(2, 30), BERLIN)
    assert night.time_of(date(2026, 3, 29)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert night.time_of(date(2026, 10, 25)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_every_moment_of_a_year_belongs_to_one_day_and_every_day_has_its_digest() -> None:
    start = datetime(2026, 1, 1, 7, tzinfo=UTC)
    due = [PLAN.due(start + number * HOUR) for number in range(365 * 24)]
    days = [day for day in due if day is not None]
    assert days == sorted(days)
    assert set(days) == {date(2026, 1, 1) + number * DAY for number in range(365)}


def test_only_what_has_enough_documents_on_both_days_is_compared() -> None:
    now = {"Earnings": total("Earnings", 40, 30), "IPO": total("IPO", 19, 19), "Fed": total("Fed", 50, 9)}
    before = {"Earnings": total("Earnings", 40, 8), "IPO": total("IPO", 90, 9)}
    (move,) = moves(now, before, {}, are_entities=False)
    assert (move.name, move.now.n, move.before.n) == ("Earnings", 40, 40)
    assert move.change == pytest.approx(-0.55)
    # By hand: variances of 0.75 * 0.25 and 0.2 * 0.8, over 39, and 1.96 standard errors.
    assert move.margin == pytest.approx(1.96 * (0.75 * 0.25 / 39 + 0.2 * 0.8 / 39) ** 0.5)


def test_the_more_is_compared_the_larger_a_move_must_be() -> None:
    moved = {"a": total("a", 100, 60)}
    before = {"a": total("a", 100, 40)}
    alone = moves(moved, before, {}, are_entities=False)
    assert beyond_chance(alone) == tuple(alone)
    calm = {f"t{number}": total(f"t{number}", 100, 50) for number in range(200)}
    assert beyond_chance(moves(moved | calm, before | calm, {}, are_entities=False)) == ()


def test_the_most_surprising_moves_come_first_and_have_names() -> None:
    now = {"crypto:BTC": total("crypto:BTC", 200, 160), "XNAS:A": total("XNAS:A", 100, 75)}
    before = {"crypto:BTC": total("crypto:BTC", 200, 60), "XNAS:A": total("XNAS:A", 100, 40)}
    found = beyond_chance(moves(now, before, {"crypto:BTC": "Bitcoin"}, are_entities=True))
    assert [(move.name, move.entity) for move in found] == [("Bitcoin", "crypto:BTC"), ("XNAS:A", "XNAS:A")]


def test_scores_that_are_all_the_same_move_beyond_any_chance() -> None:
    (move,) = moves({"a": total("a", 30, 30)}, {"a": total("a", 30, 0)}, {}, are_entities=False)
    assert beyond_chance([move]) == (move,) and move.margin == 0
    (still,) = moves({"a": total("a", 30, 30)}, {"a": total("a", 30, 30)}, {}, are_entities=False)
    assert beyond_chance([still]) == ()


def test_whole_hours_without_documents_are_gaps_where_the_day_before_had_some() -> None:
    covered = TimeRange(DUE - DAY, DUE)
    first = (DUE - DAY).replace(minute=0)
    every = [first + number * HOUR for number in range(25)]
    having = [hour for hour in every if hour.hour not in (2, 3, 5)]
    before = [hour - DAY for hour in every if hour.hour != 5]
    night = DUE.replace(hour=2, minute=0)
    assert gaps(covered, having, before) == (Gap(night, night + 2 * HOUR),)
    # The hours at both ends are not whole.
    assert gaps(covered, every[1:-1], before) == ()


INCIDENT = Incident(
    "i1",
    DUE - 16 * HOUR,
    Severity.PAGE,
    "Halcyon: stops its payouts",
    paged_number=2,
    told=("webhook:desk",),
    ended_at=DUE - 10 * HOUR,
)
QUIET = Incident("i2", DUE - 3 * HOUR, Severity.INFO, "", lead_entities=("crypto:BTC",))
STORY = StoryBegun(Headline(7, "Halcyon stops *all* @payouts", "wire", DUE - 16 * HOUR, "blog"), 12, 30)


def digest(**changes: Any) -> Digest:
    now, before = {"Earnings": total("Earnings", 80, 60)}, {"Earnings": total("Earnings", 80, 20)}
    plain = Digest(
        day=MONDAY,
        covered=PLAN.covered(MONDAY),
        counted=Counted.VOICES,
        total=Mood.of(now["Earnings"]),
        before=Mood.of(before["Earnings"]),
        moves=beyond_chance(moves(now, before, {}, are_entities=False)),
        compared=1,
        incidents=(INCIDENT, QUIET),
        incident_count=2,
        new_stories=(STORY,),
        new_entities=(NewEntity("XNAS:NEWC", "Newcorp", 4),),
        gaps=(Gap(DUE - 4 * HOUR, DUE - 2 * HOUR),),
        missing=("stories are 5 min behind",),
    )
    return replace(plain, **changes)


def message(**changes: Any) -> dict[str, Any]:
    """As a receiver reads it."""
    made = digest_message(
        digest(**changes), "Europe/Berlin", lambda id_: f"http://m/incidents/{id_}", "http://m/alerts"
    )
    return dict(merge_pages([msgspec.json.decode(msgspec.json.encode(made))]))


def test_a_digest_says_what_moved_the_incidents_the_quiet_ones_what_is_new_and_what_is_missing() -> None:
    title, body = digest_plain_text(message())
    assert title == "Monday 30 November: 2 incidents (1 paged nobody); Earnings worse"
    assert body.replace("\u200b", "") == (
        "From 29 Nov 07:30 to 30 Nov 07:30 (Europe/Berlin).\n"
        "Missing: stories are 5 min behind.\n"
        "Missing: no documents from 30 Nov 03:30 to 30 Nov 05:30, where the day before had some.\n"
        "\n"
        "80 voices, mean score -0.25; the day before 80, +0.25.\n"
        "Moved beyond chance, of 1 topics and entities:\n"
        "- Earnings: mean score -0.25, +0.25 the day before (change -0.50 ± 0.14; 80 voices, 80 before)\n"
        "\n"
        "Incidents: 2\n"
        "- 29 Nov 15:30, Halcyon: stops its payouts (page; 2 pages; over at 29 Nov 21:30)\n"
        "- 30 Nov 04:30, crypto:BTC (info; paged nobody; still open)\n"
        "\n"
        "New stories, those with the most voices:\n"
        "- wire: Halcyon stops *all* @payouts (12 voices; first seen 29 Nov 15:30 by blog)\n"
        "\n"
        "First seen: Newcorp (4 voices)\n"
        "\n"
        "http://m/alerts"
    )


def test_a_calm_day_is_said_to_be_calm_and_a_day_without_documents_is_not() -> None:
    nothing: dict[str, Any] = {
        "incidents": (), "incident_count": 0, "moves": (), "new_stories": (), "new_entities": (), "gaps": (),
        "missing": (),
    }  # fmt: skip
    title, body = digest_plain_text(message(**nothing, compared=214))
    assert title == "Monday 30 November: no incidents"
    assert "None of 214 topics and entities moved beyond chance.\n\nNo incidents." in body
    unknown = {"total": Mood.of(Aggregate(DUE, "", "")), "compared": None, "missing": ("there is nothing",)}
    title, body = digest_plain_text(message(**nothing | unknown))
    assert title == "Monday 30 November: no incidents; no documents"
    assert "0 voices, mean score unknown" in body and "beyond chance" not in body
    assert "Missing: there is nothing." in body


def test_what_others_wrote_does_nothing_in_a_chat() -> None:
    _, plain = digest_plain_text(message())
    assert "@withdrawals" not in plain  # a character that nobody sees breaks it up
    _, markdown = digest_markdown_text(message())
    assert r"\*all\*" in markdown


def test_a_message_has_what_receivers_look_for_and_unknown_figures_are_null() -> None:
    made = message(total=Mood.of(Aggregate(DUE, "", "")), new_entities=None)
    assert is_digest(made)
    assert made["key"] == digest_key(MONDAY) == "digest:2026-11-30"
    assert (made["severity"], made["link"], made["day"]) == ("info", "http://m/alerts", "2026-11-30")
    assert made["total"] == {"n": 0, "mean": None, "error": None}
    assert made["new_entities"] is None
    assert [one["paged"] for one in made["incidents"]] == [True, False]
    assert made["incidents"][0]["link"] == "http://m/incidents/i1"


def test_smaller_forms_have_every_field_and_say_that_they_are_shortened() -> None:
    forms = list(digest_forms(message()))
    sizes = [json_bytes(form) for form in forms]
    assert sizes[1:] == sorted(sizes[1:], reverse=True) and sizes[-1] < 1000
    assert all(form.keys() - {"shortened"} == forms[0].keys() for form in forms)
    title, body = digest_plain_text(forms[-1])
    assert title == forms[0]["title"] and body.endswith("(shortened)\n\nhttp://m/alerts")
    assert "None of" not in body


def test_a_title_is_short_whatever_moved() -> None:
    (move,) = digest().moves
    title = message(moves=(replace(move, name="An entity of a very long name " * 5),))["title"]
    assert len(title) == LONGEST_TITLE


def settings(**digest: Any) -> AlertSettings:
    return AlertSettings(
        webhooks={"desk": SecretStr("http://127.0.0.1/a"), "both": SecretStr("http://127.0.0.1/b")},
        channels={
            "both": SecretStr("slack://a/b/c"),
            "duty": SecretStr("pagerduty://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@aaaaaaaaaaaaaaaaaaaa"),
        },
        time_zone="Europe/London",
        digest=DigestSettings(**digest),
    )


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ((), ("webhook:desk", "webhook:both", "channel:both")),
        (("both",), ("webhook:both", "channel:both")),
        (("desk",), ("webhook:desk",)),
    ],
)
def test_a_digest_goes_to_whom_it_names_or_to_all_but_incident_services(
    targets: Sequence[str], expected: Sequence[str]
) -> None:
    assert settings(targets=targets).digest_targets == expected


def test_a_digest_is_at_half_past_seven_in_the_zone_of_alerts_unless_it_says_otherwise() -> None:
    assert settings().digest_plan == DigestPlan(time(7, 30), ZoneInfo("Europe/London"))
    assert settings(at="06:00", zone="Asia/Tokyo").digest_plan == DigestPlan(time(6), ZoneInfo("Asia/Tokyo"))
    assert AlertSettings().digest_plan is None and AlertSettings().digest_targets == ()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"at": "25:00"}, "write a time of the day, such as 07:30"),
        ({"zone": "Mars"}, "there is no such time zone"),
        (
            {"targets": ("nobody",)},
            "digest: there is no webhook or channel 'nobody'; there are: both, desk, duty",
        ),
        ({"targets": ("duty",)}, "digest: 'duty' would open an incident for each digest; leave it out"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        settings(**fields)
