"""`make check` and the pre-commit hooks run the same commands, and the import contracts leave nothing out."""

import re
import tomllib

import yaml

from tests.conftest import ROOT


def test_make_check_and_the_pre_commit_hooks_run_the_same_commands() -> None:
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == commands
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])


def test_the_import_contracts_name_every_module_of_the_stream_but_the_domain() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = {
        f"stream.{path.stem}"
        for path in (ROOT / "stream").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and path.stem not in ("__init__", "domain")
    }
    contracts = config["tool"]["importlinter"]["contracts"]
    restricted = [
        c for c in contracts if any(name.startswith("stream.") for name in c.get("forbidden_modules", ()))
    ]
    assert len(restricted) == 3
    for contract in restricted:
        named = {*contract["forbidden_modules"], *contract["source_modules"]}
        assert modules <= named, contract["name"]
