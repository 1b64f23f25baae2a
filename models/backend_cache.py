"""Keeps what was measured of a model in files, so that only the first start measures.

A backend's choice, or a rate, is believed only for exactly what it was measured on: this program, model,
machine and settings.  A file that cannot be read or written, or that says something impossible, costs one
more measurement.
"""

import hashlib
import importlib.metadata
import logging
import math
import os
import platform
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import torch

from models.backends.device import compute_device
from models.backends.native import encoders
from models.backends.onnx import ENCODER, EXPORTED
from models.network.info import read_info
from models.network.registry import resolve
from models.settings import ModelSettings, user_cache

log = logging.getLogger(__name__)

# Raised whenever the way of measuring changes: what an older program measured is never believed.
MEASUREMENT = 2
# Files are smaller, and no machine classifies as many texts a second.
MAX_BYTES, MAX_RATE = 1 << 16, 500_000.0
# What identifies a processor in /proc/cpuinfo.
CPU_FIELDS = ("model name", "CPU implementer", "CPU part", "flags", "Features")


class Choice(msgspec.Struct, frozen=True):
    """The selected backend and number type, and texts a second of each candidate.

    A candidate that was refused, was not tried or cannot run here has a rate of 0.
    """

    backend: str
    dtype: str
    tried: dict[str, float]

    @property
    def figures(self) -> str:
        """The rates in words, the fastest first."""
        rates = sorted(self.tried.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {rate:.0f}" for name, rate in rates if rate)

    def is_possible(self, candidates: Collection[tuple[str, str]]) -> bool:
        """Whether a measurement can have ended with this choice among these candidates."""
        rate = self.tried.get(f"{self.backend} {self.dtype}", 0.0)
        return (
            (self.backend, self.dtype) in candidates
            and rate > 0
            and all(math.isfinite(other) and 0 <= other <= MAX_RATE for other in self.tried.values())
        )


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a file: a choice, and all that it depends on."""

    measured_on: dict[str, str]
    choice: Choice


class ChoiceCache:
    """The choice for one model, machine and settings, in a folder; None is the user's own."""

    def __init__(self, settings: ModelSettings, folder: Path | None = None) -> None:
        self._key = conditions(settings)
        self._path = _path(folder, "backend", self._key)

    def read(self, candidates: Collection[tuple[str, str]]) -> Choice | None:
        """None if nothing was measured under these conditions, or the file cannot be believed."""
        try:
            with self._path.open("rb") as file:
                entry = msgspec.json.decode(file.read(MAX_BYTES), type=Entry)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read, so the backends are measured again: %s", self._path, error)
            return None
        if entry.measured_on != self._key or not entry.choice.is_possible(candidates):
            log.warning("%s is not believed, so the backends are measured again", self._path)
            return None
        return entry.choice

    def write(self, choice: Choice) -> None:
        _replace(self._path, msgspec.json.encode(Entry(self._key, choice)))


class RateEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a file: texts a second, and all that they depend on."""

    measured_on: dict[str, str]
    per_second: float


class RateCache:
    """Texts a second of one model with one backend, for one machine and settings, in a folder."""

    def __init__(self, settings: ModelSettings, folder: Path | None = None) -> None:
        self._key = conditions(settings) | {"backend": settings.backend}
        self._path = _path(folder, "rate", self._key)

    def read(self) -> float | None:
        """None if nothing was measured under these conditions, or the file cannot be believed."""
        try:
            with self._path.open("rb") as file:
                entry = msgspec.json.decode(file.read(MAX_BYTES), type=RateEntry)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read, so the speed is measured again: %s", self._path, error)
            return None
        is_possible = entry.measured_on == self._key and 0 < entry.per_second <= MAX_RATE
        return entry.per_second if is_possible else None

    def write(self, per_second: float) -> None:
        _replace(self._path, msgspec.json.encode(RateEntry(self._key, per_second)))


def _path(folder: Path | None, what: str, key: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    return (folder or user_cache()) / f"{what}-{digest[:24]}.json"


def _replace(path: Path, content: bytes) -> None:
    """Replace the file as a whole: another process may read it now."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(unfinished, "wb") as file:
            file.write(msgspec.json.format(content, indent=1))
        Path(name).replace(path)
    except OSError as error:
        log.info("what was measured cannot be cached, so the next start measures again: %s", error)


def conditions(settings: ModelSettings) -> dict[str, str]:
    """All that a measurement depends on, by name.  Raises WeightsError."""
    folder = resolve(settings.weights)
    device = compute_device(settings.device)
    exports = sorted(folder.glob(f"*/{ENCODER}"))
    return {
        "measurement": str(MEASUREMENT),
        "program": _version("sentiment-monitor"),
        "torch": str(torch.__version__),
        "runtimes": " ".join(_version(name) for name in EXPORTED) if exports else "",
        "native library": _state_of_file(encoders.library_path()),
        "model": hashlib.sha256(msgspec.json.encode(read_info(folder))).hexdigest(),
        "exports": " ".join(map(_state_of_file, exports)),
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": str(settings.threads or torch.get_num_threads()),
        "settings": f"{settings.device} {settings.dtype} {settings.max_batch_tokens}",
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _state_of_file(path: Path | None) -> str:
    """What changes when the file does."""
    if path is None:
        return "none"
    state = path.stat()
    return f"{path.name} {state.st_size} {state.st_mtime_ns}"


def _processor() -> str:
    """The architecture, and a hash of the processor's name and instructions: machines can share a home."""
    lines: Mapping[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = dict(line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    except OSError:
        pass
    found = {name.strip(): value for name, value in lines.items() if name.strip() in CPU_FIELDS}
    digest = hashlib.sha256(msgspec.json.encode(found or platform.processor(), order="sorted"))
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {digest.hexdigest()[:12]}"
