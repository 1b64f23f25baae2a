"""Webhooks and channels against real servers on loopback, good ones and bad ones."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from alerts.delivery.answers import Failure
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.post import is_local
from tests import odd_receivers
from tests.odd_receivers import OddReceiver
from tests.parts import Receiver, wait_until
from tests.sample_pages import PAGE, RESOLVED, page


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def webhooks(receiver: Receiver) -> Webhooks:
    urls = {"desk": SecretStr(receiver.url), "gone": SecretStr("http://127.0.0.1:1/secret-token")}
    return Webhooks(urls, 2)


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


ODD = [
    odd_receivers.never_answers, odd_receivers.never_reads, odd_receivers.drips_headers,
    odd_receivers.drips_continues, odd_receivers.drips_refusal, odd_receivers.drips_body,
    odd_receivers.endless_body, odd_receivers.redirects, odd_receivers.hangs_in_tls,
]  # fmt: skip

# Whoever waits for such a receiver waits at least HOLD_SECONDS.  A loaded machine takes seconds to start the
# process that sends a page.
HANG_SECONDS = odd_receivers.HOLD_SECONDS / 2


@pytest.mark.parametrize("behaviour", ODD, ids=lambda behaviour: str(behaviour.__name__))
@pytest.mark.parametrize("kind", ["webhook", "channel"])
def test_an_attempt_ends_in_its_time_whatever_the_receiver_does(
    kind: str, behaviour: odd_receivers.Behaviour
) -> None:
    large = 20_000_000 if kind == "webhook" else 2_000_000
    seconds, body = 2.0, "x" * (large if behaviour is odd_receivers.never_reads else 10)
    with OddReceiver(behaviour) as receiver:
        tls = "s" if behaviour is odd_receivers.hangs_in_tls else ""
        started = time.monotonic()
        if kind == "webhook":
            urls = {"desk": SecretStr(receiver.url.replace("http", f"http{tls}"))}
            failure = Webhooks(urls, seconds).send("desk", body.encode())
        else:
            urls = {"desk": SecretStr(receiver.url.replace("http", f"json{tls}"))}
            failure = Channels(urls, seconds).send("desk", page(message=body))
        assert time.monotonic() - started < HANG_SECONDS
        # A webhook that has said "200 OK" has accepted the page: nobody waits for more.
        accepted = kind == "webhook" and behaviour is odd_receivers.drips_body
        assert (failure is None) is accepted
        if failure:
            assert failure.recoverable and "secret" not in failure.reason
        wait_until(
            lambda: behaviour is odd_receivers.never_reads or not receiver.open_connections,
            HANG_SECONDS,
            "hang up",
        )


def test_a_name_that_is_looked_up_without_end_takes_no_longer_than_an_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: hanging.wait(30))
    started = time.monotonic()
    failure = Webhooks({"desk": SecretStr("http://slow.example/")}, 0.5).send("desk", b"{}")
    assert failure == Failure("no complete answer within 0.5 s", True)
    assert time.monotonic() - started < HANG_SECONDS / 2
    hanging.set()


def test_a_name_that_does_not_exist_can_be_retried() -> None:
    failure = Webhooks({"desk": SecretStr("http://no-such-host.invalid/")}, 10).send("desk", b"{}")
    assert failure and failure.recoverable


SEND_AND_MEASURE = """
import resource, sys
from pydantic import SecretStr
from alerts.delivery.notifiers import Channels
from tests.sample_pages import PAGE
failure = Channels({"chat": SecretStr(sys.argv[1])}, 60).send("chat", PAGE)
print(failure.recoverable, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_a_service_that_answers_without_end_does_not_take_the_memory() -> None:
    """The process that sends has a limit of its own; what it reads never reaches the monitor."""
    with OddReceiver(odd_receivers.endless_body) as receiver:
        url = receiver.url.replace("http", "json")
        words = [sys.executable, "-c", SEND_AND_MEASURE, url]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    recoverable, kilobytes = done.stdout.split()
    assert recoverable == "True"
    assert int(kilobytes) < 500_000


@pytest.mark.parametrize("kind", ["webhook", "channel"])
def test_a_receiver_on_this_machine_is_reached_without_the_proxy_and_others_through_it(
    kind: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(host: str) -> Failure | None:
        address = f"{host}:{receiver.server_port}/x"
        if kind == "webhook":
            return Webhooks({"desk": SecretStr(f"http://{address}")}, 10).send("desk", b"{}")
        channels = Channels({"desk": SecretStr(f"json://{address}")}, 10)
        return channels.send("desk", PAGE)

    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert send("127.0.0.1") is None and send("localhost") is None
    own_name = socket.gethostname()
    assert send(own_name) is not None
    monkeypatch.setenv("NO_PROXY", own_name)
    monkeypatch.setenv("no_proxy", own_name)
    failure = send(own_name)
    # The receiver listens on loopback only: refused directly, or taken where the name means loopback.
    assert failure is None or "Proxy" not in failure.reason


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:9/x", True), ("http://[::1]/", True), ("https://localhost", True),
        ("http://desk.localhost/", True), ("http://0.0.0.0:80", True), ("json://127.1.2.3", True),
        ("http://10.0.0.1", False), ("http://localhost.example.com", False), ("slack://a/b/c", False),
        ("http://[broken", False), ("http://user:pw@127.0.0.1/", True),
    ],
)  # fmt: skip
def test_which_receivers_are_on_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("status", "recoverable", "too_large"), [(400, False, False), (413, False, True), (500, True, False)]
)
def test_a_channel_says_what_its_service_answered(
    receiver: Receiver, status: int, recoverable: bool, too_large: bool
) -> None:
    receiver.status = status
    channels = Channels({"chat": SecretStr(receiver.url.replace("http", "json"))}, 10)
    assert channels.send("chat", RESOLVED) == Failure(f"HTTP {status}", recoverable, too_large)


LOGGED_IN = b'{"access_token": "syt_session", "user_id": "@monitor:example", "home_server": "example"}'


@pytest.mark.parametrize("url", ["json://127.0.0.1:{port}/x", "matrix://user:pw@127.0.0.1:{port}/%23room"])
def test_the_answer_to_a_login_is_never_shown(receiver: Receiver, url: str) -> None:
    """A Matrix server that goes away after the login: all its answers were successful."""
    receiver.answer = LOGGED_IN
    channels = Channels({"chat": SecretStr(url.format(port=receiver.server_port))}, 20)
    attempt = channels.attempt("chat", PAGE)
    assert receiver.taken and "syt_session" not in f"{attempt}"
    assert attempt.failure or attempt.answered == "HTTP 200"


def test_a_password_that_breaks_the_url_is_not_quoted() -> None:
    webhooks = Webhooks({"desk": SecretStr("https://user:pa/ss@desk.example/")}, 5)
    assert webhooks.send("desk", b"{}") == Failure("InvalidURL", True)


def test_a_failure_tells_what_the_receiver_says_but_no_part_of_the_url(receiver: Receiver) -> None:
    webhooks = Webhooks({"desk": SecretStr(receiver.url)}, 5)
    receiver.status, receiver.answer = 400, b"unknown field\n"
    assert webhooks.send("desk", b"{}") == Failure("HTTP 400: unknown field", False)
    receiver.answer = b"no such token: secret-token"
    assert webhooks.send("desk", b"{}") == Failure("HTTP 400", False)
