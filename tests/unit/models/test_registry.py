"""Versions on disk, and which of them runs."""

import shutil
from pathlib import Path

import pytest

from models.errors import WeightsError
from models.inference.engine import Engine
from models.network import artifact, registry
from models.settings import SHIPPED_WEIGHTS, ModelSettings


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, str]:
    """A registry with the shipped model in it."""
    info = artifact.read_info(SHIPPED_WEIGHTS)
    shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "work")
    registry.add(tmp_path, tmp_path / "work", info)
    return tmp_path, info.version


def test_what_was_promoted_is_what_runs(two: tuple[Path, str]) -> None:
    folder, version = two
    assert [info.version for info in registry.versions(folder)] == [version]
    with pytest.raises(WeightsError, match="nothing promoted"):
        Engine.load(ModelSettings(weights=folder))
    registry.promote(folder, version, Engine.verify)
    assert registry.current(folder) == version
    assert Engine.load(ModelSettings(weights=folder)).info.version == version


def test_a_version_that_is_not_there_or_broken_is_not_promoted(two: tuple[Path, str]) -> None:
    folder, version = two
    with pytest.raises(WeightsError, match=f"it has: {version}"):
        registry.promote(folder, "../elsewhere", Engine.verify)
    (folder / version / "en" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="is damaged"):
        registry.promote(folder, version, Engine.verify)
    assert registry.current(folder) is None


def test_the_same_model_twice_is_refused(two: tuple[Path, str]) -> None:
    folder, _ = two
    shutil.copytree(SHIPPED_WEIGHTS, folder / "work")
    with pytest.raises(WeightsError, match="there already"):
        registry.add(folder, folder / "work", artifact.read_info(SHIPPED_WEIGHTS))


def test_a_name_that_leads_out_of_the_registry_is_refused(two: tuple[Path, str]) -> None:
    folder, _ = two
    (folder / registry.CURRENT).write_text("../../etc\n")
    with pytest.raises(WeightsError, match="names no version"):
        registry.resolve(folder)
