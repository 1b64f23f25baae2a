"""What somebody reads who was asleep: who, what, how much, since when, how sure, what to do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery.alertmanager import incident_annotations
from alerts.delivery.messages import alert_message, merge_pages, page_forms
from alerts.delivery.page_text import markdown_text, plain_text, short_title
from alerts.incidents import page_words
from alerts.incidents.page_facts import AlertFacts, Named, figures
from alerts.incidents.robustness import Robustness
from alerts.wording import rarity_text, span_text, subject_title, usual_text
from monitor.web.access.users import Role
from monitor.web.rendering import render
from stream.domain.alerts import AlertState, EvidenceItem, Severity
from stream.domain.incidents import LONGEST_TITLE, Headline, Page, PageInputs, PageKind
from tests.sample_incidents import AT, MINUTE, TITLE, alert, facts, incident, item, message

HOUR = timedelta(hours=1)
BEFORE = figures(message())


def text(**changes: Any) -> tuple[str, str]:
    return plain_text(merge_pages([message(**changes)]))


def test_a_page_says_in_order_what_a_person_asks() -> None:
    title, body = text()
    assert title == "Halcyon Lending: Halcyon stops every payout and names no date for savers to be …"
    assert body.splitlines() == [
        "Halcyon Lending (severity page)",
        TITLE,
        "23 negative voices in 30 minutes where 1 is usual; chance alone would do this less than once in a "
        "century.",
        "Since 13 June 2022, 02:14 UTC (12 minutes ago), first seen at reuters.",
        "23 negative voices tell 4 stories, from 19 origins and 12 authors; 13 copies are left out.",
        "Topics: Crypto 20, Macro 3",
        "The worst text of 1 of its 4 stories, and the words that carry it:",
        f"- reuters, 13 Jun 02:14 UTC: {TITLE} [stops] (+6 copies)",
        "Sources: reuters 5, coindesk 4",
        "It would still fire without any two of its origins.",
        "What to do: https://monitor.example/runbooks",
        "All of it: https://monitor.example/incidents/i1",
        "What each rule saw:",
        "- entity-surge (page, firing): Halcyon Lending: 23 negative voices in 30 min, 23.0 times the usual "
        "1.0; would happen by chance less than once in a million years",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "said"),
    [((item(),), "What to do: read these texts at their sources, and decide whether they are true and concern you"),
     ((), "What to do: run monitor status, which says what arrives and what does not")],
)  # fmt: skip
def test_without_a_runbook_a_page_still_says_what_to_do(
    evidence: tuple[EvidenceItem, ...], said: str
) -> None:
    without = AlertFacts(alert(), "much of it")
    assert said in text(alerts=(without,), evidence=evidence)[1].splitlines()


def test_an_update_begins_with_what_changed_since_the_last_page() -> None:
    other = AlertFacts(alert(rule="slow-surge"), "much of it")
    page = facts(before=BEFORE, kind=PageKind.UPDATE, number=2, voices=57, stories=6)
    page = replace(
        page,
        at=AT + HOUR,
        who=(*page.who, Named("crypto:BTC", "Bitcoin")),
        alerts=(*page.alerts, other),
        before=replace(page.before, severity="ticket"),  # type: ignore[type-var]
    )
    assert page_words.changes(page) == [
        "severity page instead of ticket",
        "57 negative voices instead of 23",
        "6 stories instead of 4",
        "now also about Bitcoin",
        "seen by slow-surge too",
    ]
    title, body = text(before=BEFORE, kind=PageKind.UPDATE, number=2, voices=57)
    assert title.startswith("Worse: Halcyon Lending: Halcyon stops")
    assert body.splitlines()[0] == "WORSE: Halcyon Lending (severity page)"
    assert body.splitlines()[2] == "Since the last page: 57 negative voices instead of 23."


def test_the_end_says_how_long_it_lasted_and_how_large_it_became() -> None:
    larger = figures(message(before=BEFORE, kind=PageKind.UPDATE, voices=57, seen=alert(value=57.0)))
    ended = incident(calm_since=AT + 5 * HOUR + 20 * MINUTE, ended_at=AT + 7 * HOUR)
    page = message(alert(value=0.5), before=larger, kind=PageKind.END, at=AT + 7 * HOUR, incident=ended,
                   voices=214, stories=12, origins=87, authors=0, copies=140, robustness=None)  # fmt: skip
    title, body = plain_text(merge_pages([page]))
    assert page["state"] == AlertState.RESOLVED and page["resolved_at"] == "2022-06-13T09:26:00Z"
    assert title.startswith("Over: Halcyon Lending")
    assert body.splitlines()[:6] == [
        "OVER: Halcyon Lending (severity page)",
        TITLE,
        "It lasted 5 hours 20 minutes, from 13 June 2022, 02:26 UTC to 13 June 2022, 07:46 UTC.",
        "At its largest: 57 negative voices in 30 minutes where 1 is usual.",
        "First seen 13 June 2022, 02:14 UTC at reuters.",
        "In all, 214 negative voices tell 12 stories, from 87 origins; 140 copies are left out.",
    ]
    assert "What to do" not in body and "worst text" not in body


def test_a_page_of_no_texts_says_what_is_missing() -> None:
    silent = alert(rule="silence", entity=None, labels={}, summary="all: no documents in the last 2 h")
    page = facts(
        headline=None, texts=0, voices=0, stories=0, origins=0, authors=0, copies=0, topics={}, sources={},
        evidence=(), robustness=None, subject="The feed", who=(), seen_by="", seen_since=AT,
        alerts=(AlertFacts(silent, "no documents in 2 hours where 14 are usual"),),
    )  # fmt: skip
    assert page.title == "The feed: no documents in 2 hours where 14 are usual"
    _, body = plain_text(merge_pages([msgspec.to_builtins(message(silent))]))
    assert page_words.counts(page) == "" and page_words.robust(page.robustness) == ""
    assert page_words.since(page) == "since 13 June 2022, 02:26 UTC (just now)"
    assert body


def test_a_message_of_the_rules_own_template_is_shown() -> None:
    assert "\nown words\n" in text(seen=alert(message="own words"))[1]


def test_pages_that_go_together_are_told_in_one_with_a_title_within_its_limit() -> None:
    other = message(incident=incident(id="i2", title="Other"), subject="Bitcoin", number=3)
    old = msgspec.to_builtins(alert_message(alert(id="old", severity=Severity.TICKET)))
    title, body = plain_text(merge_pages([message(), other, old]))
    assert title.endswith("… and 2 more") and len(title) == LONGEST_TITLE
    assert body.splitlines()[-2].startswith(f"Also Bitcoin: {TITLE} (23 negative voices")
    assert body.splitlines()[-1].startswith("Also Halcyon Lending: Halcyon Lending: 23 negative")
    assert "also all: " not in plain_text(merge_pages([old, message()]))[1]


def test_every_smaller_form_keeps_all_fields_and_can_be_said() -> None:
    long = tuple(item("\u66b4" * 500, f"{i}", story=i) for i in range(5))
    many = tuple(AlertFacts(alert(id=str(i), summary="\u8dcc" * 900), "worse") for i in range(20))
    whole = merge_pages([message(evidence=long, alerts=many), message(evidence=long)])
    forms = [msgspec.json.decode(msgspec.json.encode(form)) for form in page_forms(whole)]
    sizes = [len(msgspec.json.encode(form)) for form in forms]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 60_000 and sizes[-1] < 6_000
    for form in forms[1:]:
        title, body = plain_text(form)
        assert form.keys() - {"shortened"} == whole.keys()
        assert title.startswith("Halcyon Lending: Halcyon stops") and "(shortened" in body
        assert "https://monitor.example/incidents/i1" in body


# What is hostile in a chat, on a terminal, in Markdown and in HTML.
HOSTILE = (
    "@everyone [click](https://evil.example) <script>alert(1)</script> \x1b[31m{{ 7*7 }}\u202e\r\nOVER: calm"
)


def hostile() -> dict[str, Any]:
    bad = alert(message=HOSTILE, summary=HOSTILE, labels={"entity_name": HOSTILE})
    return message(
        bad,
        headline=Headline(7, HOSTILE * 100, HOSTILE, AT, HOSTILE),
        subject=HOSTILE,
        who=(Named("house:halcyon", HOSTILE),),
        seen_by=HOSTILE,
        topics={HOSTILE: 1},
        sources={HOSTILE: 1},
        evidence=(item(HOSTILE, HOSTILE, words=("<script>",), url="javascript:alert(1)"),),
        alerts=(AlertFacts(bad, HOSTILE, runbook="https://monitor.example/runbooks"),),
    )


@pytest.mark.parametrize("write", [plain_text, markdown_text])
def test_texts_of_others_mention_nobody_and_forge_no_line(write: Any) -> None:
    title, body = write(merge_pages([hostile(), hostile()]))
    assert len(title) <= 2 * LONGEST_TITLE and "\n" not in title
    for said in (title, body):
        assert "@everyone" not in said and "://evil" not in said and "\x1b" not in said and "49" not in said
    assert not any(line.startswith("OVER") for line in body.splitlines())
    assert "https://monitor.example/incidents/i1" in body


def incident_html(pages: list[Page], **values: Any) -> str:
    """The page of an incident as somebody who may only read sees it."""
    messages = [page.message for page in pages if page.message]
    nobody: dict[str, Any] = {
        "user": None, "desk_role": Role.DESK, "can_log_out": False, "csrf": "", "path": "/incidents/i1",
        "problem": "", "form": {}, "events": [], "quiet": False, "quiet_choices": (), "verdicts": (), "key": "",
        "prefix": "", "bars": [], "highest": 1, "paged": {}, "first": None, "deliveries": [], "page": messages[-1] if messages else None,
    }  # fmt: skip
    return render("incident.html", **nobody | {"pages": pages} | values)


def test_html_shows_texts_of_others_as_they_are() -> None:
    page = Page("i1:begin:1", "i1", PageKind.BEGIN, 1, AT, hostile(), PageInputs(AT))
    html = incident_html([page], incident=incident(title=HOSTILE), alerts=[alert(summary=HOSTILE)])
    assert "<script>" not in html and "javascript:" not in html and "&lt;mark" not in html
    assert "<mark>&lt;script&gt;</mark>" in html


def test_html_says_the_same_in_the_same_order_as_the_text() -> None:
    page = Page("i1:begin:1", "i1", PageKind.BEGIN, 1, AT, message(), PageInputs(AT))
    html = incident_html([page], incident=incident(title="Halcyon Lending: stops"), alerts=[alert()])
    parts = (
        "<h1>Halcyon Lending: stops", TITLE, "23 negative voices in 30 minutes", "Since 13 June 2022, 02:14 UTC",
        "23 negative voices tell 4 stories", "Topics: <a href=\"/topics/Crypto\">Crypto</a> 20", "<mark>stops</mark>", "Sources: reuters 5",
        "It would still fire without any two", "https://monitor.example/runbooks", "23.0 times the usual",
    )  # fmt: skip
    places = [html.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("pages", [[], [Page("k", "i1", PageKind.BEGIN, 1, AT, {}, PageInputs(AT))]])
def test_html_of_an_incident_whose_pages_are_gone_shows_what_its_alerts_kept(pages: list[Page]) -> None:
    html = incident_html(pages, incident=incident(title="Old one"), alerts=[alert(evidence=(item(),))])
    assert "Old one" in html and "<mark>stops</mark>" in html


def test_annotations_say_who_what_how_much_since_when_and_how_sure() -> None:
    found = incident_annotations(message())
    assert found["summary"] == text()[0] and found["description"] == text()[1]
    assert (found["who"], found["what"], found["id"]) == ("Halcyon Lending", TITLE, "i1")
    assert found["robustness"] == "it would still fire without any two of its origins"
    assert found["how_much"].startswith("23 negative voices in 30 minutes where 1 is usual; chance")


def test_a_message_has_every_field_of_an_alerts_own_message() -> None:
    sent = message()
    assert alert_message(alert()).keys() <= sent.keys()
    assert (sent["key"], sent["id"], sent["incident"]) == ("i1:begin:1", "i1", "i1")
    assert (sent["rule"], sent["entity"], sent["value"]) == ("entity-surge", "house:halcyon", 23.0)
    assert (sent["page"], sent["entities"], sent["voices"], sent["stories"]) == (
        "begin",
        ["house:halcyon"],
        23,
        4,
    )
    assert sent["robustness"] == {"origins": 19, "still_fires_without": 2, "at_least": False}


@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(PageKind), st.integers(0, 10**6))
def test_a_title_is_never_longer_than_its_limit(subject: str, what: str, kind: PageKind, others: int) -> None:
    title = subject_title(subject, what)
    assert len(title) <= LONGEST_TITLE
    page = {"page": kind, "title": title, "others": range(others)}
    assert len(short_title(page)) <= LONGEST_TITLE


@pytest.mark.parametrize(
    ("subject", "what", "title"),
    [
        ("Halcyon Lending", "Halcyon Lending pauses withdrawals", "Halcyon Lending pauses withdrawals"),
        ("宁德时代", "宁德时代：一季度净利润下降", "宁德时代：一季度净利润下降"),
        ("Bitcoin", "Market\n falls", "Bitcoin: Market falls"),
        ("Bitcoin", "x" * 90 + " Bitcoin", f"Bitcoin: {'x' * 70}…"),
    ],
)
def test_a_title_names_who_and_what(subject: str, what: str, title: str) -> None:
    assert subject_title(subject, what) == title


@pytest.mark.parametrize(
    ("robustness", "said"),
    [
        (Robustness(3, 0), "it hangs on one origin: without that one it would not fire"),
        (Robustness(3, 1), "it would still fire without any one of its origins"),
        (Robustness(90, 2), "it would still fire without any two of its origins"),
        (Robustness(90, 41), "it would still fire without any 41 of its origins"),
        (
            Robustness(900, 64, True),
            "it would still fire without any 64 of its origins, and perhaps without more",
        ),
        (None, ""),
    ],
)
def test_robustness_is_said_in_words(robustness: Robustness | None, said: str) -> None:
    assert page_words.robust(robustness) == said


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=1), "1 second"), (timedelta(seconds=59.6), "1 minute"), (15 * MINUTE, "15 minutes"),
        (HOUR, "1 hour"), (5 * HOUR + 20 * MINUTE, "5 hours 20 minutes"), (12 * HOUR, "12 hours"),
        (47.9 * HOUR, "47 hours 54 minutes"), (7 * 24 * HOUR, "7 days"), (-HOUR, "0 seconds"),
    ],
)  # fmt: skip
def test_a_length_of_time_is_said_in_whole_words(length: timedelta, said: str) -> None:
    assert span_text(length) == said


def test_what_is_usual_and_how_rare_it_is_are_said_without_digits_that_say_nothing() -> None:
    assert [usual_text(amount) for amount in (0.01, 0.5, 1.2, 1.6, 1234.4)] == [
        "hardly any is usual", "less than 1 is usual", "1 is usual", "2 are usual", "1,234 are usual",
    ]  # fmt: skip
    assert rarity_text(4e-155) == "chance alone would do this less than once in a century"
    assert rarity_text(1 / 40) == "chance alone would do this about once in 40 years"
