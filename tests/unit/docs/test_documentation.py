"""What README and documentation say is true: commands, settings, rules, queries, metrics, links, paths and names in
the code."""

import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from sqlalchemy import text

from alerts.rules.rule_file import load_rules
from alerts.schedules.mute_file import KnownNames, load_mutes
from alerts.settings import SHIPPED_RULES
from models.data.dataset import read_recipe
from models.entities.gazetteer import Gazetteer
from monitor.cli.main import main
from monitor.runtime import settings
from stream.domain.errors import DeadLetterReason
from stream.storage.batches import Store
from tests.conftest import ROOT
from tools import generate_docs

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "models" / "weights" / "README.md"]
)
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
PROSE = {name: FENCE.sub("", page) for name, page in TEXTS.items()}
FOLDERS = ("stream/", "models/", "alerts/", "monitor/", "tests/", "tools/", "docker/", "docs/")
NOT_IN_THE_REPOSITORY = ("docker/secrets/",)


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every code block in a language."""
    return [
        (page, body)
        for page, whole in TEXTS.items()
        for name, body in FENCE.findall(whole)
        if name == language
    ]


def code_spans() -> Iterator[tuple[str, str]]:
    """(page, text) of everything in backticks outside code blocks."""
    for page, prose in PROSE.items():
        for span in re.findall(r"`([^`\n]+)`", prose):
            yield page, span


def command_lines() -> list[str]:
    lines = [line for _, body in blocks("sh") for line in body.replace("\\\n", " ").splitlines()]
    commands = [line.split(" #")[0].strip() for line in lines if re.search(r"(^|\s)monitor [a-z]", line)]
    return sorted({re.sub(r"^.*?(?=monitor [a-z])", "", line) for line in commands})


def inline_commands() -> list[str]:
    return sorted({span for _, span in code_spans() if re.match(r"monitor [a-z]+", span)})


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def is_broken(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target)


def subcommand(group: click.Group, name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None, name
    return command


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    Path("registry").mkdir()
    for word in words:
        if word.endswith((".jsonl", ".csv", ".gz", ".toml", ".txt", ".yaml")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).write_text("")
        elif word.startswith("./"):
            Path(word).mkdir(exist_ok=True)
    command: click.Command = main
    while isinstance(command, click.Group):
        command = subcommand(command, words.pop(0))
    command.make_context(command.name, words)


@pytest.mark.parametrize("line", inline_commands())
def test_every_command_in_the_prose_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = subcommand(command, words.pop(0))
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    assert {word.split("=")[0] for word in words if word.startswith("-") and word != "-"} <= options


def test_there_are_commands_to_check() -> None:
    assert len(command_lines()) > 30
    assert len(inline_commands()) > 10


def test_every_module_that_python_is_told_to_run_exists() -> None:
    modules = {name for page in TEXTS.values() for name in re.findall(r"python -m ([\w.]+)", page)}
    for module in modules:
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_labelled_text_comes_out_as_shown(page: str) -> None:
    shown = re.search(r"echo '(.*)' \| monitor classify -\n(.*)\n", TEXTS[page])
    assert shown
    result = CliRunner().invoke(main, ["classify", "-"], input=shown[1] + "\n")
    number = r"\d\.\d\d"
    assert re.sub(number, "#", result.stdout.strip()) == re.sub(number, "#", shown[2].strip())
    for printed, documented in zip(
        re.findall(number, result.stdout), re.findall(number, shown[2]), strict=True
    ):
        assert float(printed) == pytest.approx(float(documented), abs=0.03)


def test_the_settings_files_are_accepted(tmp_path: Path) -> None:
    assert blocks("toml")
    for number, (_, body) in enumerate(blocks("toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(body)
        settings.load(file, {})


def test_the_rules_recipes_and_entities_are_accepted(tmp_path: Path) -> None:
    assert blocks("yaml")
    for number, (_, body) in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(body)
        if body.startswith("add:"):
            assert "+" in Gazetteer.load(file).version
        elif body.startswith("mutes:"):
            assert load_mutes(file, KnownNames()).entries
        elif body.startswith("scrape_configs:"):
            assert yaml.safe_load(body)["scrape_configs"][0]["job_name"]
        else:
            assert read_recipe(file).sources if body.startswith("sources:") else load_rules(file)


def test_every_rule_type_is_documented() -> None:
    schema = json.loads((ROOT / "alerts" / "rules.schema.json").read_text())
    rules = [model for name, model in schema["$defs"].items() if "type" in model.get("properties", {})]
    types = {rule["properties"]["type"]["const"] for rule in rules}
    assert len(types) >= 7
    for rule_type in types:
        assert f"| `{rule_type}` |" in TEXTS["docs/alerts.md"]


def in_dialect(query: str, dialect: str) -> str:
    """The documented query, which is written for PostgreSQL, in the dialect of the database."""
    if dialect == "sqlite":
        return re.sub(r"now\(\) - interval '(.+?)'", r"datetime('now', '-\1')", query)
    return query


def test_every_query_runs(store: Store) -> None:
    queries = [body for _, body in blocks("sql")]
    queries += [span for _, span in code_spans() if span.startswith("SELECT ")]
    assert len(queries) > 5
    with store.engine.connect() as connection:
        for query in queries:
            connection.execute(text(in_dialect(query, store.engine.dialect.name))).all()


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    for reason in DeadLetterReason:
        assert f"| `{reason}` |" in TEXTS["docs/messages.md"]


def test_every_metric_named_exists_and_every_metric_is_on_its_page() -> None:
    names = {metric.name for metric in generate_docs.all_metrics()}
    for page, span in code_spans():
        for name in re.findall(r"^sentiment_\w+", span):
            assert name in names, f"{page}: {name}"
    for name in names:
        assert f"| `{name}` |" in TEXTS["docs/metrics.md"]


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_every_setting_named_exists_and_every_setting_is_on_its_page() -> None:
    names = {name for name, _, _ in settings.describe(settings.load(None, {}))}
    parts = "|".join(sorted({name.partition(".")[0] for name in names}))
    for page, span in code_spans():
        named = re.match(rf"((?:{parts})\.[a-z_]+)( = .*)?$", span)
        assert not named or named[1] in names or is_module(named[1]), f"{page}: {span}"
    for name in names:
        assert f"| `{name}`<br>" in TEXTS["docs/configuration.md"]


def test_every_environment_variable_named_is_a_setting() -> None:
    names = {name for name, _, _ in settings.describe(settings.load(None, {}))}
    variables = {v for page in TEXTS.values() for v in re.findall(r"MONITOR_[A-Z]+__[A-Z_]*[A-Z]", page)}
    for variable in variables:
        name = variable.removeprefix(settings.PREFIX).removesuffix("_FILE").lower().replace("__", ".")
        assert name in names, variable


@pytest.mark.parametrize("page", generate_docs.pages(), ids=lambda page: page.name)
def test_the_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == generate_docs.pages()[page], "run `make docs`"


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    spans = [span for _, span in code_spans()]
    commands = "\n".join([*(body for _, body in blocks("sh")), *spans])
    targets = set(re.findall(r"^make ([a-z]+)", commands, re.M))
    assert {"run", "test", "docs", "check"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", PROSE[str(page.relative_to(ROOT))])
    broken = [link for link in links if not link.startswith(("http:", "https:")) and is_broken(page, link)]
    assert not broken


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """Those of the Prometheus rules and of the shipped rules; each links to its own section."""
    files = sorted((ROOT / "docker" / "prometheus").glob("*.rules.yaml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    alerts = {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    assert len(alerts) > 10
    rules = yaml.safe_load(SHIPPED_RULES.read_text())["rules"]
    alerts |= {rule["name"]: f"http://127.0.0.1:9108{rule['runbook']}" for rule in rules}
    for name, address in alerts.items():
        assert address == f"http://127.0.0.1:9108/runbooks#{name.lower()}", name
    sections = re.findall(r"^### (.+)$", TEXTS["docs/runbooks.md"], re.M)
    assert sorted(sections) == sorted(alerts)


def test_every_path_named_exists() -> None:
    """Paths anywhere in a page: in prose, in the model card, within commands and in code blocks."""
    paths = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})[\w./*-]*")
    for page, whole in TEXTS.items():
        for path in paths.findall(whole):
            if page != "CHANGELOG.md" and not path.startswith(NOT_IN_THE_REPOSITORY):
                assert list(ROOT.glob(path.rstrip("./"))), f"{page}: {path}"


def class_members() -> dict[str, set[str]]:
    """The names that the body of each class of the repository defines, by class."""
    members: dict[str, set[str]] = {}
    for folder in ("stream", "models", "alerts", "monitor"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    members.setdefault(node.name, set()).update(defined_names(node))
    return members


def defined_names(class_: ast.ClassDef) -> Iterator[str]:
    for node in class_.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_every_class_and_method_named_exists() -> None:
    members = class_members()
    checked = 0
    for page, span in code_spans():
        if page == "CHANGELOG.md" or not (named := re.fullmatch(r"([A-Z]\w*)\.([a-z]\w*)(?:\(\))?", span)):
            continue
        if (ROOT / span).exists():
            continue
        assert named[2] in members.get(named[1], ()), f"{page}: {span}"
        checked += 1
    assert checked > 3


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150
