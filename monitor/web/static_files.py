"""The application's own files, served from memory under an address that changes with their content."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True)
class StaticFile:
    """One file, plain and compressed."""

    media_type: str
    plain: bytes
    compressed: bytes


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file by its path in the folder."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}


@cache
def version() -> str:
    """A digest of all files."""
    digest = hashlib.sha256()
    for name, file in static_files().items():
        digest.update(name.encode() + b"\0" + file.plain)
    return digest.hexdigest()[:12]


def static_path(name: str) -> str:
    """The address of a file, without the prefix of a proxy.  Raises KeyError if there is none."""
    static_files()[name]
    return f"/static/{version()}/{name}"


def _read(path: Path) -> StaticFile:
    plain = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
    return StaticFile(media_type, plain, gzip.compress(plain, mtime=0))
