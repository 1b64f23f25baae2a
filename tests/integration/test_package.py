"""The sdist and the wheel: what they contain, and that they install and run outside the repository."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.parts import PartMissing, free_port, temporary_folder, wait_until

# Nothing that git ignores belongs in a build.
IGNORED = shutil.ignore_patterns(
    ".*",
    "*.so",
    "*.egg-info",
    "*.db*",
    "__pycache__",
    "build",
    "dist",
    "site",
    "target",
    "registry",
    "secrets",
)
PACKAGES = {"alerts", "models", "monitor", "stream"}
# Data files by folder and pattern. A build that lacks one of them fails only at run time.
DATA_FILES = (
    ("alerts", "*.yaml"),
    ("alerts", "*.json"),
    ("models", "*.yaml"),
    ("models", "*.csv"),
    ("models", "*.html"),
    ("models/entities/data", "*.*"),
    ("models/weights", "*.*"),
    ("monitor", "*.html"),
    ("monitor", "*.css"),
    ("monitor", "*.js"),
    ("monitor", "*.svg"),
    ("monitor/web/static", "*.txt"),
    ("monitor", "*.yaml"),
    ("stream", "*.csv"),
    ("stream", "*.mako"),
    ("stream", "*.txt"),
)


@dataclass(frozen=True)
class Distributions:
    """An sdist, the wheel built from it, and the version that pyproject.toml states."""

    sdist: Path
    wheel: Path
    version: str


@dataclass(frozen=True)
class Installation:
    """A new virtual environment with the wheel, and an empty folder to run it in."""

    bin: Path
    cwd: Path

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=clean_environ() | environ,
            timeout=120,
        )


def clean_environ() -> dict[str, str]:
    """The environment variables without those by which Python or the monitor finds the repository."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {k: v for k, v in os.environ.items() if k not in unwanted and not k.startswith("MONITOR_")}


def run(*words: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def require_build() -> None:
    if importlib.util.find_spec("build") is None:
        raise PartMissing("the package `build` is not installed")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = temporary_folder("package-")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def distributions(folder: Path) -> Distributions:
    """Built from a copy of the repository. `python -m build` makes the wheel from the sdist."""
    need(require_build)
    shutil.copytree(ROOT, folder / "repository", ignore=IGNORED)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=folder / "repository")
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return Distributions(sdist, wheel, version)


@pytest.fixture(scope="module")
def installation(distributions: Distributions, folder: Path) -> Installation:
    """The new environment borrows the dependencies of the running one; the image's test installs them."""
    environment, cwd = folder / "environment", folder / "empty"
    cwd.mkdir()
    run(sys.executable, "-m", "venv", environment, cwd=cwd, env=clean_environ())
    pip = [environment / "bin" / "pip", "install", "--quiet"]
    run(*pip, "--no-deps", distributions.wheel, cwd=cwd, env=clean_environ())
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installation(environment / "bin", cwd)


def sources(*patterns: tuple[str, str]) -> set[str]:
    """Paths of the repository's files that match, relative to its root."""
    return {
        str(path.relative_to(ROOT))
        for where, pattern in patterns
        for path in (ROOT / where).rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.timeout(300)
def test_the_sdist_has_everything_that_a_build_needs_and_nothing_else(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    native = sources(("models/backends/native", "*.cpp"), ("models/backends/native", "*.h"))
    assert len(native) >= 3
    code = {name for package in PACKAGES for name in sources((package, "*.py"))}
    assert code | native | sources(*DATA_FILES) | {"pyproject.toml", "README.md", "LICENSE"} <= names
    top_level = {name.partition("/")[0] for name in names}
    assert top_level == PACKAGES | {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "PKG-INFO",
        "setup.cfg",
        "sentiment_monitor.egg-info",
    }


@pytest.mark.timeout(300)
def test_the_wheel_has_the_four_packages_and_the_weights(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    information = f"sentiment_monitor-{distributions.version}.dist-info"
    assert {name.partition("/")[0] for name in sizes} == PACKAGES | {information}
    code = {name for package in PACKAGES for name in sources((package, "*.py"))}
    assert code | sources(*DATA_FILES) <= sizes.keys()
    weights = {name: size for name, size in sizes.items() if name.startswith("models/weights/")}
    assert weights == {name: (ROOT / name).stat().st_size for name in weights}
    assert sum(weights.values()) > 25e6
    assert any(name.startswith("models/backends/native/_native.") for name in sizes) or not shutil.which(
        "g++"
    )


def test_the_wheel_of_the_large_model_has_the_version_of_the_monitor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    second = tomllib.loads((ROOT / "models/judge/pyproject.toml").read_text())["project"]
    assert second["version"] == project["version"]
    assert project["optional-dependencies"]["second-opinion"] == [f"{second['name']}=={second['version']}"]


@pytest.mark.timeout(900)
def test_the_large_model_is_a_wheel_of_its_own_that_the_monitor_finds(
    installation: Installation, folder: Path
) -> None:
    """The shipped model stands in for the large one."""
    need(require_build)
    source, cwd = folder / "judge", installation.cwd
    shutil.copytree(ROOT / "models" / "weights", source)
    shutil.copy(ROOT / "models" / "judge" / "pyproject.toml", source)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "second", source, cwd=folder)
    (wheel,) = (folder / "second").glob("*.whl")
    check = "from models.plan import shipped_second_opinion; print(shipped_second_opinion())"
    missing = installation.run("python", "-c", check).stdout.strip()
    assert missing.endswith("models/judge")
    pip = [installation.bin / "pip", "install", "--quiet", "--no-deps"]
    run(*pip, wheel, cwd=cwd, env=clean_environ())
    try:
        found = Path(installation.run("python", "-c", check).stdout.strip())
        assert found.name == "sentiment_monitor_second_opinion" and (found / "model.json").is_file()
        (cwd / "text").write_text("Shares plunge after huge loss\n")
        environ = {"MONITOR_MODELS__SECOND_OPINION": "all"}
        classified = installation.run("monitor", "classify", "--json", "text", **environ)
        assert json.loads(classified.stdout)["model"].endswith("+all"), classified.stderr
    finally:
        uninstall = [
            installation.bin / "pip",
            "uninstall",
            "--quiet",
            "--yes",
            "sentiment-monitor-second-opinion",
        ]
        run(*uninstall, cwd=cwd, env=clean_environ())


@pytest.mark.timeout(900)
def test_the_installed_package_knows_its_version_and_finds_its_files(
    installation: Installation, distributions: Distributions
) -> None:
    assert installation.run("monitor", "--version").stdout.split()[-1] == distributions.version
    where = installation.run(
        "python", "-c", "import monitor, models; print(monitor.__file__, models.__file__)"
    )
    assert all(Path(file).is_relative_to(installation.bin.parent) for file in where.stdout.split()), where
    database = f"sqlite:///{installation.cwd / 'doctor.db'}"
    upgraded = installation.run("monitor", "db", "upgrade", MONITOR_DATABASE__URL=database)
    assert upgraded.returncode == 0, upgraded.stderr
    doctor = installation.run("monitor", "doctor", "--json", MONITOR_DATABASE__URL=database)
    findings = {finding["check"]: finding for finding in json.loads(doctor.stdout)}
    assert all(findings[check]["ok"] for check in ("settings", "model", "rules", "database")), doctor.stdout


@pytest.mark.timeout(900)
def test_the_installed_demo_fires_an_alert_and_stops_on_ctrl_c(installation: Installation) -> None:
    log = installation.cwd / "demo.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                str(installation.bin / "monitor"),
                "demo",
                "--plain",
                "--state",
                str(installation.cwd / "state"),
            ],
            cwd=installation.cwd,
            env=clean_environ() | {"MONITOR_HTTP__PORT": str(free_port())},
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def has_fired() -> bool:
        return "alert FIRING" in log.read_text() or process.poll() is not None

    try:
        wait_until(has_fired, 150, "the demo fires an alert")
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)
