"""The health page over HTTP: what status and checks say, dead letters with their messages, and a database
that is away."""

import html
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.runtime.settings import Settings
from monitor.web.desk import Desk
from monitor.web.pages.health import LONGEST_PAYLOAD, HealthPages, shown_message
from stream.domain.records import OutboundMessage
from stream.storage.database import writing
from stream.storage.outbox import enqueue
from tests.desk_parts import desk_over, new_store, serving
from tests.parts import free_port
from tests.unit.stream.samples import classified, dead_letter, write

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk of an installation whose Kafka is away."""
    store = new_store(tmp_path)
    url = store.engine.url.render_as_string(hide_password=False)
    settings = Settings.model_validate(
        {
            "database": {"url": url},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
            "http": {"port": free_port()},
        }
    )
    yield desk_over(store, lambda: NOW, settings=settings)
    store.engine.dispose()


def opened(desk: Desk, path: str) -> str:
    with (
        serving(desk) as base,
        httpx.Client(base_url=base, headers={"Accept": "text/html"}, timeout=30) as http,
    ):
        answer = http.get(path)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)


def found(values: Callable[[], dict[str, Any] | None], name: str) -> Any:
    """What a job of a page found, once it is over."""
    while True:
        shown = values()
        assert shown is not None
        if shown[name].is_over:
            return shown[name].result
        time.sleep(0.05)


def test_the_page_shows_refused_messages_deliveries_and_the_model(desk: Desk) -> None:
    write(desk.store, dead_letter(7), classified("a", 8), classified("b", 9, sentiment="neutral"))
    with writing(desk.store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:desk", b"{}", key="i:begin:1")], NOW)
    shown = opened(desk, "/health")
    assert "not_utf8" in shown
    assert 'href="/health/dead-letters/news/0/7"' in shown.replace("%2F", "/")
    assert "webhook:desk" in shown
    assert "m-1" in shown
    assert "2 labelled texts of the last 24 hours" in shown


def test_an_empty_installation_is_said_to_be_empty(desk: Desk) -> None:
    shown = opened(desk, "/health")
    assert "No message was refused." in shown
    assert "No text was labelled in the last 24 hours" in shown


def test_with_the_database_away_the_page_says_so_and_is_shown(desk: Desk, tmp_path: Path) -> None:
    desk.store.engine.dispose()
    (tmp_path / "desk.db").unlink()
    (tmp_path / "desk.db").mkdir()
    assert "Dead letters, deliveries and labels are unknown" in opened(desk, "/health")


def test_what_kafka_and_the_monitor_do_not_answer_is_told_as_a_problem(desk: Desk) -> None:
    pages = HealthPages(desk)
    status = found(lambda: pages.health({"fragment": "status"}, may_check=False), "status")
    assert any("Kafka does not answer" in problem["what"] for problem in status["problems"])
    assert status["database"]["answers"]
    assert not status["monitor"]["answers"]


def test_the_checks_run_only_for_those_who_may(desk: Desk) -> None:
    pages = HealthPages(desk)
    asked = {"check": "yes", "fragment": "checks"}
    assert pages.health(asked, may_check=False)["checks"] is None
    findings = found(lambda: pages.health(asked, may_check=True), "checks")
    outcomes = {finding.check: finding.ok for finding in findings}
    assert outcomes["database"]
    assert not outcomes["broker"]
    assert found(lambda: pages.health({"fragment": "checks"}, may_check=False), "checks") == findings


def test_the_page_of_a_dead_letter_says_why_and_what_to_do_while_kafka_is_away(desk: Desk) -> None:
    write(desk.store, dead_letter(7))
    shown = opened(desk, "/health/dead-letters/news/0/7")
    assert "not_utf8" in shown
    pages = HealthPages(desk)
    message = found(lambda: pages.letter("news/0/7"), "job")
    assert message["letters"][0]["payload"] is None
    assert str(desk.settings.kafka.bootstrap_servers) in message["problem"]


@pytest.mark.parametrize("path", ["news/0/8", "news/0", "news/x/7", "news"])
def test_a_dead_letter_that_is_not_there_is_a_404(desk: Desk, path: str) -> None:
    with serving(desk) as base:
        assert httpx.get(f"{base}/health/dead-letters/{path}", timeout=30).status_code == 404


def test_a_payload_is_shown_as_text_and_no_longer_than_a_page_can_be() -> None:
    assert shown_message({"payload": None})["shown"] is None
    assert shown_message({"payload_base64": "/3g=", "payload_bytes": 2})["shown"] == "\\xffx"
    long = shown_message({"payload": "x" * (LONGEST_PAYLOAD + 1), "payload_bytes": LONGEST_PAYLOAD + 1})
    assert len(long["shown"]) == LONGEST_PAYLOAD
    assert long["is_cut"]
