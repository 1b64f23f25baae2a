"""Stand-ins of the services that pages go to: they answer as the services document it.

They share one port, an HTTP proxy that answers for every host itself, over TLS with certificates of its own.
`environment` sends the clients there.
"""

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.parts import Certificates

KEY32 = "k" * 32
# A channel for each service, as `alerts.channels` takes it.
CHANNELS = {
    "pagerduty": f"pagerduty://{KEY32}@aaaaaaaaaaaaaaaaaaaa",
    "opsgenie": "opsgenie://genie-key-0123456789",
    "jira": "jira://jira-key-0123456789",
    "oncall": "victorops://route-key@apikey-0123456789",
    "squadcast": "squadcast://squad-key-0123456789",
    "dingtalk": "dingtalk://dingtalktoken",
    "wecom": "wecombot://wecom-key",
    "feishu": "feishu://feishu-token",
    "lark": "lark://lark-token",
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544",
    "discord": "discord://1234567890/" + "d" * 64,
    "mattermost": "mmosts://mattermost.example/3ccdd113474722377935511fc85d3dd4",
    "rocketchat": "rockets://rocketa/rocketb@rocket.example",
    "teams": "workflows://teams.example:443/workflow-id/signature",
}
HOSTS = {
    "events.pagerduty.com": "pagerduty", "api.opsgenie.com": "opsgenie", "api.atlassian.com": "jira",
    "alert.victorops.com": "oncall", "api.squadcast.com": "squadcast",
    "oapi.dingtalk.com": "dingtalk", "qyapi.weixin.qq.com": "wecom", "open.feishu.cn": "feishu",
    "open.larksuite.com": "lark", "hooks.slack.com": "slack", "api.telegram.org": "telegram",
    "discord.com": "discord", "mattermost.example": "mattermost", "rocket.example": "rocketchat",
    "teams.example": "teams", "connector.example": "connector", "hook.example": "hook",
    "alertmanager.example": "alertmanager",
}  # fmt: skip
Reply = tuple[int, str]
# What each service answers when it takes a message, refuses one, or is sent too many.
TAKES: dict[str, Reply] = {
    "opsgenie": (202, '{"result": "Request will be processed", "took": 0.3, "requestId": "43a29c5c"}'),
    "jira": (202, '{"result": "Request will be processed", "took": 0.3, "requestId": "43a29c5c"}'),
    "squadcast": (202, '{"data": {}}'),
    "dingtalk": (200, '{"errcode": 0, "errmsg": "ok"}'),
    "wecom": (200, '{"errcode": 0, "errmsg": "ok"}'),
    "feishu": (200, '{"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}'),
    "lark": (200, '{"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}'),
    "slack": (200, "ok"),
    "telegram": (200, '{"ok": true, "result": {"message_id": 1}}'),
    "discord": (204, ""),
    "mattermost": (200, "ok"),
    "rocketchat": (200, '{"success": true}'),
    "teams": (202, ""),
    "connector": (200, "1"),
    "hook": (200, ""),
    "alertmanager": (200, ""),
}
REFUSES: dict[str, Reply] = {
    "dingtalk": (200, '{"errcode": 310000, "errmsg": "keywords not in content"}'),
    "wecom": (200, '{"errcode": 93000, "errmsg": "invalid webhook url"}'),
    "feishu": (200, '{"code": 19024, "msg": "Key Words Not Found", "data": {}}'),
    "lark": (
        200,
        '{"code": 19021, "msg": "sign match fail or timestamp is not within one hour", "data": {}}',
    ),
    "slack": (400, "invalid_payload"),
    "telegram": (400, '{"ok": false, "error_code": 400, "description": "Bad Request: chat not found"}'),
    "rocketchat": (200, '{"success": false, "error": "Invalid integration id"}'),
    "connector": (
        200,
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId",
    ),
    "hook": (200, '{"errcode": 45009, "errmsg": "reach max api daily quota limit"}'),
    "alertmanager": (400, '"bad labels"'),
}
RATE_LIMITS: dict[str, Reply] = {
    "pagerduty": (429, ""),
    "opsgenie": (429, '{"message": "You are making too many requests!"}'),
    "dingtalk": (200, '{"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}'),
    "wecom": (200, '{"errcode": 45009, "errmsg": "api freq out of limit"}'),
    "feishu": (200, '{"code": 11232, "msg": "create message trigger frequency limit", "data": {}}'),
    "lark": (200, '{"code": 9499, "msg": "too many request", "data": {}}'),
    "slack": (429, "rate_limited"),
    "telegram": (429, '{"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 5"}'),
    "connector": (
        200,
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId",
    ),
}


@dataclass
class Sent:
    """A request that a service was sent: its address, headers and JSON."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Incidents:
    """The incidents of a service by their key, as PagerDuty keeps them."""

    open: dict[str, Any] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)

    def trigger(self, key: str, body: Any) -> None:
        self.open[key] = body

    def resolve(self, key: str) -> None:
        if self.open.pop(key, None):
            self.resolved.append(key)


class StandIns(ThreadingHTTPServer):
    """All services at once.  `replies` overrides what a service answers."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        certificates = Certificates(folder)
        names = ",".join(f"DNS:{host}" for host in HOSTS)
        own = certificates.signed("services", names)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(own, certificates.key(own))
        super().__init__(("127.0.0.1", 0), _Handler)
        proxy = f"http://127.0.0.1:{self.server_port}"
        authority = str(certificates.authority)
        self.environment = {
            "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": authority, "REQUESTS_CA_BUNDLE": authority,
        }  # fmt: skip
        self.forget()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)

    def forget(self) -> None:
        """Begin again, without requests and incidents, and with services that take everything."""
        self.replies: dict[str, Reply] = {}
        self.sent: dict[str, list[Sent]] = {name: [] for name in HOSTS.values()}
        self.incidents = {name: Incidents() for name in _INCIDENT_APIS}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle of a request is no reason for a traceback."""

    def answer(self, host: str, sent: Sent) -> Reply:
        name = HOSTS[host]
        self.sent[name].append(sent)
        if name in self.replies:
            return self.replies[name]
        incidents = self.incidents.get(name)
        return _INCIDENT_APIS[name](sent, incidents) if incidents else TAKES[name]


def _pagerduty(sent: Sent, incidents: Incidents) -> Reply:
    event = sent.body
    errors = []
    if len(event.get("routing_key", "")) != 32:
        errors.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    if event["event_action"] == "trigger":
        payload = event["payload"]
        if payload["severity"] not in ("critical", "error", "warning", "info"):
            errors.append("'severity' is invalid")
        if not payload["source"] or not 0 < len(payload["summary"]) <= 1024:
            errors.append("'source' or 'summary' is missing or too long")
    if sent.path != "/v2/enqueue" or len(event["dedup_key"]) > 255 or errors:
        return 400, json.dumps(
            {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        )
    key = event["dedup_key"]
    if event["event_action"] == "trigger":
        incidents.trigger(key, event)
    else:
        incidents.resolve(key)
    return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": key})


def _alert_api(prefix: str) -> Callable[[Sent, Incidents], Reply]:
    def answer(sent: Sent, incidents: Incidents) -> Reply:
        parts, query = urlsplit(sent.path), dict(parse_qsl(urlsplit(sent.path).query))
        if not sent.headers.get("authorization", "").startswith("GenieKey "):
            return 422, '{"message": "Key format is not valid!", "took": 0.0}'
        if parts.path == f"{prefix}/v2/alerts":
            if not 0 < len(sent.body["message"]) <= 130:
                return 422, '{"message": "Request body is not processable."}'
            incidents.trigger(sent.body["alias"], sent.body)
        elif parts.path.endswith("/close") and query == {"identifierType": "alias"}:
            incidents.resolve(parts.path.split("/")[-2])
        else:
            return 404, '{"message": "Not found"}'
        return TAKES["opsgenie"]

    return answer


def _oncall(sent: Sent, incidents: Incidents) -> Reply:
    if sent.path != "/integrations/generic/20131114/alert/apikey-0123456789/route-key":
        return 404, '{"result": "failure", "message": "Not found"}'
    key = sent.body["entity_id"]
    if sent.body["message_type"] == "RECOVERY":
        incidents.resolve(key)
    else:
        incidents.trigger(key, sent.body)
    return 200, json.dumps({"result": "success", "entity_id": key})


def _squadcast(sent: Sent, incidents: Incidents) -> Reply:
    key = sent.body["event_id"]
    if sent.body["status"] == "resolve":
        incidents.resolve(key)
    else:
        incidents.trigger(key, sent.body)
    return TAKES["squadcast"]


_INCIDENT_APIS = {
    "pagerduty": _pagerduty, "opsgenie": _alert_api(""), "jira": _alert_api("/jsm/ops/integration"),
    "oncall": _oncall, "squadcast": _squadcast,
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Answer for the host itself: the client speaks TLS with it from here on."""
        services = self.server
        assert isinstance(services, StandIns)
        self.send_response(200)
        self.end_headers()
        self.connection = services.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self) -> None:
        services = self.server
        assert isinstance(services, StandIns)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = urlsplit(self.path)._replace(scheme="", netloc="").geturl()
        host = headers["host"].partition(":")[0]
        status, text = services.answer(host, Sent(path, headers, json.loads(body)))
        answer = text.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """No line for every request."""
