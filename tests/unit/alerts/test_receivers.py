"""Services as they are: they answer HTTP 200 and refuse, and they act on what a text contains."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import SecretStr

from alerts.delivery.answers import Failure, explanation
from alerts.delivery.incident_services import keyed_url
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.quoting import inert, inert_markdown
from stream.domain.alerts import AlertState, Severity
from stream.domain.documents import EPOCH
from tests.sample_pages import PAGE, RESOLVED, page, quoting
from tests.stand_ins import CHANNELS, RATE_LIMITS, REFUSES, StandIns

SECRETS = {name: SecretStr(url) for name, url in CHANNELS.items()}
WEBHOOKS = {"connector": "https://connector.example/IncomingWebhook", "hook": "https://hook.example/page"}


def send(name: str, sent: dict[str, Any] = PAGE) -> Failure | None:
    if name in WEBHOOKS:
        return Webhooks({name: SecretStr(WEBHOOKS[name])}, 10).send(name, b"{}")
    return Channels(SECRETS, 20).send(name, sent)


@pytest.mark.parametrize("name", [*CHANNELS, *WEBHOOKS])
def test_a_service_that_takes_a_page_was_sent_it(services: StandIns, name: str) -> None:
    assert send(name) is None
    assert len(services.sent[name]) == 1


SAID = {
    "dingtalk": "HTTP 200 with errcode 310000: keywords not in content",
    "wecom": "HTTP 200 with errcode 93000: invalid webhook url",
    "feishu": "HTTP 200 with code 19024: Key Words Not Found",
    "lark": "HTTP 200 with code 19021: sign match fail",
    "slack": "HTTP 400: invalid_payload",
    "telegram": "Bad Request: chat not found",
    "rocketchat": "HTTP 200 with success false: Invalid integration id",
    "connector": "HTTP 200 with an error: Webhook message delivery failed",
    "hook": 'HTTP 200 with errcode 45009: {"errcode": 45009',
}


@pytest.mark.parametrize("name", SAID)
def test_a_refusal_counts_as_one_whatever_the_status_of_the_answer(services: StandIns, name: str) -> None:
    services.replies[name] = REFUSES[name]
    failure = send(name)
    assert failure is not None
    assert SAID[name] in failure.reason
    assert not any(
        part in failure.reason for part in ("dingtalktoken", "wecom-key", "feishu-token", "lark-token")
    )


@pytest.mark.parametrize("name", ["pagerduty", "opsgenie", "dingtalk", "telegram", "connector"])
def test_a_service_that_is_sent_too_many_pages_is_tried_again(services: StandIns, name: str) -> None:
    services.replies[name] = RATE_LIMITS[name]
    failure = send(name)
    assert failure is not None and failure.recoverable and not failure.too_large


@pytest.mark.parametrize("name", RATE_LIMITS)
def test_the_rate_limit_of_every_service_is_understood(services: StandIns, name: str) -> None:
    services.replies["hook"] = RATE_LIMITS[name]
    failure = send("hook")
    assert failure is not None and failure.recoverable and not failure.too_large


@pytest.mark.parametrize(
    ("sentence", "body", "expected"),
    [
        ("a wrong keyword is a matter of settings", '{"errcode":310000,"errmsg":"keywords not in content"}', True),
        ("an error code as text", '{"errcode": "310000", "errmsg": "sign not match"}', True),
        ("a text that is too long", '{"errcode":45002,"errmsg":"content size out of limit"}', False),
        ("a request that is wrong", '{"code":9499,"msg":"Bad Request","data":{}}', False),
        ("the status of Telegram", '{"ok":false,"error_code":400,"description":"Bad Request"}', False),
        ("a word for failure", '{"status": "error", "message": "no such room"}', True),
        ("an error in words", '{"error": "room is archived"}', True),
        ("errors of GraphQL", '{"data": null, "errors": [{"message": "forbidden"}]}', True),
        ("other names", '{"ErrCode": 7, "ErrMsg": "unknown robot"}', True),
        ("with a mark of the byte order", '\ufeff{"errcode": 310000}', True),
        ("of OneBot", '{"status": "failed", "retcode": 100}', True),
        ("of a program with HTTP's codes", '{"code": 500, "message": "queue is full"}', True),
        ("ok", "ok", None),
        ("nothing", "", None),
        ("a page of HTML", "<html>errcode</html>", None),
        ("a list of one", '[{"errcode": 45009}]', True),
        ("an empty list", "[]", None),
        ("a list of several", '[{"errcode": 1}, {"errcode": 0}]', None),
        ("a success denied in Chinese", '{"code": 1, "msg": "发送不成功"}', True),
        ("another one", '{"code": 1, "msg": "未成功"}', True),
        ("a failure that names success", '{"code": 1, "msg": "失败：没有成功发送"}', True),
        ("a success denied", '{"code": 40001, "message": "the message was not accepted"}', True),
        ("not ok", '{"code": 1, "msg": "not ok"}', True),
        ("a short not", '{"code": 1, "msg": "it wasn\'t accepted"}', True),
        ("without success", '{"code": 1, "msg": "finished without success"}', True),
        ("false as text", '{"success": "false"}', True),
        ("False as text", '{"ok": "False", "message": "done"}', True),
        ("false as the result", '{"result": "false"}', True),
        ("a denied status", '{"status": "not ok"}', True),
        ("true as text", '{"code": 7, "msg": "queued", "success": "true"}', None),
        ("no failures", '{"code": 20000, "msg": "success: 1 sent, 0 failed"}', None),
        ("zero", '{"errcode": 0, "errmsg": "ok"}', None),
        ("HTTP's code for success", '{"code": 200, "message": "queued"}', None),
        ("a code of its own for success", '{"code": 20000, "msg": "success"}', None),
        ("in Chinese", '{"code": 1000, "msg": "处理成功", "success": true}', None),
        ("a code without words", '{"code": 1, "id": 7}', None),
        ("a code that is no number", '{"code": "accepted", "message": "later"}', None),
        ("no error", '{"error": null, "status": "ok", "errors": []}', None),
        ("an empty error", '{"error": "", "statusCode": 202}', None),
        ("a warning of a success", '{"ok": true, "error": "one of two rooms is archived"}', None),
        ("an echo of the page", '{"status": "firing", "message": "failed auctions"}', None),
    ],
)  # fmt: skip
def test_what_a_webhook_says_under_http_200(
    services: StandIns, sentence: str, body: str, expected: bool | None
) -> None:
    services.replies["hook"] = (200, body)
    failure = send("hook")
    assert (None if failure is None else failure.recoverable) is expected, sentence


def test_a_reason_tells_the_code_even_where_the_answer_repeats_the_secret(services: StandIns) -> None:
    services.replies["wecom"] = (200, '{"errcode": 93000, "errmsg": "invalid key wecom-key"}')
    assert send("wecom") == Failure("HTTP 200 with errcode 93000", True)


def test_a_sentence_of_a_status_is_no_way_around_the_secrets(services: StandIns) -> None:
    services.replies["wecom"] = (200, '{"status": "not ok: wecom-key"}')
    assert send("wecom") == Failure("HTTP 200 with status unsuccessful", True)


@pytest.mark.parametrize(
    "said",
    [
        "no such token: ab\\/cdEF-12+34",
        "no such token: AB/CDef-12+34",
        "no such token: ab\\u002fcdEF-12\\u002B34",
        "no such token: ab%2fcdEF-12%2B34",
        "no such token: ab&#x2F;cdEF-12&#43;34",
    ],
)
def test_a_secret_is_not_shown_however_the_answer_writes_it(said: str) -> None:
    assert explanation(said.encode(), "https://hook.example/x?key=ab%2FcdEF-12%2B34") == ""
    assert explanation(b"no such key", "https://hook.example/x?key=ab%2FcdEF-12%2B34") == ": no such key"


INCIDENT_SERVICES = ("pagerduty", "opsgenie", "jira", "oncall", "squadcast")


@pytest.mark.parametrize("name", INCIDENT_SERVICES)
def test_an_alert_opens_one_incident_and_its_end_resolves_it(services: StandIns, name: str) -> None:
    incidents = services.incidents[name]
    assert send(name, page(id="one")) is None
    assert send(name, page(id="two", topic="Macro")) is None
    assert send(name, page(id="one")) is None, "a page that is sent again"
    assert set(incidents.open) == {"one", "two"}
    assert send(name, page(id="one", state=AlertState.RESOLVED, resolved_at=EPOCH)) is None
    assert set(incidents.open) == {"two"} and incidents.resolved == ["one"]


@pytest.mark.parametrize(
    ("severity", "pagerduty", "opsgenie", "oncall"),
    [
        (Severity.PAGE, "critical", "P1", "CRITICAL"),
        (Severity.TICKET, "warning", "P3", "WARNING"),
        (Severity.INFO, "info", "P5", "INFO"),
    ],
)
def test_a_severity_becomes_that_of_the_service(
    services: StandIns, severity: Severity, pagerduty: str, opsgenie: str, oncall: str
) -> None:
    sent = page(id="one", severity=severity, message="m" * 2000)
    for name in ("pagerduty", "opsgenie", "oncall"):
        assert send(name, sent) is None
    event = services.incidents["pagerduty"].open["one"]
    assert event["payload"]["severity"] == pagerduty and len(event["payload"]["summary"]) == 1024
    assert event["links"] == [{"href": "https://monitor.example/alerts/1", "text": "evidence"}]
    assert event["payload"]["custom_details"]["topic"] == "topic"
    assert services.incidents["opsgenie"].open["one"]["priority"] == opsgenie
    assert services.incidents["oncall"].open["one"]["message_type"] == oncall


def test_no_label_of_a_rule_replaces_a_field_of_an_api(services: StandIns) -> None:
    labels = {"entity_id": "mine", "message_type": "INFO", "alias": "mine", "team": "fx"}
    for name in ("oncall", "opsgenie", "pagerduty"):
        assert send(name, page(id="one", labels=labels)) is None
        assert set(services.incidents[name].open) == {"one"}
    assert services.incidents["oncall"].open["one"]["team"] == "fx"


def test_the_options_of_a_channel_go_to_its_service(services: StandIns) -> None:
    eu = f"{CHANNELS['pagerduty']}/host.example/risk?severity=error&group=desk&class=mood&+team=fx"
    urls = {"pagerduty": eu, "opsgenie": "opsgenie://genie-key-0123456789/%23risk?priority=p2&tags=a,b"}
    channels = Channels({name: SecretStr(url) for name, url in urls.items()}, 10)
    assert channels.send("pagerduty", PAGE) is None and channels.send("opsgenie", PAGE) is None
    payload = services.sent["pagerduty"][0].body["payload"]
    assert (payload["source"], payload["severity"], payload["group"], payload["class"]) == (
        "host.example", "error", "desk", "mood",
    )  # fmt: skip
    assert payload["custom_details"]["team"] == "fx"
    alert = services.sent["opsgenie"][0].body
    assert alert["priority"] == "P2" and alert["tags"] == ["rule", "page", "a", "b"]
    assert alert["responders"] == [{"type": "team", "name": "risk"}]


@pytest.mark.parametrize("name", ["opsgenie", "jira"])
@pytest.mark.parametrize("options", ["/#risk?priority=p2&tags=a,b", "/#risk/@chief?Priority=P2&tags=a%2Cb"])
def test_options_behind_the_name_of_a_team_count(services: StandIns, name: str, options: str) -> None:
    assert Channels({name: SecretStr(CHANNELS[name] + options)}, 10).send(name, PAGE) is None
    alert = services.sent[name][0].body
    assert alert["priority"] == "P2" and alert["tags"] == ["rule", "page", "a", "b"]
    assert alert["responders"][0] == {"type": "team", "name": "risk"}


def test_the_end_of_an_alert_is_when_splunk_says_that_it_ended(services: StandIns) -> None:
    fired, ended = EPOCH + timedelta(hours=1), EPOCH + timedelta(hours=3)
    assert send("oncall", page(fired_at=fired)) is None
    assert send("oncall", page(state=AlertState.RESOLVED, fired_at=fired, resolved_at=ended)) is None
    started = [sent.body["state_start_time"] for sent in services.sent["oncall"]]
    assert started == [fired.timestamp(), ended.timestamp()]


def test_pagerduty_says_what_is_wrong_with_an_event_and_no_key_is_in_the_reason(services: StandIns) -> None:
    key = "shortroutingkey"
    failure = Channels({"pd": SecretStr(f"pagerduty://{key}@apikey")}, 10).send("pd", PAGE)
    assert failure is not None and not failure.recoverable
    assert "invalid event" in failure.reason and key not in failure.reason


def test_a_key_of_the_operators_own_is_kept(services: StandIns) -> None:
    for path in ("", "/#risk"):
        url = SecretStr(f"{CHANNELS['squadcast']}{path}?dedup=ours&action=map")
        assert Channels({"squad": url}, 20).send("squad", PAGE) is None
        assert services.sent["squadcast"][-1].body["event_id"] == "ours"
    assert (
        keyed_url("squadcast://key/#risk?tags=a", PAGE)
        == f"squadcast://key/#risk?tags=a&dedup={PAGE['id']}&action=map"
    )


QUOTE = (
    "@everyone <!channel> <@U123> [free](https://evil.example/a) **buy** `x` www.evil.example evil.example"
)


@pytest.mark.parametrize(
    "name", ["discord", "mattermost", "rocketchat", "slack", "telegram", "feishu", "teams"]
)
def test_a_quoted_post_mentions_nobody_and_links_nowhere(services: StandIns, name: str) -> None:
    sent = page(evidence=quoting(QUOTE + " @here @all @channel", source="@here"), message="of @channel")
    assert send(name, sent) is None
    text = str(services.sent[name][0].body)
    for active in (
        "@everyone",
        "@here",
        "@all",
        "@channel",
        "<!",
        "<@U",
        "](",
        "://evil",
        "www.evil",
        "evil.example",
    ):
        assert active not in text, active
    assert "https://monitor.example/alerts/1" in text.replace("\\", ""), "the page of the alert stays a link"
    if name in ("discord", "mattermost", "rocketchat", "teams"):
        assert "\\*\\*buy\\*\\*" in text.replace("\\\\", "\\"), "its Markdown is shown"


@given(st.text(st.sampled_from("@<>!:/.[]()*_`#~|\\ aA1-\uff20\u200b"), max_size=60))
def test_an_inert_text_reads_the_same_and_has_nothing_active_left(text: str) -> None:
    shown = inert(text)
    assert shown.replace("\u200b", "") == text.replace("\u200b", "")
    assert not re.search(r"[@\uff20<][^\s\u200b]|://|\]\(|[a-zA-Z0-9]\.[a-zA-Z]{2}", shown)
    assert inert(shown) == shown


@given(st.text(st.sampled_from("*_`[]()#~|\\ ab"), max_size=40))
def test_escaped_markdown_renders_as_the_text_itself(text: str) -> None:
    rendered = MarkdownIt("commonmark").renderInline(inert_markdown(text)).replace("\u200b", "")
    assert html.unescape(rendered).strip() == text.strip()


def test_a_text_that_nothing_acts_on_is_sent_as_it_is(services: StandIns) -> None:
    assert send("telegram", page(evidence=quoting("Profit at 3.5 bn, U.S. sales up 4.2 %"))) is None
    assert "Profit at 3.5 bn, U.S. sales up 4.2 %" in services.sent["telegram"][0].body["text"]


def test_a_resolved_page_reaches_a_chat_as_text(services: StandIns) -> None:
    assert send("slack", RESOLVED) is None
    assert "RESOLVED: much gloom" in services.sent["slack"][0].body["attachments"][0]["text"]
