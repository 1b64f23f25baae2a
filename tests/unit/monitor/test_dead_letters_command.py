"""`monitor dead-letters` where there is a database and no broker."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from monitor.cli.main import main
from monitor.health.letters import WHAT_TO_DO
from stream.domain.errors import DeadLetterReason
from stream.storage.batches import Store
from tests.parts import free_port
from tests.unit.stream.samples import dead_letter, write


def call(store: Store, *words: str) -> Result:
    environ = {
        "MONITOR_CONFIG": None,
        "MONITOR_DATABASE__URL": store.engine.url.render_as_string(hide_password=False),
        "MONITOR_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    return CliRunner().invoke(main, ["dead-letters", *words], env=environ, catch_exceptions=False)


def test_the_list_has_a_line_for_each_letter_and_the_summary_one_for_each_reason(store: Store) -> None:
    write(store, dead_letter(0), dead_letter(1))
    listed = call(store, "list").stdout.splitlines()
    assert listed[0].split() == ["refused", "position", "reason", "sent", "again", "key", "detail"]
    assert len(listed) == 3 and "news/0/1" in listed[1] and "bad \ufffd bytes" in listed[1]
    _, line = call(store, "list", "--summary").stdout.splitlines()
    assert line.split()[:3] == ["not_utf8", "2", "0"]
    cut = call(store, "list", "--limit", "1")
    assert len(cut.stdout.splitlines()) == 2 and "1 more: --limit" in cut.stderr
    assert [letter["position"] for letter in json.loads(call(store, "list", "--json").stdout)] == [
        "news/0/1",
        "news/0/0",
    ]
    assert json.loads(call(store, "list", "--summary", "--json").stdout)[0]["letters"] == 2


def test_a_letter_is_shown_without_its_message_while_no_broker_answers(store: Store) -> None:
    write(store, dead_letter(0))
    shown = call(store, "show", "news/0/0")
    assert shown.exit_code == 0 and "the message is not shown: no broker answers" in shown.stderr
    assert "not_utf8" in shown.stdout and "monitor dead-letters send news/0/0" in shown.stdout
    assert json.loads(call(store, "show", "news/0/0", "--json").stdout)["payload"] is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("send",), "give either a position or a filter"),
        (("send", "news/0/0", "--reason", "nul"), "give either a position or a filter"),
        (("send", "news/0/0", "--all"), "give either a position or a filter"),
        (("send", "news[0]@0"), "TOPIC/PARTITION/OFFSET was expected"),
        (("send", "--reason", "nonsense"), "nonsense"),
        (("send", "--all", "--rate", "0"), "--rate"),
        (("list", "--since", "yesterday"), "a date or RFC 3339 time was expected"),
        (("show",), "POSITION"),
    ],
)
def test_unclear_calls_are_refused_with_what_was_expected(words: tuple[str, ...], error: str) -> None:
    result = CliRunner().invoke(main, ["dead-letters", *words])
    assert result.exit_code == 2 and error in result.stderr


def test_without_a_broker_nothing_is_sent_and_the_error_says_so(store: Store) -> None:
    write(store, dead_letter(0))
    result = call(store, "send", "--all")
    assert result.exit_code == 1 and result.stderr.startswith("error: no broker answers")


def test_advice_names_only_reasons_that_exist_and_a_position_to_send(tmp_path: Path) -> None:
    assert set(WHAT_TO_DO) <= set(DeadLetterReason)
    assert not [advice for advice in WHAT_TO_DO.values() if "{" in advice.format(position=tmp_path)]
