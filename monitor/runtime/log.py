"""Logging: plain text, or one JSON object per line."""

import atexit
import json
import logging
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

from prometheus_client import Counter

from monitor.runtime.settings import LogSettings

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# The lowest level logged of libraries that report every lost connection; the monitor reports it once itself.
LIBRARY_LEVELS = {
    "kafka": "CRITICAL",
    "aiokafka": "CRITICAL",
    "faust": "ERROR",
    "mode": "ERROR",
    # Faust logs each of its services under the module of the service's class; these are subclasses.
    "stream.kafka.faust_driver": "ERROR",
    "alembic": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "urllib3": "WARNING",
    "apprise": "CRITICAL",
    # Whatever bytes arrive at the HTTP port, they cost no log line: a metric counts them.
    "uvicorn": "CRITICAL",
}
# These log the receivers' URLs, which may hold secrets: even level debug does not show them.
URL_LOGGERS = ("httpx", "httpcore", "urllib3", "apprise")

log = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error")

# With a full disk the log cannot report that lines are lost, so a metric does.
lines_lost = Counter("sentiment_log_lines_lost", "Log lines that could not be written", registry=None)


class CountingHandler(logging.StreamHandler[TextIO]):
    """Counts the lines that cannot be written, and raises nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if isinstance(sys.exc_info()[1], OSError):
            lines_lost.inc()
        else:
            super().handleError(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _flush_at_exit() -> None:
    """Python exits with 120 if it cannot flush standard error; the exit status must not change."""
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def set_up(settings: LogSettings, file: Path | None = None) -> None:
    """Log to standard error, or to `file`."""
    handler = CountingHandler(file.open("a", encoding="utf-8") if file else sys.stderr)
    atexit.register(_flush_at_exit)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else _text())
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(True)
    set_level(settings.level)


def level_name() -> str:
    """The lowest level that is logged now."""
    return str(logging.getLevelName(logging.getLogger().level)).lower()


def set_level(level: str) -> None:
    """Log from this level on; may be called again."""
    logging.getLogger().setLevel(level.upper())
    warnings.simplefilter("default" if level == "debug" else "ignore")
    for name, library_level in LIBRARY_LEVELS.items():
        shown = level == "debug" and name not in URL_LOGGERS
        logging.getLogger(name).setLevel(logging.NOTSET if shown else library_level)


def catch_all_errors() -> None:
    """Log errors that nothing caught, in any thread, instead of writing tracebacks past the log."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("ended by an unexpected error: %r", error, exc_info=error)

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        name = arguments.thread.name if arguments.thread else "a thread"
        log.error(
            "%s ended by an unexpected error: %r", name, arguments.exc_value, exc_info=arguments.exc_value
        )

    def unraisable(arguments: Any) -> None:
        log.warning("%s: %r: %r", arguments.err_msg, arguments.object, arguments.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable


def _text() -> logging.Formatter:
    formatter = logging.Formatter(TEXT, "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter
