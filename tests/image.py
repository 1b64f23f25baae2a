"""The image, built for real without a container engine: by buildah, on a Debian made by debootstrap."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.parts import PartMissing, program

ROOT = Path(__file__).parent.parent
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
NAME = "localhost/sentiment-monitor"
# Bytes that building takes at most.
ROOM = 24 << 30
# Where this machine gets packages from, and whom it trusts.
SHARED = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/apt")
PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


class Image:
    """Built in minutes, most of them for PyTorch.

    Raises PartMissing where something it needs is missing, AssertionError with the end of the log where
    building failed.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` gets gigabytes; its path should be short."""
        self._buildah, self._debootstrap = program("buildah"), program("debootstrap")
        if os.geteuid() != 0:
            raise PartMissing("debootstrap and buildah need root here")
        self._folder = folder
        if shutil.disk_usage(self._folder).free < ROOM:
            raise PartMissing(f"the image takes {ROOM >> 30} GiB in {self._folder.parent} while it is built")
        self._driver = "overlay"
        if subprocess.run(
            self.command("info"), check=False, capture_output=True, env=self.environ
        ).returncode:
            self._driver = "vfs"  # works everywhere, and copies gigabytes
            shutil.rmtree(self._folder / "root", ignore_errors=True)
        self._build()

    def container(self) -> str:
        """A new container of the image; its name."""
        return self.buildah("from", NAME).stdout.decode().strip()

    def inspect(self) -> dict[str, Any]:
        """What the image says of itself."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", NAME).stdout)
        return found["Docker"]["config"]

    def command(self, *words: str) -> list[str]:
        roots = ["--root", str(self._folder / "root"), "--runroot", str(self._folder / "run")]
        return [self._buildah, *roots, *words]

    def buildah(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(self.command(*words), check=False, capture_output=True, env=self.environ)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return done

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {"STORAGE_DRIVER": self._driver, "BUILDAH_ISOLATION": "chroot"}

    def _build(self) -> None:
        told = self._folder / "build.log"
        try:
            with told.open("wb") as log:
                self._base(log)
                self._step(log, self.command(*self._bud()))
        except subprocess.CalledProcessError as error:
            raise AssertionError(told.read_text()[-4000:]) from error

    def _base(self, log: Any) -> None:
        base = self._folder / "base"
        self._step(
            log, [self._debootstrap, "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base)]
        )  # fmt: skip
        container = self.buildah("from", "scratch").stdout.decode().strip()
        self._step(log, self.command("add", "--quiet", container, str(base), "/"))
        self._step(log, self.command("commit", "--quiet", container, "localhost/base"))
        self.buildah("rm", container)
        shutil.rmtree(base)

    def _bud(self) -> list[str]:
        shared = [word for path in SHARED if Path(path).exists() for word in ("-v", f"{path}:{path}:ro")]
        passed = [word for name in PASSED if name in os.environ for word in ("--env", name)]
        return [
            "bud", "--format", "docker", "--layers=false", "--build-arg", "BASE=localhost/base",
            *shared, *passed,
            "-f", str(ROOT / "docker" / "Dockerfile"), "-t", NAME, str(ROOT),
        ]  # fmt: skip

    def _step(self, log: Any, words: list[str]) -> None:
        subprocess.run(words, check=True, stdout=log, stderr=subprocess.STDOUT, env=self.environ)
