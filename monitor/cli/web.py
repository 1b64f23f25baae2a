"""`monitor web`: the desk's pages without a worker."""

import logging
import signal
import sys
import webbrowser
from pathlib import Path

import click

from alerts.errors import AlertError
from models.errors import ModelError
from monitor.cli.options import config_option, examples, load_settings, plain_errors
from monitor.runtime import log
from monitor.runtime.settings import SettingsError
from monitor.runtime.signals import end_while_starting, handle_signals
from stream.domain.errors import StreamError


@click.command(epilog=examples("monitor web -c monitor.toml", "MONITOR_HTTP__PORT=9109 monitor web --open"))
@config_option
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@plain_errors
def web(config: Path | None, opens: bool) -> None:
    """Serve the desk's pages alone, until SIGTERM or Ctrl-C.

    It reads the database that the monitors write, so it shows what all of them do; it takes no message from
    Kafka.  What needs the model, such as explaining a text, only `monitor run` can do.
    """
    handle_signals({signal.SIGTERM: end_while_starting})
    settings = load_settings(config)
    log.catch_all_errors()
    from monitor.runtime.web import WebServer

    try:
        server = WebServer(settings)
    except KeyboardInterrupt:
        sys.exit(130)
    except (StreamError, ModelError, AlertError, SettingsError) as error:
        logging.getLogger("monitor").critical("ended: %s", error)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    click.echo(f"The desk's page: {server.url}/", err=True)
    if opens:
        webbrowser.open(f"{server.url}/")
    server.run()
