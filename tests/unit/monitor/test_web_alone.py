"""`monitor web`: the pages over the monitors' database, without a worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from monitor.runtime.settings import Settings
from monitor.runtime.web import WebServer
from stream.domain.errors import SchemaError
from stream.storage import database

RULES = """
rules:
  - {name: mood, type: threshold, topics: each, watch: mean_score, window: 15m, threshold: -0.5, severity: page}
"""


def settings_for(folder: Path) -> Settings:
    """Settings with a database file and a rule file in a folder, and any free port."""
    (folder / "rules.yaml").write_text(RULES)
    return Settings.model_validate(
        {
            "database": {"url": f"sqlite:///{folder / 'desk.db'}"},
            "http": {"port": 0},
            "alerts": {"rules": folder / "rules.yaml", "interval_seconds": 1},
        }
    )


@contextmanager
def serving_alone(settings: Settings) -> Iterator[str]:
    server = WebServer(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_it_serves_the_pages_and_ends_when_asked(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    database.upgrade(settings.database)
    with serving_alone(settings) as url:
        assert "No text has come in yet" in httpx.get(f"{url}/").text
        assert httpx.get(f"{url}/readyz").json() == {"ready": True, "troubles": []}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_without_the_monitors_tables_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="monitor db upgrade"):
        WebServer(settings_for(tmp_path))
