"""The documentation site builds without warnings, holds every page, and loads nothing from other hosts."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.parts import PartMissing

# Tags that load what they name; a link that a reader follows loads nothing.
LOADS = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)"
)


def build(folder: Path) -> Path:
    if importlib.util.find_spec("zensical") is None:
        raise PartMissing("zensical is not installed")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return need(lambda: build(tmp_path_factory.mktemp("site")))


def named_pages(entry: object) -> Iterator[str]:
    """The pages of the navigation, which nests lists and tables."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        yield from named_pages(list(entry.values()))
    elif isinstance(entry, list):
        for part in entry:
            yield from named_pages(part)


def test_the_site_builds_with_warnings_as_errors(site: Path) -> None:
    assert (site / "index.html").exists()


def test_every_page_is_in_the_navigation() -> None:
    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(named_pages(navigation)) == sorted(pages)


def test_every_page_is_built(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    for page in pages:
        folder = page.parent if page.name == "index.md" else page.with_suffix("")
        assert (site / folder / "index.html").exists(), page


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        content = page.read_text(encoding="utf-8")
        assert not LOADS.findall(content), page
        # The theme would fetch Mermaid and MathJax from a content delivery network.
        assert "mermaid" not in content and "mathjax" not in content.lower(), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )
