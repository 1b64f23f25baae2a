"""Kafka by TLS with a password and by certificate, and PostgreSQL by TLS, against the real ones."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from monitor.demo.sample import SampleFeed
from stream.kafka.settings import KafkaSettings
from tests.conftest import Scene, need
from tests.parts import (
    SCRAM_PASSWORD,
    SCRAM_USER,
    Certificates,
    Kafka,
    Postgres,
    SecurePostgres,
    temporary_folder,
    wait_until,
)


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    folder = temporary_folder("tls-")
    yield need(lambda: Certificates(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[Kafka]:
    folder = temporary_folder("kafka-")
    with need(lambda: Kafka(folder, certificates)) as broker:
        yield broker
    shutil.rmtree(folder, ignore_errors=True)


Send = Callable[[str, list[Any]], None]


def by_password(secure: Kafka, certificates: Certificates) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": f"127.0.0.1:{secure.password_port}",
        "SECURITY_PROTOCOL": "sasl_ssl",
        "USERNAME": SCRAM_USER,
        "PASSWORD": SCRAM_PASSWORD,
        "SSL_CA": str(certificates.authority),
    }


def by_certificate(secure: Kafka, certificates: Certificates) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": f"127.0.0.1:{secure.certificate_port}",
        "SECURITY_PROTOCOL": "ssl",
        "SSL_CA": str(certificates.authority),
        "SSL_CERT": str(certificates.client),
        "SSL_KEY": str(certificates.key(certificates.client)),
    }


def scene(secure: Kafka, postgres: Postgres, folder: Path, kafka: dict[str, str]) -> Scene:
    tag = uuid.uuid4().hex[:8]
    names = {n: f"{n}-{tag}" for n in ("group", "news", "comments", "dead_letters", "predictions", "alerts")}
    environ = {f"MONITOR_KAFKA__{name}": value for name, value in kafka.items()}
    plain = KafkaSettings(bootstrap_servers=secure.bootstrap, partitions=2, **names)
    return Scene(plain, postgres.create_database(), folder, environ)


@pytest.mark.parametrize("way", [by_password, by_certificate], ids=["password", "certificate"])
def test_the_whole_path_works_over_tls(
    way: object, secure: Kafka, certificates: Certificates, postgres: Postgres, tmp_path: Path
) -> None:
    around = scene(secure, postgres, tmp_path, way(secure, certificates))  # type: ignore[operator]
    around.prepare()
    feed, file = SampleFeed("tls"), tmp_path / "feed.jsonl"
    import json

    file.write_text("\n".join(json.dumps(feed.calm(datetime.now(UTC)).message) for _ in range(50)))
    fed = around.command("feed", str(file), "--speed", "max")
    assert fed.returncode == 0, fed.stderr.decode()
    monitor = around.start(module="tests.faults.worker")
    engine = create_engine(around.database_url)

    def rows(table: str) -> int:
        with engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())

    wait_until(lambda: rows("documents") == 50 and not rows("outbox"), 60, "documents in, predictions out")
    engine.dispose()
    assert monitor.stop() == 0
    assert SCRAM_PASSWORD not in monitor.log.read_text()


@pytest.mark.parametrize(
    ("wrong", "error_text"),
    [
        ({"PASSWORD": "wrong-secret"}, "check kafka.username, kafka.password"),
        ({"SSL_CA": ""}, "TLS fails: [SSL: CERTIFICATE_VERIFY_FAILED]"),
        ({"SSL_CA": "/nowhere.pem"}, "TLS files cannot be used (/nowhere.pem)"),
        ({"SECURITY_PROTOCOL": "sasl_plaintext"}, "ssl_ca"),
        ({"PASSWORD": ""}, "needs username and password"),
    ],
)
def test_errors_say_what_is_wrong_and_show_no_password(
    wrong: dict[str, str],
    error_text: str,
    secure: Kafka,
    certificates: Certificates,
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    kafka = by_password(secure, certificates) | wrong
    around = scene(secure, postgres, tmp_path, {key: value for key, value in kafka.items() if value})
    done = around.command("topics", "create")
    output = (done.stderr + done.stdout).decode()
    assert done.returncode in (1, 2) and error_text.lower() in output.lower(), output
    assert SCRAM_PASSWORD not in output and "wrong-secret" not in output and "Traceback" not in output


@pytest.fixture(scope="module")
def secure_postgres(certificates: Certificates) -> Iterator[SecurePostgres]:
    folder = temporary_folder("pgtls-")
    with need(lambda: SecurePostgres(folder, certificates)) as server:
        yield server
    shutil.rmtree(folder)


def test_the_database_connection_works_over_tls(
    secure_postgres: SecurePostgres, certificates: Certificates, scene: Scene, sent: Send, tmp_path: Path
) -> None:
    url = secure_postgres.url(sslmode="verify-full", sslrootcert=str(certificates.authority))
    scene.environ["MONITOR_DATABASE__URL"] = url
    scene.prepare()
    monitor = scene.start(module="tests.faults.worker")
    feed = SampleFeed("tls")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(50)])
    engine = create_engine(url)
    with engine.connect() as connection:

        def scalar(query: str) -> int:
            return int(connection.execute(text(query)).scalar_one())

        wait_until(lambda: scalar("SELECT count(*) FROM documents") == 50, 60, "the documents")
        connections = (
            "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'sentiment%'"
        )
        assert (
            scalar(f"SELECT count(*) {connections} AND ssl") == scalar(f"SELECT count(*) {connections}") > 0
        )
    engine.dispose()
    assert monitor.stop() == 0
    assert SCRAM_PASSWORD not in monitor.log.read_text()


@pytest.mark.parametrize(
    ("tls", "error_text"),
    [
        ({"sslmode": "disable"}, "no encryption"),
        ({"sslmode": "verify-full", "sslrootcert": "/nowhere.pem"}, "/nowhere.pem"),
        ({"sslmode": "verify-full", "sslrootcert": "system"}, "certificate verify failed"),
    ],
)
def test_an_insecure_database_connection_is_refused_in_one_line(
    tls: dict[str, str], error_text: str, secure_postgres: SecurePostgres, scene: Scene
) -> None:
    scene.environ["MONITOR_DATABASE__URL"] = secure_postgres.url(**tls)
    done = scene.command("db", "upgrade")
    output = (done.stderr + done.stdout).decode()
    assert done.returncode == 1 and error_text in output, output
    assert SCRAM_PASSWORD not in output and "Traceback" not in output
