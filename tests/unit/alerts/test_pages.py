"""Who gets a page, when, and what it says."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery.messages import alert_message, merge_pages, page_forms
from alerts.delivery.page_text import plain_text
from alerts.delivery.pages import PageRouter, QuietHours
from alerts.delivery.template import EXAMPLE
from alerts.detectors.threshold import ThresholdRule
from alerts.settings import AlertSettings
from stream.domain.alerts import Alert, EvidenceItem
from stream.domain.incidents import Page, PageInputs, PageKind

NOW = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
RULE = ThresholdRule.model_validate({
    "name": "gloom", "type": "threshold", "watch": "mean_score", "threshold": -0.3,
    "labels": {"desk": "banks"}, "runbook": "https://runbook.example",
})  # fmt: skip
NIGHT = QuietHours.parse("22:00-07:00", "UTC")


def alert(**changes: object) -> Alert:
    fields = {name: getattr(EXAMPLE, name) for name in Alert.__slots__}
    item = EvidenceItem("wire", "1", NOW, "Shares \x1b[31mfall", -0.9, ("fall",))
    return Alert(**fields | {"evidence": (item,), "summary": "much gloom", "labels": None} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hours", "zone", "now", "until"),
    [
        ("22:00-07:00", "UTC", NOW, datetime(2026, 3, 3, 7, tzinfo=UTC)),
        ("22:00-07:00", "UTC", NOW + timedelta(hours=4), datetime(2026, 3, 3, 7, tzinfo=UTC)),
        ("22:00-07:00", "UTC", NOW + timedelta(hours=8), None),
        ("12:00-13:00", "UTC", NOW.replace(hour=12), datetime(2026, 3, 2, 13, tzinfo=UTC)),
        ("12:00-13:00", "UTC", NOW, None),
        ("22:00-07:00", "Asia/Shanghai", NOW, None),
        ("22:00-08:00", "Asia/Shanghai", NOW, datetime(2026, 3, 3, 0, tzinfo=UTC)),
    ],
)
def test_quiet_hours_end_on_time(hours: str, zone: str, now: datetime, until: datetime | None) -> None:
    assert QuietHours.parse(hours, zone).until(now) == until


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.times(), st.times(), st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)  # fmt: skip
def test_quiet_hours_always_end_within_about_a_day(
    now: datetime, start: object, end: object, zone: str
) -> None:
    quiet = QuietHours(start, end, ZoneInfo(zone))  # type: ignore[arg-type]
    until = quiet.until(now)
    if until is not None:
        assert now < until <= now + timedelta(hours=25)


@pytest.mark.parametrize("hours", ["22:00", "22-", "late", "22:00-25:00"])
def test_wrong_quiet_hours_are_refused(hours: str) -> None:
    with pytest.raises(ValueError, match="22:00-07:00"):
        AlertSettings(quiet_hours=hours)


def test_an_unknown_time_zone_and_an_unknown_channel_are_refused_without_revealing_secrets() -> None:
    with pytest.raises(ValueError, match="no such time zone"):
        AlertSettings(quiet_hours="22:00-07:00", time_zone="Europe/Atlantis")
    with pytest.raises(ValueError, match="channel 'desk': Apprise does not know") as caught:
        AlertSettings.model_validate({"channels": {"desk": "bogus://token-of-the-desk"}})
    assert "token-of-the-desk" not in str(caught.value).split("[type=")[0]


@pytest.mark.parametrize(
    ("sentence", "severity", "earlier", "leaves"),
    [
        ("a page is sent at once, at night too", "page", [], 0),
        ("a ticket waits for the morning", "ticket", [], 27_000),
        ("and so does one that is collected with another", "ticket", [-10], 27_000),
        ("a page that follows another is collected", "page", [-10], 20),
        ("after that it is sent at once again", "page", [-30], 0),
        ("it leaves together with what is collected already", "page", [-20, -5], 10),
        ("and a new collection begins after that", "page", [-40, -20, -5], 20),
        ("those that came at one moment left at once", "page", [-10, -10, -10], 20),
    ],
)
def test_when_a_page_is_sent(sentence: str, severity: str, earlier: list[int], leaves: int) -> None:
    delivery = PageRouter(("webhook:a", "channel:b"), timedelta(seconds=30), NIGHT)
    stamps = [NOW + timedelta(seconds=seconds) for seconds in earlier]
    page = Page("i1:update:2", "i1", PageKind.UPDATE, 2, NOW, {"severity": severity}, PageInputs(NOW))
    page_requests = delivery.page_requests(page, delivery.targets, stamps, NOW)
    at = NOW + timedelta(seconds=leaves)
    assert [(n.target, n.not_before, n.lane) for n in page_requests] == [
        ("webhook:a", at, "i1"), ("channel:b", at, "i1"),
    ], sentence  # fmt: skip


def test_the_beginning_of_an_incident_waits_for_no_other_page() -> None:
    page = Page("i1:begin:1", "i1", PageKind.BEGIN, 1, NOW, {"severity": "page"}, PageInputs(NOW))
    router = PageRouter(("webhook:a",), timedelta(seconds=30), NIGHT)
    (request,) = router.page_requests(page, router.targets, [NOW - timedelta(seconds=10)], NOW)
    assert request.not_before == NOW


def test_a_page_says_what_the_desk_needs() -> None:
    delivery = PageRouter((), address="https://monitor.example")
    messages = [
        msgspec.json.decode(
            msgspec.json.encode(alert_message(one, RULE, delivery.link(one), delivery.runbook(RULE)))
        )
        for one in (alert(), alert(id="x", topic="Macro", message="own words"))
    ]
    title, body = plain_text(merge_pages(messages))
    assert title == "rule on topic and 1 more [page]"
    assert body.splitlines() == [
        "FIRING: much gloom",
        "-0.90 wire: Shares  [31mfall [fall]",
        "runbook: https://runbook.example",
        "https://monitor.example/alerts/0123456789abcdef01234567",
        "also Macro: own words",
    ]
    assert messages[0]["labels"] == {"desk": "banks"}


@pytest.mark.parametrize(
    ("runbook", "address", "expected"),
    [
        ("/runbooks#gloom", "https://x.example/mood", "https://x.example/mood/runbooks#gloom"),
        ("/runbooks#gloom", "", None),
        ("https://wiki.example/gloom", "https://x.example", "https://wiki.example/gloom"),
        (None, "https://x.example", None),
    ],
)
def test_a_runbook_of_the_monitors_own_begins_with_its_address(
    runbook: str | None, address: str, expected: str | None
) -> None:
    rule = RULE.model_copy(update={"runbook": runbook})
    assert PageRouter(address=address).message(alert(), rule)["runbook"] == expected


def test_a_merged_page_has_a_key_of_its_own() -> None:
    one, two = (alert_message(alert(id=id_)) for id_ in ("a", "b"))
    assert merge_pages([one])["key"] == "a:firing"
    both = merge_pages([one, two])
    assert both["key"] not in ("a:firing", "b:firing") and both["key"].endswith(":firing")
    assert both["keys"] == ["a:firing", "b:firing"] and both["key"] == merge_pages([one, two])["key"]


def test_a_severity_of_another_version_is_urgent() -> None:
    ticket, odd = ({**alert_message(alert(id=id_)), "severity": id_} for id_ in ("ticket", "critical"))
    assert merge_pages([ticket, odd])["id"] == "critical"


def test_words_sources_and_addresses_without_end_are_shown_in_part() -> None:
    item = EvidenceItem(
        "wire", "1", NOW, "\u7206" * 500, -0.9, ("\u8dcc" * 160_000,), "https://a/" + "x" * 9000
    )
    sources = {f"source {number}": number for number in range(10_000)}
    message = msgspec.to_builtins(alert_message(alert(evidence=(item,), sources=sources)))
    (shown,) = message["evidence"]
    assert shown["words"] == ("\u8dcc" * 99 + "\u2026",) and shown["url"] is None
    assert len(message["sources"]) == 50
    assert len(msgspec.json.encode(message)) < 10_000


@pytest.mark.parametrize(
    "text", ["\u7206" * 50_000, "\x01" * 50_000, "\U0001f4a5" * 20_000], ids=["Chinese", "control", "emoji"]
)
def test_a_message_within_its_budget_is_valid_and_says_that_something_is_missing(text: str) -> None:
    item = EvidenceItem("wire", "1", NOW, text, -0.9, ("fall",))
    router = PageRouter(max_bytes=10_000, address="https://monitor.example")
    message = router.message(alert(evidence=(item,), message="own words"), RULE)
    body = msgspec.json.encode(message)
    assert len(body) <= 10_000
    decoded = msgspec.json.decode(body)
    assert decoded["shortened"] is True and decoded["message"] == "own words"
    assert decoded.keys() - {"shortened"} == alert_message(alert()).keys()


def test_every_form_of_a_page_is_smaller_than_the_one_before_and_can_be_read_as_text() -> None:
    one = alert_message(alert(message="m" * 2000), RULE, "https://monitor.example/alerts/1")
    page = merge_pages([one, one, one])
    forms = list(page_forms(page))
    sizes = [len(msgspec.json.encode(form)) for form in forms]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes) == 4
    for form in forms:
        title, body = plain_text(msgspec.json.decode(msgspec.json.encode(form)))
        assert title == "rule on topic and 2 more [page]" and "https://monitor.example/alerts/1" in body
        assert ("shortened" in body) is (form is not forms[0])
    assert forms[-1]["message"] == "m" * 199 + "\u2026"


def test_a_page_names_the_events_of_its_evidence_and_one_queued_by_an_older_version_has_none() -> None:
    item = EvidenceItem("wire", "1", NOW, "Bonds fall", -0.9, ("fall",), events=("default", "guidance_cut"))
    message = merge_pages([msgspec.json.decode(msgspec.json.encode(alert_message(alert(evidence=(item,)))))])
    assert "-0.90 wire: Bonds fall [fall] (default, guidance cut)" in plain_text(message)[1]
    del message["evidence"][0]["events"]
    assert plain_text(message)[1].splitlines()[1] == "-0.90 wire: Bonds fall [fall]"


def test_a_page_says_what_is_behind_it_and_one_of_an_older_version_says_nothing() -> None:
    behind = "51 negative texts in 4 stories, 38 voices, 13 copies"
    message = alert_message(alert(stories_text=behind, texts=51, stories=4, voices=38, copies=13), RULE)
    _, body = plain_text(merge_pages([message]))
    assert body.splitlines()[1] == behind
    older = {name: value for name, value in message.items() if name not in ("stories_text", "counted")}
    assert behind not in plain_text(merge_pages([older]))[1]
