"""The registry of trained models: versions, and which one is current."""

import shutil
from pathlib import Path

import pytest

from models.errors import WeightsError
from models.inference.engine import Engine
from models.network import registry
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings


@pytest.fixture
def registry_with_version(tmp_path: Path) -> tuple[Path, str]:
    """A registry folder with the shipped model, and its version."""
    info = read_info(SHIPPED_WEIGHTS)
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "work")
    registry.add(tmp_path, tmp_path / "work", info)
    return tmp_path, info.version


def test_the_engine_loads_the_promoted_version(registry_with_version: tuple[Path, str]) -> None:
    folder, version = registry_with_version
    assert [info.version for info in registry.versions(folder)] == [version]
    with pytest.raises(WeightsError, match="nothing promoted"):
        Engine.load(ModelSettings(weights=folder))
    registry.promote(folder, version, Engine.verify)
    assert registry.current(folder) == version
    assert Engine.load(ModelSettings(weights=folder)).info.version == version


def test_a_missing_or_damaged_version_is_not_promoted(registry_with_version: tuple[Path, str]) -> None:
    folder, version = registry_with_version
    with pytest.raises(WeightsError, match=f"it has: {version}"):
        registry.promote(folder, "../elsewhere", Engine.verify)
    (folder / version / "en" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="is damaged"):
        registry.promote(folder, version, Engine.verify)
    assert registry.current(folder) is None


def test_adding_a_version_twice_is_an_error(registry_with_version: tuple[Path, str]) -> None:
    folder, _ = registry_with_version
    shutil.copytree(SHIPPED_WEIGHTS, folder / "work")
    with pytest.raises(WeightsError, match="there already"):
        registry.add(folder, folder / "work", read_info(SHIPPED_WEIGHTS))


def test_a_current_version_outside_the_registry_is_an_error(registry_with_version: tuple[Path, str]) -> None:
    folder, _ = registry_with_version
    (folder / registry.CURRENT).write_text("../../etc\n")
    with pytest.raises(WeightsError, match="names no version"):
        registry.resolve(folder)
