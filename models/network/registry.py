"""A registry of models: a folder with trained versions, one of which is promoted.

It holds one folder for each version, and a file `current` with the name of the promoted one.  A registry can
be given in place of a model folder: it stands for its promoted version.
"""

from collections.abc import Callable
from pathlib import Path

from models.errors import WeightsError
from models.network.info import ModelInfo, read_info

CURRENT = "current"


def resolve(folder: Path) -> Path:
    """The model folder that `folder` stands for.  Raises WeightsError if nothing is promoted."""
    if (folder / "model.json").is_file() or not folder.is_dir():
        return folder
    name = current(folder)
    if name is not None:
        return folder / name
    if any(folder.glob("*/model.json")):
        raise WeightsError(f"{folder} is a registry with nothing promoted: monitor models promote VERSION")
    return folder


def current(registry: Path) -> str | None:
    """The name of the promoted version, or None.  Raises WeightsError if the file names no version."""
    path = registry / CURRENT
    if not path.is_file():
        return None
    name = path.read_text(encoding="utf-8").strip()
    if not name or Path(name).name != name:
        raise WeightsError(f"{path} names no version: {name!r}; promote one again")
    return name


def versions(registry: Path) -> list[ModelInfo]:
    """The models in the registry, sorted by version."""
    folders = sorted(path.parent for path in registry.glob("*/model.json"))
    return [read_info(folder) for folder in folders]


def add(registry: Path, folder: Path, info: ModelInfo) -> Path:
    """Move a finished model into the registry.  Raises WeightsError if it has that version already."""
    target = registry / info.version
    if target.exists():
        raise WeightsError(f"{target} is there already: the same model was trained before")
    folder.rename(target)
    return target


def promote(registry: Path, version: str, check: Callable[[Path], object]) -> None:
    """Make a version the one that runs from the next start on.

    `check` gets the folder first and raises if the model must not run.  Raises WeightsError if there is no
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
