"""Receivers are asked whether they answer, and are sent no page."""

import socket

import pytest

from alerts.delivery.reach import Reached, address_of_channel, try_to_reach
from tests.parts import Receiver, free_port

TOKEN = "a" * 32
SLACK = "slack://TokenA12/TokenB123/TokenC12345678901234567890"


def test_a_receiver_that_answers_is_reached_and_gets_no_page() -> None:
    with Receiver() as desk:
        assert try_to_reach([("desk", desk.url)], 5) == [Reached("desk", None)]
        assert desk.taken == desk.refused == [] and desk.times == []


def test_each_receiver_that_cannot_be_reached_is_named_with_the_reason() -> None:
    with Receiver() as desk, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = try_to_reach(
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
    (gone,) = try_to_reach([("gone", f"http://user:{TOKEN}@127.0.0.1:{free_port()}/{TOKEN}")], 2)
    assert gone.problem and TOKEN not in gone.problem


@pytest.mark.parametrize(
    "url", ["https://user:pa/ss@desk.example/", "https://user:p\u00e4\u2100ss@desk.example/"]
)
def test_a_password_that_breaks_the_address_is_not_quoted(url: str) -> None:
    (broken,) = try_to_reach([("broken", url)], 2)
    assert broken.problem in ("InvalidURL", "ValueError")


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
        ("ntfy://some.topic", "https://ntfy.sh"),
        ("ntfys://ntfy.example.com/topic", "https://ntfy.example.com/topic"),
        ("notica://notica.example.com/abcdef", "http://notica.example.com/"),
        ("rockets://user:password@rocket.example.com:3000/%23room", "https://rocket.example.com:3000"),
        ("matrixs://user:password@matrix.example.com/%23room", "https://matrix.example.com/#room"),
        ("workflows://teams.example.com:443/id/signature", "https://teams.example.com:443/id/signature"),
        ("pbul://o.AbCdEfGhIjK", "https://api.pushbullet.com/v2/{}"),
        ("sendgrid://abcd1234efgh:user@example.com", "https://api.sendgrid.com/v3/mail/send"),
        (f"smtp2go://user@example.com/{TOKEN}", "https://api.smtp2go.com/v3/email/send"),
        ("brevo://abcd1234:user@example.com", "https://api.brevo.com/v3/smtp/email"),
        ("resend://abcd1234:user@example.com", "https://api.resend.com/emails"),
        ("twist://user@example.com/password", "https://api.twist.com/api/v3/"),
        (f"mailgun://user@example.com/{TOKEN}-bbbbbbbb-cccccccc", None),
        (
            "ses://user@example.com/AHIAJGNT76XIMXDBIJYA/bu1dHSdO22pfaaVy/us-east-2",
            "https://email.us-east-2.amazonaws.com",
        ),
        (f"sparkpost://user@example.com/{TOKEN}", None),
        ("rsyslog://logs.example.com:514/local5", None),
        ("psafer://abcdefghijklmnopqrst", None),
        (f"matrixs://{TOKEN}{TOKEN}", None),
    ],
)
def test_the_address_of_a_channel_is_the_one_that_it_posts_to(url: str, address: str | None) -> None:
    assert address_of_channel(url) == address
