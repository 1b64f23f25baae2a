"""The overview and what every page shares, out of a real database over real HTTP."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from monitor.web import static_files
from monitor.web.api import cursors
from monitor.web.api.listing import listing
from monitor.web.cached import Cached, Shared
from monitor.web.errors import BadRequest
from monitor.web.threads import Threads
from stream.domain.alerts import Severity
from stream.domain.incidents import Incident
from stream.storage.batches import Store
from tests.desk_parts import desk_over, new_store, serving
from tests.unit.stream.samples import NOW, about, classified, mention, write

MINUTE = timedelta(minutes=1)
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path)
    yield store
    store.engine.dispose()


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    with serving(desk_over(store, lambda: NOW + MINUTE)) as address:
        yield address


def test_an_empty_database_has_no_mood_and_the_overview_says_so(url: str) -> None:
    page = httpx.get(f"{url}/", headers=BROWSER).text
    assert "No text has come in yet" in page and "not the same as a neutral one" in page
    assert '<span class="quiet">no texts</span>' in page and "None is open." in page


def test_the_overview_shows_topics_incidents_and_what_moved_and_runs_none_of_it(
    store: Store, url: str
) -> None:
    items = [
        about(classified(f"d{i}", i, score=-0.9, sentiment="negative", title=EVIL), mention("x:Y"))
        for i in range(6)
    ]
    write(store, *items)
    desk = desk_over(store, lambda: NOW)
    desk.episodes.save([], [], [], [], NOW, [Incident("i/1", NOW, Severity.PAGE, f"Bank {EVIL}")])
    page = httpx.get(f"{url}/", headers=BROWSER).text
    assert 'href="/topics/Earnings"' in page and '<span class="bad">\N{MINUS SIGN}0.90</span>' in page
    assert 'href="/incidents/i%2F1">Bank &lt;script&gt;' in page and "nobody has it yet" in page
    assert 'href="/entities/x%3AY">x:Y</a>' in page and "Without a text: Macro." in page
    assert (
        "<script>" not in page and "<style" not in page and " style=" not in page and " onclick" not in page
    )


def test_a_part_is_the_same_as_in_the_page_and_an_unknown_one_is_not_found(store: Store, url: str) -> None:
    write(store, classified("a", 1))
    page, part = (httpx.get(url + path).text for path in ("/", "/?fragment=live"))
    assert "<h2" in part and "<html" not in part and part.strip() in page
    assert httpx.get(f"{url}/?fragment=nothing").status_code == 404


def test_a_first_visit_weighs_little_loads_only_own_files_and_keeps_them(url: str) -> None:
    page = httpx.get(f"{url}/", headers=BROWSER)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    weight = len(gzip.compress(page.content))
    for name in static_files.static_files():
        address = url + static_files.static_path(name)
        with httpx.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer:
            weight += len(b"".join(answer.iter_raw()))
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        assert httpx.get(address).content == static_files.static_files()[name].plain
    assert weight < 150_000
    old = httpx.get(f"{url}/static/0123456789ab/desk.css")
    assert old.status_code == 200 and old.headers["cache-control"] == "no-store"
    assert httpx.get(f"{url}/static/0123456789ab/../desk.py").status_code == 404


def test_a_wrong_address_is_a_page_to_a_browser_and_json_to_a_script(url: str) -> None:
    for path in ("/nothing", "/static/x/nothing.js"):
        page, answer = httpx.get(url + path, headers=BROWSER), httpx.get(url + path)
        assert (page.status_code, answer.status_code) == (404, 404)
        assert "Nothing is here" in page.text and "/incidents" in answer.json()["paths"]
    assert httpx.get(f"{url}/api/v1/nothing", headers=BROWSER).json()["error"] == "no such path"


def test_the_api_is_described(url: str) -> None:
    paths = json.loads(httpx.get(f"{url}/api/openapi.json").text)["paths"]
    assert "/api/v1/stream" in paths and all(path.startswith("/api/") for path in paths)


def test_a_cursor_leads_on_and_one_that_was_changed_is_refused() -> None:
    first = listing([3, 2, 1], 2, lambda item: (NOW, item))
    assert first.items == [3, 2] and first.next is not None
    assert cursors.decode(first.next, tuple[type(NOW), int]) == (NOW, 2)  # type: ignore[misc]
    assert listing([1], 2, lambda item: item).next is None
    for wrong in ("", "x", "中", first.next[:-3], cursors.encode("text")):
        with pytest.raises(BadRequest, match="cursor"):
            cursors.decode(wrong, tuple[int, int])


def test_a_cached_value_is_read_again_when_it_is_old_and_a_failure_is_not_kept() -> None:
    answers: list[int | Exception] = [1, ValueError("away"), 2]

    def read(_now: object) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cached = Cached(read, MINUTE)
    assert [cached.get(NOW), cached.get(NOW + MINUTE / 2)] == [1, 1]
    with pytest.raises(ValueError, match="away"):
        cached.get(NOW + MINUTE)
    assert cached.get(NOW + MINUTE) == 2
    # A clock that was set back makes no value last for ever.
    answers.append(3)
    assert cached.get(NOW - MINUTE) == 3


def test_hundreds_who_ask_at_once_wait_for_one_reading_and_a_failure_is_not_kept() -> None:
    taken: list[int] = []

    def read(_now: object) -> int:
        taken.append(1)
        if len(taken) == 1:
            raise ValueError("away")
        return len(taken)

    async def crowd() -> list[object]:
        shared = Shared(Cached(read, MINUTE), Threads(1, 10), lambda: NOW)
        answers = [
            asyncio.gather(*(shared.get() for _ in range(300)), return_exceptions=True) for _ in range(2)
        ]
        return [*await answers[0], *await answers[1], await shared.get()]

    answers = asyncio.run(crowd())
    assert [str(answer) for answer in answers] == ["away"] * 600 + ["2"] and len(taken) == 2
