"""The API of texts, stories and entities, out of a real database over real HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stream.storage.batches import Store
from tests.desk_parts import desk_over, serving
from tests.unit.monitor.test_desk_pages import BANK, HEADLINES, NOW, store

__all__ = ["store"]
DOCUMENTS, STORIES, ENTITIES = "/api/v1/documents", "/api/v1/stories", "/api/v1/entities"


@pytest.fixture(scope="module")
def http(store: Store) -> Iterator[httpx.Client]:
    with serving(desk_over(store, lambda: NOW)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def answer(http: httpx.Client, path: str, **parameters: str | int) -> Any:
    found = http.get(path, params=parameters)
    assert found.status_code == 200, found.text
    return found.json()


def every_item(http: httpx.Client, path: str, **parameters: str | int) -> list[Any]:
    """The items of all answers of a list, one by one."""
    items, cursor = [], ""
    for _ in range(50):
        part = answer(http, path, limit=1, **parameters, **({"cursor": cursor} if cursor else {}))
        items += part["items"]
        cursor = part["next"]
        if cursor is None:
            return items
    raise AssertionError("the list does not end")


def test_documents_are_listed_the_latest_first_and_go_on_by_cursor(http: httpx.Client) -> None:
    items = every_item(http, DOCUMENTS)
    assert [item["headline"] for item in items] == ["unreadable", *HEADLINES[::-1], "Old news"]
    assert items == answer(http, DOCUMENTS)["items"]
    assert items[1]["key"] == "news:wire~202:d2" and items[1]["published_at"] == "2026-03-04T11:52:30Z"


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"entity": BANK}, 2), ({"source": "wire 1"}, 1), ({"topic": "Macro"}, 0), ({"kind": "comment"}, 0),
        ({"sentiment": "negative"}, 5), ({"since": "2026-03-04T00:00:00Z"}, 4), ({"lang": "en"}, 5),
        ({"until": "2026-03-04T00:00:00+08:00"}, 1), ({"entity": BANK, "source": "wire 1"}, 1),
    ],
)  # fmt: skip
def test_documents_are_selected(http: httpx.Client, parameters: dict[str, str], count: int) -> None:
    assert len(answer(http, DOCUMENTS, **parameters)["items"]) == count


def test_a_document_has_its_words_its_entities_and_its_story(http: httpx.Client) -> None:
    found = answer(http, f"{DOCUMENTS}/news:wire~200:d0")
    assert found["sentiment"] == {"label": "negative", "probability": 0.93}
    assert [span["text"] for span in found["evidence"]] == ["freezes"]
    assert found["entities"][0]["id"] == BANK and found["story"]["is_voice"]
    assert (found["status"], found["judged_by"], found["text"]) == ("ok", "large-1", "More will follow.")


def test_stories_of_a_topic_and_of_an_entity_are_listed_by_either_order(http: httpx.Client) -> None:
    items = every_item(http, STORIES, topic="Earnings", order="worst")
    assert items == answer(http, STORIES, topic="Earnings", order="worst")["items"] and len(items) == 3
    (of_bank,) = answer(http, STORIES, entity=BANK)["items"]
    assert (of_bank["headline"], of_bank["texts"], of_bank["lowest"]) == (HEADLINES[0], 2, -0.8)
    everything = every_item(http, STORIES)
    assert {item["id"] for item in everything} == {item["id"] for item in items}


def test_a_story_has_its_first_text_its_origins_and_its_entities(http: httpx.Client) -> None:
    (listed,) = answer(http, STORIES, entity=BANK)["items"]
    found = answer(http, f"{STORIES}/{listed['id']}")
    assert found["first"]["source"] == "wire 0" and found["entities"][0]["name"] == "Northgate Bank"
    assert sum(origin["texts"] for origin in found["origins"]) == 2


def test_entities_are_listed_by_their_texts_and_found_by_name(http: httpx.Client) -> None:
    (bank,) = every_item(http, ENTITIES)
    assert bank == {
        "id": BANK, "name": "Northgate Bank", "kind": "company", "chinese_name": "北门银行",
        "texts": 2, "negative": 2, "mean": -0.8,
    }  # fmt: skip
    assert answer(http, ENTITIES, q="北门")["items"] == [bank]
    assert answer(http, ENTITIES, q="Southgate") == {"items": [], "next": None}


def test_an_entity_has_its_mood_from_point_to_point_and_its_alerts(http: httpx.Client) -> None:
    found = answer(http, f"{ENTITIES}/{BANK}", period="6h")
    assert found["entity"]["name"] == "Northgate Bank" and found["now"]["mean"] == -0.8
    assert sum(point["n"] for point in found["points"]) == 2
    assert [alert["incident"] for alert in found["alerts"]] == ["i/2"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (DOCUMENTS, {"limit": "0"}), (DOCUMENTS, {"limit": "201"}), (DOCUMENTS, {"since": "2026-03-04T00:00:00"}),
        (DOCUMENTS, {"cursor": "x"}), (DOCUMENTS, {"source": "a\0"}), (DOCUMENTS, {"sentiment": "sad"}),
        (STORIES, {"topic": "Earnings", "entity": BANK}), (STORIES, {"order": "worst"}),
        (ENTITIES, {"hours": "169"}), (ENTITIES, {"q": ""}), (f"{ENTITIES}/{BANK}", {"period": "1y"}),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_refused(
    http: httpx.Client, path: str, parameters: dict[str, str]
) -> None:
    found = http.get(path, params=parameters)
    assert found.status_code == 400 and "error" in found.json(), found.text


@pytest.mark.parametrize(
    "path", [f"{DOCUMENTS}/nothing", f"{DOCUMENTS}/%00", f"{STORIES}/99", f"{STORIES}/{2**63}", f"{ENTITIES}/no:body"]
)  # fmt: skip
def test_what_the_api_does_not_have_is_not_found(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_the_api_is_described(http: httpx.Client) -> None:
    paths = answer(http, "/api/openapi.json")["paths"]
    assert {DOCUMENTS, STORIES, ENTITIES} <= set(paths)
