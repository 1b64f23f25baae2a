"""Webhooks against a real HTTP server on loopback."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from alerts.delivery.notifiers import Webhooks
from tests.parts import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def webhooks(receiver: Receiver) -> Iterator[Webhooks]:
    urls = {"desk": SecretStr(receiver.url), "gone": SecretStr("http://127.0.0.1:1/secret-token")}
    made = Webhooks(urls, 2)
    yield made
    made.close()


def test_a_page_arrives_as_json(receiver: Receiver, webhooks: Webhooks) -> None:
    assert webhooks.send("desk", b'{"key": "abc"}') is None
    assert receiver.taken == [{"key": "abc"}]


@pytest.mark.parametrize(
    ("status", "recoverable"),
    [(500, True), (503, True), (429, True), (404, True), (302, True), (400, False), (413, False)],
)
def test_a_failure_says_whether_a_retry_can_help(
    receiver: Receiver, webhooks: Webhooks, status: int, recoverable: bool
) -> None:
    receiver.status = status
    failure = webhooks.send("desk", b"{}")
    assert failure and failure.recoverable is recoverable
    assert str(status) in failure.reason


def test_a_receiver_that_is_down_can_be_retried_and_its_url_stays_secret(webhooks: Webhooks) -> None:
    failure = webhooks.send("gone", b"{}")
    assert failure and failure.recoverable
    assert "secret" not in failure.reason
