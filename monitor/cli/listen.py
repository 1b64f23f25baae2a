"""A webhook on loopback that prints what it is sent: the monitor's own pages and Alertmanager's."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from stream.domain.documents import printable

LARGEST = 10_000_000


def serve(host: str, port: int, show: Callable[[str], object]) -> None:
    """Print a line or more for every page until interrupted."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            try:
                lines = told(json.loads(self.rfile.read(min(length, LARGEST))))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                lines = [f"not a page: {error!r}"]
            for line in lines:
                show(printable(line))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """The page itself is the line."""

    with HTTPServer((host, port), Handler) as server:
        show(f"listening on http://{host}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            show("stopped")


def told(page: dict[str, Any]) -> list[str]:
    """A page of the monitor's, or one of Alertmanager's with a list of alerts, in lines for people."""
    lines = []
    for alert in page["alerts"] if "alerts" in page else [page, *page.get("others", [])]:
        if "labels" in alert and "annotations" in alert:
            labels, said = alert["labels"], alert["annotations"]
            about = f"{labels['alertname']} on {labels.get('topic', '-')}: {said.get('summary', '')}"
            lines.append(f"{alert['status'].upper()} {about}")
            lines += [f"  {line}" for line in said.get("evidence", "").splitlines()]
            lines += [f"  {alert['generatorURL']}"] if alert.get("generatorURL") else []
        else:
            lines.append(f"{alert['state'].upper()} {alert['rule']} on {alert['topic']}: {alert['message']}")
            lines += [f"  {e['score']:+.2f} {e['source']}: {e['content']}" for e in alert["evidence"]]
            lines += [f"  {alert['link']}"] if alert["link"] else []
    return lines
