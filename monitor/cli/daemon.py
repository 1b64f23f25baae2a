"""`monitor run` and `monitor healthy`: the daemon, and whether it is well."""

import logging
import signal
import sys
from pathlib import Path

import click

from alerts.errors import AlertError
from models.errors import ModelError
from monitor.cli.options import config_option, examples, load_settings, plain_errors
from monitor.runtime import log
from monitor.runtime import settings as settings_module
from monitor.runtime.settings import SettingsError
from monitor.runtime.signals import end_while_starting, handle_signals
from stream.domain.errors import StreamError


@click.command(epilog=examples("monitor run -c monitor.toml", "MONITOR_LOG__FORMAT=json monitor run"))
@config_option
@plain_errors
def run(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.  On SIGHUP it reads the rules and the log level again."""
    handle_signals({signal.SIGTERM: end_while_starting, signal.SIGHUP: lambda: None})
    settings = load_settings(config)
    log.catch_all_errors()
    from monitor.runtime.daemon import Daemon

    try:
        Daemon.build(settings, read_settings=lambda: settings_module.load_as_set(config)).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except (StreamError, ModelError, AlertError, SettingsError, RuntimeError) as error:
        logging.getLogger("monitor").critical("ended: %s", error)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


@click.command(epilog=examples("monitor healthy", "monitor healthy --ready"))
@config_option
@click.option("--ready", is_flag=True, help="Ask whether it is ready to work, not only alive.")
@plain_errors
def healthy(config: Path | None, ready: bool) -> None:
    """Ask the monitor on this machine whether it is healthy; exit with 1 if it is not."""
    import httpx

    http = settings_module.load_as_set(config).http
    path = "readyz" if ready else "healthz"
    try:
        # This machine is never behind a proxy, whatever the environment says.
        answer = httpx.get(f"{http.local_url}/{path}", timeout=4, trust_env=False)
    except httpx.HTTPError as error:
        click.echo(f"no answer on port {http.port}: {type(error).__name__}", err=True)
        sys.exit(1)
    click.echo(answer.text.strip())
    sys.exit(0 if answer.is_success else 1)
