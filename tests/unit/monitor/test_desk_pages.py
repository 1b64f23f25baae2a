"""The pages of topics, entities, stories and texts, out of a real database over real HTTP."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec import structs

import models.inference.explain  # noqa: F401  loading torch takes longer than a page may
from monitor.bench.stand_in import StandIn
from monitor.web.pages.text import Explainer
from stream.domain.alerts import EvidenceItem, Severity
from stream.domain.documents import Document, EventLabel, Kind, Prediction, Span, TextInput
from stream.domain.entities import EntityMention
from stream.domain.errors import InferenceError
from stream.domain.incidents import Incident
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities
from stream.storage.leases import Lease
from stream.storage.story_task import StoryStore
from tests.desk_parts import desk_over, new_store, serving
from tests.unit.stream.test_desk_reads import alert

NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
EVIL = '<script>alert("x")</script>'
BANK = "bank:NGTB"
PARTITION = Partition("c", "news", 0)
HEADLINES = (
    f"Northgate Bank freezes withdrawals {EVIL}",
    f"UPDATE 1-Northgate Bank freezes withdrawals {EVIL}",
    "Hollis Semiconductor opens laboratory in Cambridge",
)


class Words(StandIn):
    """A classifier that knows one word, and cannot explain a text that says so."""

    def explain(self, item: TextInput, task: str) -> Any:
        if "unreadable" in item.text:
            raise InferenceError("the network's output is not finite")
        found = super().explain(item, task)
        start = item.text.index("freezes") if "freezes" in item.text else 0
        return replace(found, words=(Span(task, "freezes", start, start + 7, 0.8),))


def text(number: int, title: str, at: datetime, **changes: Any) -> ClassifiedDocument:
    fields: dict[str, Any] = {"topic": "Earnings", "sentiment": "negative", "score": -0.9}
    words = (Span("sentiment", "freezes", title.find("freezes"), title.find("freezes") + 7, 0.6),)
    probabilities = {"topic": {"Earnings": 0.8}, "sentiment": {"negative": 0.93}}
    mentions = (EntityMention(BANK, "Northgate Bank", ((0, 9),), 80, "negative", 0.9, -0.8, of_target=True),)
    prediction = Prediction(
        "m-1", "en", **fields, probabilities=probabilities, gazetteer="g-1", judged_by="large-1",
        evidence=words if words[0].start >= 0 else (),
        entities=mentions if "Northgate" in title else (), events=(EventLabel("default", 0.7),),
    )  # fmt: skip
    document = Document(f"d{number}", Kind.NEWS, f"wire {number}", at, title=title, text="More will follow.")
    position = MessagePosition(Kind.NEWS, PARTITION, number, b"{}")
    return ClassifiedDocument(position, structs.replace(document, **changes), prediction)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three texts of the last hour, two of one story, with an open incident on the topic and one about the bank."""
    store = new_store(tmp_path_factory.mktemp("desk"))
    store_entities(store, "g-1", [EntityRow(BANK, "company", "Northgate Bank", "北门银行")])
    texts = [text(number, title, NOW - (10 - number) * MINUTE) for number, title in enumerate(HEADLINES)]
    texts.append(text(3, "Old news", NOW - 30 * HOUR, url="javascript:alert(1)"))
    store.write(Batch(texts), lambda new, dead: [], NOW)
    task = StoryStore(
        store, Lease(store, "stories", "me", 60), weights=dict, outbound=lambda _: [], clock=lambda: NOW
    )
    task.assign_next()
    store.write(Batch([text(4, "unreadable", NOW - MINUTE)]), lambda new, dead: [], NOW)
    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    about_bank = alert(
        "b", topic="all", entity=BANK, incident="i/2", labels={"entity": BANK, "entity_name": "Northgate"}
    )
    found = store.reads.scored_documents(NOW - HOUR, NOW)
    bank_story = next(row.story for row in found if "Northgate" in row.title)
    incident = Incident("i/2", NOW - HOUR, Severity.PAGE, f"Bank {EVIL}", stories=(bank_story,))
    fired: dict[str, Any] = {"since": NOW - HOUR, "fired_at": NOW - 30 * MINUTE}
    item = EvidenceItem("wire 0", "d0", NOW, HEADLINES[0], -0.9, ("freezes",), key="news:wire~200:d0")
    alerts = [replace(alert("a"), **fired), replace(about_bank, evidence=(item,), **fired)]
    episodes.save(alerts, [], [], [], NOW, [incident])
    yield store
    store.engine.dispose()


@pytest.fixture(scope="module")
def http(store: Store) -> Iterator[httpx.Client]:
    with (
        serving(desk_over(store, lambda: NOW, classifier=Words())) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def page(http: httpx.Client, path: str, **parameters: str) -> str:
    answer = http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    assert "<script>alert" not in answer.text and 'href="javascript' not in answer.text
    return answer.text


def link_to(page: str, start: str) -> str:
    """The first link of a page to an address with this start."""
    found = re.search(f'href="({start}[^"]*)"', page)
    assert found is not None, start
    return html.unescape(found[1])


def chart_of(page: str) -> Any:
    found = re.search('data-chart="([^"]*)"', page)
    assert found is not None
    return json.loads(html.unescape(found[1]))["data"]


def test_a_topic_shows_its_mood_its_incidents_and_its_stories(http: httpx.Client) -> None:
    shown = page(http, "/topics/Earnings")
    assert "−0.90" in shown and "<b>4</b> texts in the last hour" in shown
    assert 'href="/incidents/i-a"' in shown and "Hollis Semiconductor" in shown
    assert "1 text has no story yet" in shown and "i%2F2" not in shown
    chart = chart_of(shown)
    assert [one["label"] for one in chart["series"]] == ["texts", "usually", "how sure (95 %)", "mood"]
    assert len(chart["marks"]) == 1 and chart["marks"][0]["end"] is None
    values = dict(zip(chart["times"], chart["series"][3]["values"], strict=True))
    assert {value for value in values.values() if value is not None} == {-0.9}


def test_stretches_in_which_the_monitor_has_no_text_are_called_missing(http: httpx.Client) -> None:
    shown = page(http, "/topics/Macro")
    assert "Data are missing" in shown and "<b>no texts</b> in the last hour" in shown
    counts = chart_of(shown)["series"][0]["values"]
    assert None in counts and 0 in counts


def test_an_entity_shows_its_name_in_both_languages_and_its_own_incident(http: httpx.Client) -> None:
    shown = page(http, f"/entities/{BANK}")
    assert "北门银行" in shown and "−0.80" in shown
    assert 'href="/incidents/i%2F2"' in shown and 'href="/incidents/i-a"' not in shown
    assert "Hollis" not in shown


@pytest.mark.parametrize("words", ["northgate", "北门", "NGTB"])
def test_an_entity_is_found_by_its_names_and_its_id(http: httpx.Client, words: str) -> None:
    found = page(http, "/entities", q=words)
    assert f'value="{words}"' in found and "北门银行" in found
    assert page(http, link_to(found, "/entities/")) and "-0.80" in found


def test_without_a_search_the_list_shows_whom_texts_are_about(http: httpx.Client) -> None:
    assert "Northgate Bank" in page(http, "/entities")
    assert "no such entity" in page(http, "/entities", q="Westgate")
    assert http.get("/entities", params={"q": "x" * 101}).status_code == 400


def test_the_order_of_stories_the_period_and_what_is_counted_are_in_the_address(http: httpx.Client) -> None:
    worst = page(http, "/topics/Earnings", order="worst", period="7d", count="voices")
    assert 'aria-current="true">worst first' in worst and 'aria-current="true">7 days' in worst
    assert "Old news" in worst and "<b>2</b> voices in the last hour" in worst
    assert "period=24h" in link_to(page(http, "/topics/Earnings"), "/topics/Earnings\\?period=24h")
    assert "order=worst" in link_to(worst, "/topics/Earnings\\?period=6h")


@pytest.mark.parametrize(
    ("later", "period"), [(-29 * HOUR, "1 hour"), (0 * HOUR, "24 hours"), (1000 * HOUR, "24 hours")]
)
def test_a_page_shows_a_day_or_less_while_the_record_is_shorter(
    store: Store, later: timedelta, period: str
) -> None:
    with serving(desk_over(store, lambda: NOW + later)) as url:
        shown = httpx.get(f"{url}/topics/Earnings", timeout=30)
    assert shown.status_code == 200 and f'aria-current="true">{period}' in shown.text


@pytest.mark.parametrize(
    "parameters", [{"period": "1y"}, {"order": "best"}, {"count": "words"}, {"after": "%%"}]
)
def test_a_parameter_that_cannot_be_used_is_refused_and_named(
    http: httpx.Client, parameters: dict[str, str]
) -> None:
    answer = http.get("/topics/Earnings", params=parameters)
    assert answer.status_code == 400 and next(iter(parameters)).replace("after", "cursor") in answer.text


@pytest.mark.parametrize(
    "path",
    ["/topics/Nothing", "/topics/%00", "/entities/no:body", "/entities/%00", "/stories/99", "/stories/x",
     "/stories/99999999999999999999", "/stories/9223372036854775808", "/texts/news:nobody:1", "/texts/%00"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_a_part_of_a_page_comes_alone(http: httpx.Client) -> None:
    part = page(http, "/topics/Earnings", fragment="alerts")
    assert "/incidents/i-a" in part and "<html" not in part and "Hollis" not in part


def test_a_story_says_who_said_it_first_how_it_spread_and_whom_it_is_about(http: httpx.Client) -> None:
    shown = page(http, link_to(page(http, f"/entities/{BANK}"), "/stories/"))
    assert "<b>1</b> voice" in shown and "<b>1</b> copy" in shown
    assert "Who said it first" in shown and "wire 0" in shown
    assert f'href="/entities/{BANK.replace(":", "%3A")}"' in shown and "Bank &lt;script&gt;" in shown
    assert shown.index("a copy") < shown.index("a voice"), "the latest text comes first"
    texts, voices = chart_of(shown)["series"]
    assert (texts["values"][-1], voices["values"][-1]) == (2, 1)


def test_from_a_page_in_chat_to_the_words_it_is_two_clicks(http: httpx.Client) -> None:
    shown = page(http, link_to(page(http, "/incidents/i%2F2"), "/texts/"))
    assert ">freezes</mark>" in shown


def test_a_story_links_to_its_worst_text(http: httpx.Client) -> None:
    shown = page(http, link_to(page(http, "/topics/Earnings", order="worst"), "/texts/"))
    assert "<mark" in shown and ">freezes</mark>" in shown


def test_a_text_shows_its_words_labels_entities_and_who_judged_it(http: httpx.Client) -> None:
    shown = page(http, "/texts/news:wire~200:d0")
    assert ">freezes</mark>" in shown and 'title="Northgate Bank">Northgate</a>' in shown
    for part in (
        "negative 0.93",
        "−0.90",
        "Earnings</a> 0.80",
        "0.70",
        "large-1",
        "news[0]@0",
        "what is said of it",
    ):
        assert part in shown, part
    assert "It is a voice" in shown
    assert "a copy of" in page(http, "/texts/news:wire~201:d1")
    assert "no story yet" in page(http, "/texts/news:wire~204:d4")


def test_a_text_is_explained_on_request(http: httpx.Client) -> None:
    plain = page(http, "/texts/news:wire~200:d0")
    assert "judges it now" not in plain
    explained = page(http, "/texts/news:wire~200:d0", explain="sentiment", fragment="explanation")
    assert "judges it now" in explained and explained.count("freezes</mark>") == 1
    assert "<html" not in explained


def test_a_text_that_cannot_be_explained_says_why(http: httpx.Client) -> None:
    assert "It cannot be explained: the network" in page(http, "/texts/news:wire~204:d4", explain="topic")


def test_one_text_is_explained_at_a_time(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.web.pages.text.LONGEST_WAIT", 0.01)
    busy = Explainer(Words())
    monkeypatch.setattr("monitor.web.pages.text.Explainer", lambda classifier: busy)
    busy._busy.acquire()
    with pytest.raises(Exception, match="another text is being explained"):
        busy.explain(None, "sentiment")  # type: ignore[arg-type]


def test_a_process_without_a_model_says_so(store: Store) -> None:
    with serving(desk_over(store, lambda: NOW)) as url:
        shown = httpx.get(f"{url}/texts/news:wire~200:d0", params={"explain": "topic"}).text
    assert "This process has no model" in shown
