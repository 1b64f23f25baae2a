"""`monitor run` and `monitor healthy`: the daemon, and whether it is well."""

import logging
import sys
from pathlib import Path

import click

from monitor.cli.options import config_option, examples, load_settings, plain_errors
from monitor.runtime import settings as settings_module


@click.command(epilog=examples("monitor run -c monitor.toml", "MONITOR_LOG__FORMAT=json monitor run"))
@config_option
@plain_errors
def run(config: Path | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    settings = load_settings(config)
    from monitor.runtime.daemon import Daemon

    try:
        Daemon.build(settings).run()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        logging.getLogger("monitor").critical("ended: %s", error)
        sys.exit(1)


@click.command(epilog=examples("monitor healthy", "monitor healthy --ready"))
@config_option
@click.option("--ready", is_flag=True, help="Ask whether it is ready to work, not only alive.")
@plain_errors
def healthy(config: Path | None, ready: bool) -> None:
    """Ask the monitor on this machine whether it is healthy; exit with 1 if it is not."""
    import httpx

    http = settings_module.load_as_set(config).http
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(f"http://{host}:{http.port}/{'readyz' if ready else 'healthz'}", timeout=4)
    except httpx.HTTPError as error:
        click.echo(f"no answer on port {http.port}: {type(error).__name__}", err=True)
        sys.exit(1)
    click.echo(answer.text.strip())
    sys.exit(0 if answer.is_success else 1)
