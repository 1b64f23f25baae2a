"""The pages of rules and watchlists over HTTP: what they show, try and save."""

import html
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from alerts.rules.registry import RULE_TYPES
from monitor.runtime.settings import Settings
from monitor.web.rule_files import digest
from monitor.web.rule_words import MEANINGS
from stream.storage.audit import read_audit
from stream.storage.batches import Store
from tests.desk_parts import desk_over, new_store, serving
from tests.unit.stream.samples import classified, write

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = """\
rules:
  # Bad news about earnings.
  - name: surge
    type: negative_surge
    topics: [Earnings]
    window: 15m
    factor: 3
    min_negative: 5
    min_documents: 5
    min_baseline: 24h
  - {name: banks, type: threshold, entities: watchlist banks, watch: mean_score, threshold: -0.5}
watchlists:
  banks:
    - XNYS:JPM  # the largest
    - XNYS:BAC
"""


@dataclass
class Site:
    """A desk over a rule file, seen from a browser."""

    http: httpx.Client
    rules: Path
    store: Store

    def get(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def trial(self, path: str) -> str:
        """The outcome of a trial, once it is there."""
        while "<progress" in (shown := self.get(path)):
            time.sleep(0.1)
        return shown

    def fields(self, path: str, number: int = -1) -> dict[str, str]:
        """The hidden fields of one of the forms of a page that change something."""
        text = self.http.get(path).text
        forms = re.findall(
            r'<form method="post" action="/(?:rules|watchlists)[^>]*>(.*?)</form>', text, re.DOTALL
        )
        hidden = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', forms[number])
        return {name: html.unescape(value) for name, value in hidden}

    def send(self, path: str, fields: dict[str, str]) -> httpx.Response:
        """Send a form as a browser does, with the token of the page."""
        (token,) = re.findall(r'<meta name="csrf-token" content="([^"]+)">', self.http.get("/rules").text)
        return self.http.post(path, data={**fields, "csrf": token})

    @property
    def audited(self) -> list[tuple[str, str, str, str]]:
        return [
            (each.user, each.action, each.subject, each.detail) for each in read_audit(self.store.engine, 10)
        ]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A desk without texts."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    store = new_store(tmp_path)
    url = store.engine.url.render_as_string(hide_password=False)
    settings = Settings.model_validate({"database": {"url": url}, "alerts": {"rules": rules}})
    with (
        serving(desk_over(store, lambda: NOW, settings=settings)) as base,
        httpx.Client(base_url=base, headers={"Accept": "text/html"}, timeout=30) as http,
    ):
        yield Site(http, rules, store)
    store.engine.dispose()


def test_the_list_says_what_each_rule_watches_and_may_send(site: Site) -> None:
    shown = site.get("/rules")
    assert "topics Earnings, counts voices" in shown
    assert 'href="/rules/surge"' in shown
    assert "entities watchlist banks" in shown


def test_the_page_says_what_every_number_of_every_rule_type_means() -> None:
    keys = {
        info.alias or name
        for rule_type in RULE_TYPES.values()
        for name, info in rule_type.model_fields.items()
        if info.annotation in (int, float, timedelta, float | None)
    }
    assert keys <= MEANINGS.keys()


def test_a_rule_that_is_not_there_is_a_404(site: Site) -> None:
    assert site.http.get("/rules/gone").status_code == 404


def test_a_surge_in_the_past_is_found_and_other_numbers_would_not_have_found_it(site: Site) -> None:
    calm = [
        classified(f"c{n}", n, at=NOW - timedelta(hours=n), sentiment="neutral", score=0.0)
        for n in range(100)
    ]
    bad = [classified(f"b{n}", 200 + n, at=NOW - timedelta(hours=5) + n * MINUTE / 2) for n in range(20)]
    write(site.store, *calm, *bad)
    shown = site.trial("/rules/surge?fragment=trial")
    assert "1 incident that page" in shown
    assert "Earnings" in shown
    shown = site.trial("/rules/surge?min_negative=30&fragment=trial")
    assert "0 incidents that page with the changed numbers" in " ".join(re.sub("<[^>]*>", " ", shown).split())
    assert "1 incident that page" in shown
    assert site.rules.read_text(encoding="utf-8") == RULES


def test_without_texts_a_trial_says_that_there_are_none(site: Site) -> None:
    shown = site.trial("/rules?try=all&fragment=trial")
    assert "0 texts in that time; there are none before it either" in shown
    assert "Nothing would have been sent" in shown


def test_numbers_are_saved_by_a_form_and_audited_and_comments_stay(site: Site) -> None:
    answer = site.send("/rules/surge", site.fields("/rules/surge?factor=4&cool_down=6h"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/rules/surge?saved=yes")
    saved = RULES.replace("factor: 3", "factor: 4").replace(
        "surge\n    topics", "surge\n    cool_down: 6h\n    topics"
    )
    assert site.rules.read_text(encoding="utf-8") == saved
    words = "cool_down 6h instead of 0s, factor 4 instead of 3"
    assert site.audited == [("local", "rule.save", "surge", words)]
    assert 'value="4"' in site.get("/rules/surge?saved=yes")
    assert [path.name for path in site.rules.parent.iterdir() if path.name.startswith(".rules")] == []


def test_of_two_who_save_at_once_the_second_is_told(site: Site) -> None:
    """The file changes between the page that somebody looked at and their form."""
    fields = site.fields("/rules/surge?factor=4")
    site.rules.write_text(RULES.replace("15m", "20m"), encoding="utf-8")
    answer = site.send("/rules/surge", fields)
    assert answer.status_code == 409
    assert "was changed since you looked" in answer.text
    assert "factor: 3" in site.rules.read_text(encoding="utf-8")


@pytest.mark.parametrize("query", ["factor=0.5", "factor=[1]", "window=15", "factor=3%0A%20%20evil:%20yes"])
def test_numbers_that_cannot_be_used_are_told_and_nothing_is_tried_or_saved(site: Site, query: str) -> None:
    shown = site.get(f"/rules/surge?{query}")
    assert "These numbers cannot be used" in shown
    assert "<progress" not in shown
    assert "Save to" not in shown


def test_a_rule_file_that_cannot_be_written_gives_the_text_to_copy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.web.rule_files.SHIPPED", (site.rules.parent,))
    shown = site.get("/rules/surge?factor=4")
    assert "belongs to the program" in shown
    assert "factor: 4" in shown
    assert "Save to" not in shown
    fields = {"seen": digest(RULES), "factor": "4"}
    assert site.send("/rules/surge", fields).status_code == 409
    assert site.rules.read_text(encoding="utf-8") == RULES


def test_a_broken_rule_file_is_told_with_its_line_and_the_rules_before_go_on(site: Site) -> None:
    site.rules.write_text(RULES.replace("factor: 3", "factr: 3"), encoding="utf-8")
    shown = site.get("/rules")
    assert "rules.yaml:7: rule 'surge': unknown key 'factr'" in shown
    assert 'href="/rules/surge"' in shown


def test_a_watchlist_is_shown_with_the_rules_that_watch_it(site: Site) -> None:
    shown = site.get("/watchlists")
    assert "XNYS:JPM" in shown
    assert 'watched by <a href="/rules/banks">banks</a>' in shown


def test_an_entity_is_added_to_a_watchlist_by_a_form_and_audited(site: Site) -> None:
    fields = {**site.fields("/watchlists", 0), "entities": "XNYS:JPM, cb:FED\nXNYS:BAC"}
    answer = site.send("/watchlists", fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/watchlists?saved=yes")
    assert "    - XNYS:JPM  # the largest\n    - XNYS:BAC\n    - cb:FED\n" in site.rules.read_text(
        encoding="utf-8"
    )
    assert site.audited == [("local", "watchlist.save", "banks", "added cb:FED")]
    assert site.send("/watchlists", fields).status_code == 409


def test_a_new_watchlist_is_added(site: Site) -> None:
    assert (
        site.send(
            "/watchlists", {**site.fields("/watchlists"), "name": "oil", "entities": "XNYS:XOM"}
        ).status_code
        == 303
    )
    assert "XNYS:XOM" in site.get("/watchlists")


@pytest.mark.parametrize(
    ("name", "entities", "problem"),
    [
        ("", "cb:FED", "a name of 1 to 100 characters"),
        ("oil", " , ", "the list must name one entity or more"),
        ("x" * 101, "cb:FED", "a name of 1 to 100 characters"),
        ("oil", "a" * 200, "is no id of an entity"),
    ],
)
def test_a_watchlist_that_no_rule_could_use_is_refused_and_what_was_typed_stays(
    site: Site, name: str, entities: str, problem: str
) -> None:
    answer = site.send("/watchlists", {**site.fields("/watchlists"), "name": name, "entities": entities})
    assert answer.status_code == 409
    assert problem in html.unescape(answer.text)
    assert site.rules.read_text(encoding="utf-8") == RULES


def test_what_rule_files_hold_runs_nothing(site: Site) -> None:
    evil = "<script>alert(1)</script>"
    site.rules.write_text(
        RULES.replace("# the largest", f"# {evil}").replace("banks:", f'"{evil}":', 1), encoding="utf-8"
    )
    for path in ("/rules", "/watchlists", "/rules/surge", f"/rules/surge?factor={evil}"):
        assert evil not in site.http.get(path).text
