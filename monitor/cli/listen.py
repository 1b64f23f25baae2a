"""`monitor listen`: a webhook on loopback that prints the pages it gets."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from monitor.cli.options import examples
from stream.domain.documents import printable

MAX_BYTES = 10_000_000


@click.command(epilog=examples("monitor listen --port 5001"))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=5001, show_default=True)
def listen(host: str, port: int) -> None:
    """Print the pages that a webhook would get, to test receivers and Alertmanager."""
    serve(host, port, click.echo)


def serve(host: str, port: int, show: Callable[[str], object]) -> None:
    """Show the lines of every page, the monitor's own or Alertmanager's, until interrupted."""

    class WebhookHandler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            try:
                length = max(int(self.headers.get("Content-Length") or 0), 0)
                lines = format_page(json.loads(self.rfile.read(min(length, MAX_BYTES))))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                lines = [f"not a page: {error!r}"]
            for line in lines:
                show(printable(line))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: the page itself is printed."""

    # A thread for each connection: an idle one delays no page.
    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that leaves in the middle of a request is no reason for a traceback."""

    with Server((host, port), WebhookHandler) as server:
        show(f"listening on http://{host}:{server.server_port}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            show("stopped")


def format_page(page: dict[str, Any]) -> list[str]:
    """Lines for people: of a page of the monitor's own, or of Alertmanager's with its list of alerts."""
    alerts = page["alerts"] if "alerts" in page else [page, *page.get("others", [])]
    lines = []
    for alert in alerts:
        from_alertmanager = "labels" in alert and "annotations" in alert
        lines += _format_alertmanager(alert) if from_alertmanager else _format_own(alert)
    return lines


def _format_alertmanager(alert: dict[str, Any]) -> list[str]:
    labels, annotations = alert["labels"], alert["annotations"]
    subject = f"{labels['alertname']} on {labels.get('topic', '-')}"
    lines = [f"{alert['status'].upper()} {subject}: {annotations.get('summary', '')}"]
    lines += [f"  {line}" for line in annotations.get("evidence", "").splitlines()]
    return lines + ([f"  {alert['generatorURL']}"] if alert.get("generatorURL") else [])


def _format_own(alert: dict[str, Any]) -> list[str]:
    lines = [f"{alert['state'].upper()} {alert['rule']} on {alert['topic']}: {alert['message']}"]
    lines += [f"  {item['score']:+.2f} {item['source']}: {item['content']}" for item in alert["evidence"]]
    return lines + ([f"  {alert['link']}"] if alert["link"] else [])
