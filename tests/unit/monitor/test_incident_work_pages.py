"""The pages and the API of incidents over HTTP: what they show, and what people do with them."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.web.desk import Desk
from monitor.web.incident_forms import quiet_choices
from stream.domain.alerts import Severity
from stream.domain.incidents import PageKind
from stream.storage.incident_actions import IncidentActions
from tests.desk_parts import desk_over, new_store, serving
from tests.sample_incidents import item, message
from tests.unit.stream.test_episode_store import firing_alert
from tests.unit.stream.test_incident_action_rows import decide
from tests.unit.stream.test_incident_rows import INCIDENT, page

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HTML = {"Accept": "text/html"}


class Browser:
    """Somebody who looks at pages and sends their forms."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, headers=HTML, timeout=60)
        (self._csrf,) = re.findall(r'name="csrf-token" content="([^"]+)"', self.get("/incidents/i"))

    def get(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def form(self, kind: str) -> dict[str, str]:
        """The hidden fields of a form of the incident's page."""
        html = self.get("/incidents/i")
        (form,) = re.findall(rf'<form id="{kind}-form".*?</form>', html, re.DOTALL)
        outside = re.findall(rf'<input type="hidden" form="{kind}-form"[^>]*>', html)
        hidden = re.findall(r'type="hidden"[^>]*name="(\w+)" value="([^"]*)"', form + "".join(outside))
        return dict(hidden)

    def send(self, kind: str, **fields: str) -> httpx.Response:
        return self.http.post(f"/incidents/i/{kind}", data={"csrf": self._csrf, **fields})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with one incident, which a page told of."""
    store = new_store(tmp_path)
    made = desk_over(store, lambda: NOW)
    told = replace(page(PageKind.BEGIN, 1), message=message())
    made.episodes.save([firing_alert(incident="i")], [], [], [], NOW, [INCIDENT], [told])
    yield made
    store.engine.dispose()


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    with serving(desk) as url:
        yield url


@pytest.fixture
def ann(url: str) -> Iterator[Browser]:
    browser = Browser(url)
    yield browser
    browser.http.close()


def actions_of(desk: Desk) -> list[tuple[str, str, str]]:
    done = IncidentActions(desk.store, decide).of("i")
    return [(action.kind, action.actor, action.text) for action in done]


def test_the_page_says_what_the_last_page_said_and_each_text_leads_to_its_own(ann: Browser) -> None:
    html = ann.get("/incidents/i")
    assert "23 negative voices in 30 minutes where 1 is usual" in html
    assert 'href="/texts/news%3Areuters%3A1"' in html and "<mark>stops</mark>" in html
    assert 'href="/entities/house%3Ahalcyon"' in html and 'href="/stories/7"' in html
    assert "Page: it begins" in html and "<b>nobody</b> has it" in html
    part = ann.get("/incidents/i?fragment=live")
    assert "Page: it begins" in part and "<html" not in part and "comment-form" not in part


def test_what_a_rule_saw_when_it_paged_stands_beside_what_it_sees_now(ann: Browser, desk: Desk) -> None:
    (alert,) = desk.episodes.alerts_of("i")
    pages = [
        replace(
            page(PageKind.UPDATE, number), message={**message(), "alerts": [{"id": alert.id, "value": value}]}
        )
        for number, value in ((2, 12.5), (3, 99.5))
    ]
    after = replace(INCIDENT, paged_number=3)
    desk.episodes.save([replace(alert, value=40.25)], [], [], [], NOW, [after], pages)
    row = re.search(rf'<tr id="{alert.id}">.*?</tr>', ann.get("/incidents/i"), re.DOTALL)
    assert row is not None
    assert re.findall(r'data-label="(?:When it paged|Now)">([\d.]+)<', row[0]) == ["12.5", "40.2"]


def test_one_click_acknowledges_and_everybody_sees_who_has_it(ann: Browser, desk: Desk) -> None:
    assert ann.send("acknowledge").headers["location"] == "/incidents/i"
    html = ann.get("/incidents/i")
    assert "<b>local</b> has it" in html and "Acknowledge: it is mine" not in html
    assert "local has acknowledged it" in ann.get("/incidents/i?fragment=live")
    assert '<td data-label="Who has it"><span>local</span></td>' in ann.get("/incidents")


def test_a_double_click_is_one_action(ann: Browser, desk: Desk) -> None:
    comment = ann.form("comment") | {"comment": "a broker says so too"}
    quiet = ann.form("quiet") | {"quiet": "60"}
    for _ in range(2):
        assert ann.send("acknowledge").status_code == 303
        assert ann.send("comment", **comment).status_code == 303
    for _ in range(2):
        assert ann.send("quiet", **quiet | {"expected": "2"}).status_code == 303
    assert [kind for kind, *_ in actions_of(desk)] == ["acknowledge", "comment", "quiet"]
    assert desk.episodes.incidents_of(["i"])["i"].quiet_until == NOW + HOUR


def test_of_two_browsers_that_close_it_at_once_one_is_told_what_the_other_did(url: str, desk: Desk) -> None:
    browsers = [Browser(url), Browser(url)]
    forms = [browser.form("close") for browser in browsers]
    answers: list[httpx.Response] = []
    both = threading.Barrier(2)

    def close(browser: Browser, form: dict[str, str], verdict: str) -> None:
        both.wait()
        answers.append(browser.send("close", **form, verdict=verdict))

    verdicts = ("old", "not-news")
    threads = [
        threading.Thread(target=close, args=each) for each in zip(browsers, forms, verdicts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for browser in browsers:
        browser.http.close()
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    (refused,) = [answer.text for answer in answers if answer.status_code == 409]
    assert "Nothing was changed: meanwhile local has closed it as" in refused
    assert [kind for kind, *_ in actions_of(desk)] == ["close"]


def test_what_somebody_typed_stays_when_it_cannot_be_carried_out(ann: Browser) -> None:
    answer = ann.send("assign", assignee="bob" * 100, key="k")
    assert answer.status_code == 400 and f'value="{"bob" * 100}"' in answer.text
    # The part of the page that is fetched again has the address of the page, not of the form.
    assert 'hx-get="/incidents/i?fragment=live"' in answer.text


@pytest.mark.parametrize(
    ("kind", "fields", "status"),
    [
        ("dance", {}, 400),
        ("close", {"verdict": "bad"}, 400),
        ("close", {}, 400),
        ("quiet", {"quiet": "tomorrow"}, 400),
        ("quiet", {"quiet": "9" * 30}, 400),
        ("comment", {"comment": "", "expected": "x"}, 400),
    ],
)
def test_a_form_that_makes_no_sense_changes_nothing(
    ann: Browser, desk: Desk, kind: str, fields: dict[str, str], status: int
) -> None:
    assert ann.send(kind, **fields).status_code == status
    assert actions_of(desk) == []


def test_what_people_and_the_world_write_is_shown_and_never_run(ann: Browser, desk: Desk) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    evidence = item(hostile, key="news:<b>:1", url="javascript:alert(1)")
    told = page(PageKind.UPDATE, 2)
    told = replace(told, message=message(evidence=(evidence,), subject=hostile))
    before = desk.episodes.incidents_of(["i"])["i"]
    desk.episodes.save([], [], [], [], NOW, [replace(before, paged_number=2, title=hostile)], [told])
    ann.send("comment", comment=hostile, key="k")
    ann.send("assign", assignee=hostile, key="l")
    for path in ("/incidents/i", "/incidents", "/incidents/i?fragment=live"):
        html = ann.get(path)
        assert "<script>alert" not in html and "<img" not in html and "javascript:" not in html
    assert "&lt;script&gt;alert(1)" in ann.get("/incidents/i")


def test_the_list_is_filtered_by_its_address_and_goes_on(ann: Browser, desk: Desk) -> None:
    more = [
        replace(INCIDENT, id=f"n{n}", began_at=NOW + n * HOUR, title=f"Number {n}", alerts=())
        for n in range(60)
    ]
    ticket = replace(INCIDENT, id="t", severity=Severity.TICKET, title="A ticket", alerts=("t",))
    alert = firing_alert(id="t", incident="t", rule="quiet feed", topic="Macro")
    desk.episodes.save([alert], [], [], [], NOW, [*more, ticket], [])
    first = ann.get("/incidents")
    assert "Number 59" in first and "Number 9<" not in first
    (rest,) = re.findall(r'href="(/incidents\?[^"]*cursor[^"]*)"', first)
    second = ann.get(rest.replace("&amp;", "&"))
    assert "Number 9<" in second and "Number 59" not in second and "A ticket" in second
    only = ann.get("/incidents?severity=ticket&rule=quiet+feed&topic=Macro&which=open")
    assert "A ticket" in only and "Number" not in only
    assert "There is no such incident." in ann.get("/incidents?which=past")
    assert ann.http.get("/incidents?which=gone").status_code == 400
    assert ann.http.get("/incidents?cursor=x").status_code == 400
    assert ann.http.get("/incidents/nope").status_code == 404
    assert ann.http.get("/incidents/a%00b").status_code == 404


def api(url: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """What the API answers; a POST if there is a body, which may be empty."""
    if body is None:
        answer = httpx.get(url + path)
    else:
        content = b"" if body == {} else json.dumps(body).encode()
        answer = httpx.post(
            url + path, content=content, headers={"Content-Type": "application/json", **headers}
        )
    return answer.status_code, answer.json()


def test_a_script_lists_incidents_and_acknowledges_one_without_a_body(url: str, desk: Desk) -> None:
    status, found = api(url, "/api/v1/incidents?which=open")
    assert status == 200 and found["next"] is None
    (incident,) = found["items"]
    assert (incident["id"], incident["state"], incident["link"]) == ("i", "open", "/incidents/i")
    first, again = (api(url, "/api/v1/incidents/i/acknowledge", {}) for _ in range(2))
    assert first[0] == again[0] == 200
    assert first[1]["incident"]["acknowledged_by"] == "local"
    assert (first[1]["repeated"], again[1]["repeated"]) == (False, True)
    _, one = api(url, "/api/v1/incidents/i")
    assert [action["kind"] for action in one["actions"]] == ["acknowledge"]


def test_a_script_s_key_makes_two_requests_one_action(url: str, desk: Desk) -> None:
    key = {"Idempotency-Key": "job 7"}
    for _ in range(2):
        status, done = api(url, "/api/v1/incidents/i/comment", {"comment": "checked"}, **key)
        assert status == 200 and done["action"]["comment"] == "checked"
    assert [kind for kind, *_ in actions_of(desk)] == ["comment"]
    status, said = api(url, "/api/v1/incidents/i/close", {"verdict": "old", "expected": 0})
    assert status == 200 and said["incident"]["verdict"] == "old"
    status, said = api(url, "/api/v1/incidents/i/assign", {"assignee": "bob", "expected": 1})
    assert (status, said["error"]) == (409, "local has closed it meanwhile")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/incidents/nope", None, 404),
        ("/api/v1/incidents/nope/acknowledge", {}, 404),
        ("/api/v1/incidents/i/dance", {}, 400),
        ("/api/v1/incidents/i/comment", {"comment": 7}, 400),
        ("/api/v1/incidents?severity=worst", None, 400),
        ("/api/v1/incidents?limit=201", None, 400),
        ("/api/v1/incidents?cursor=x", None, 400),
    ],
)
def test_the_api_says_what_is_wrong_with_a_request(url: str, path: str, body: Any, status: int) -> None:
    found, answer = api(url, path, body)
    assert found == status and answer["error"]


def test_the_list_of_the_api_goes_on_by_its_cursor(url: str, desk: Desk) -> None:
    more = [replace(INCIDENT, id=f"n{n}", began_at=NOW + n * HOUR, alerts=()) for n in range(3)]
    desk.episodes.save([], [], [], [], NOW, more, [])
    seen, cursor = [], ""
    while cursor is not None:
        _, part = api(url, f"/api/v1/incidents?limit=1&cursor={cursor}")
        seen += [each["id"] for each in part["items"]]
        cursor = part["next"]
    assert seen == ["n2", "n1", "i", "n0"]


def test_the_description_of_the_api_names_every_action(url: str) -> None:
    _, description = api(url, "/api/openapi.json")
    text = json.dumps(description)
    assert "/api/v1/incidents/{id_}/{kind}" in description["paths"]
    assert "Idempotency-Key" in text and "OneIncident" in text


def test_the_morning_of_a_quiet_is_that_of_the_house() -> None:
    night = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    last = quiet_choices(night, "Europe/Berlin")[-1]
    assert (last.value, last.text) == ("2026-03-02T08:00:00+01:00", "until Mon 08:00 (Europe/Berlin)")
    assert quiet_choices(night, "UTC")[0].text == "for 30 minutes"
