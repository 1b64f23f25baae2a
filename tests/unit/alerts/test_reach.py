"""Receivers are asked whether they answer, and are sent no page."""

import socket

import pytest

from alerts.delivery.reach import Reached, address_of_channel, look
from tests.parts import Receiver, free_port

TOKEN = "a" * 32
SLACK = "slack://TokenA12/TokenB123/TokenC12345678901234567890"


def test_a_receiver_that_answers_is_reached_and_gets_no_page() -> None:
    with Receiver() as desk:
        assert look([("desk", desk.url)], 5) == [Reached("desk", None)]
        assert desk.taken == desk.refused == [] and desk.times == []


def test_each_receiver_that_cannot_be_reached_is_named_with_the_reason() -> None:
    with Receiver() as desk, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = look(
            [
                ("desk", desk.url),
                ("gone", f"http://127.0.0.1:{free_port()}/hook"),
                ("no name", "https://no-such-host.invalid/hook"),
                ("plain", desk.url.replace("http://", "https://")),
                ("silent", f"http://127.0.0.1:{silent.getsockname()[1]}/"),
                ("mail", f"smtp://127.0.0.1:{silent.getsockname()[1]}"),
                ("closed mail", f"smtp://127.0.0.1:{free_port()}"),
                ("odd", "http://[/"),
                ("unknown", None),
            ],
            2,
        )
    problems = {one.name: one.problem for one in found}
    assert {name for name, problem in problems.items() if problem is None} == {"desk", "mail", "unknown"}
    assert problems["silent"] == "no answer within 2 s"
    assert [one.name for one in found if one.unknown] == ["unknown"]


def test_no_problem_names_the_secret_of_an_address() -> None:
    (gone,) = look([("gone", f"http://user:{TOKEN}@127.0.0.1:{free_port()}/{TOKEN}")], 2)
    assert gone.problem and TOKEN not in gone.problem


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("json://127.0.0.1:8080/hook", "http://127.0.0.1:8080/hook"),
        ("jsons://hooks.example.com/x", "https://hooks.example.com/x"),
        ("mailtos://user:password@example.com", "smtp://example.com:587"),
        (SLACK, "https://hooks.slack.com/services"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "https://api.telegram.org/bot"),
        (f"mmost://chat.example.com:8065/{TOKEN[:26]}", "http://chat.example.com:8065"),
        ("ntfy://topic", "https://ntfy.sh"),
    ],
)
def test_the_address_of_a_channel_is_the_one_that_it_posts_to(url: str, address: str) -> None:
    assert address_of_channel(url) == address
