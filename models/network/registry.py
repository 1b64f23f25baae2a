"""A folder of trained models, and which of them runs.

A registry holds one folder a version and a file `current` with the name of the promoted one.  Wherever
a model folder is asked for, a registry does too: it stands for its promoted version.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import WeightsError

if TYPE_CHECKING:  # it imports torch, and resolving a path must not
    from models.network.artifact import ModelInfo

CURRENT = "current"


def resolve(folder: Path) -> Path:
    """The model folder that `folder` stands for.  Raises WeightsError where nothing was promoted."""
    if (folder / "model.json").is_file() or not folder.is_dir():
        return folder
    name = current(folder)
    if name is not None:
        return folder / name
    if any(folder.glob("*/model.json")):
        raise WeightsError(f"{folder} is a registry with nothing promoted: monitor models promote VERSION")
    return folder


def current(registry: Path) -> str | None:
    """The name of the promoted version, if there is one."""
    path = registry / CURRENT
    if not path.is_file():
        return None
    name = path.read_text(encoding="utf-8").strip()
    if not name or Path(name).name != name:
        raise WeightsError(f"{path} names no version: {name!r}; promote one again")
    return name


def versions(registry: Path) -> "list[ModelInfo]":
    """What is in the registry, by version."""
    from models.network.artifact import read_info

    folders = sorted(path.parent for path in registry.glob("*/model.json"))
    return [read_info(folder) for folder in folders]


def add(registry: Path, folder: Path, info: "ModelInfo") -> Path:
    """Move a finished model into the registry under its version; the same version is replaced."""
    target = registry / info.version
    if target.exists():
        raise WeightsError(f"{target} is there already: the same model was trained before")
    folder.rename(target)
    return target


def promote(registry: Path, version: str, check: Callable[[Path], object]) -> None:
    """Make a version the one that runs from the next start on.

    `check` is given its folder first and raises where it must not run.  Raises WeightsError where there is no
    such version.
    """
    folder = registry / version
    if Path(version).name != version or not (folder / "model.json").is_file():
        known = ", ".join(info.version for info in versions(registry)) or "none"
        raise WeightsError(f"{registry} has no version {version!r}; it has: {known}")
    check(folder)
    part = registry / f"{CURRENT}.part"
    part.write_text(f"{version}\n", encoding="utf-8")
    part.replace(registry / CURRENT)
