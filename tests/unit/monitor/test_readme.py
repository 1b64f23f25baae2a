"""The README's commands are commands, its settings settings, its rules rules, its metrics metrics."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from alerts.metrics import AlertMetrics
from alerts.rule_file import load_rules
from models.inference.metrics import ModelMetrics
from monitor.cli.main import main
from monitor.runtime import settings
from monitor.runtime.log import lines_lost
from stream.codec import REASONS
from stream.metrics import StreamMetrics
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def commands() -> list[str]:
    lines = [line for text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    found = [line.split("#")[0].strip() for line in lines if re.search(r"(^|\s)monitor [a-z]", line)]
    return [re.sub(r"^.*?(?=monitor [a-z])", "", line) for line in found]


@pytest.mark.parametrize("line", commands())
def test_every_monitor_command_is_one(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    Path("registry").mkdir()
    for word in words:
        if word.endswith((".jsonl", ".csv", ".toml", ".txt", ".yaml")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).write_text("")
        elif word.startswith("./"):
            Path(word).mkdir(exist_ok=True)
    command: click.Command = main
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 8


def test_the_labelled_text_comes_out_as_shown() -> None:
    (session,) = [text for text in blocks("console") if "classify" in text]
    shown = re.search(r"echo '(.*)' \| monitor classify -\n(.*)\n", session)
    assert shown
    result = CliRunner().invoke(main, ["classify", "-"], input=shown[1] + "\n")
    number = r"\d\.\d\d"
    assert re.sub(number, "#", result.stdout.strip()) == re.sub(number, "#", shown[2].strip())
    for said, given in zip(re.findall(number, result.stdout), re.findall(number, shown[2]), strict=True):
        assert float(said) == pytest.approx(float(given), abs=0.03)


def test_the_settings_file_is_accepted(tmp_path: Path) -> None:
    for number, text in enumerate(blocks("toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        settings.load(file, {})


def test_the_rules_are_accepted(tmp_path: Path) -> None:
    for number, text in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        assert load_rules(file)


def test_every_reason_of_a_dead_letter_is_told() -> None:
    for reason in REASONS:
        assert f"`{reason}`" in README


def test_every_metric_named_exists() -> None:
    registry = CollectorRegistry()
    StreamMetrics(registry, ["IPO"])
    AlertMetrics(registry)
    ModelMetrics(registry)
    registry.register(lines_lost)
    known = {metric.name for metric in registry.collect()}
    for name in re.findall(r"`(sentiment_\w+)", README):
        assert name.removesuffix("_total").removesuffix("_info") in known, name


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make ([a-z]+)", "\n".join(blocks("sh")), re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
