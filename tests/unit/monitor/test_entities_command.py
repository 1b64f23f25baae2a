import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from monitor.cli.main import main


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("MONITOR_CONFIG", raising=False)
    return lambda *words: CliRunner().invoke(main, ["entities", *words])


def test_entities_of_a_kind_are_listed_as_a_table_and_as_json(run):
    table = run("list", "--kind", "central_bank")
    assert table.exit_code == 0
    assert any(
        line.split()[:4] == ["cb:FED", "central_bank", "Federal", "Reserve"]
        for line in table.output.splitlines()
    )
    found = json.loads(run("list", "--kind", "central_bank", "--json").output)
    assert {
        "id": "cb:FED",
        "kind": "central_bank",
        "name": "Federal Reserve",
        "chinese_name": "美联储",
        "tickers": [],
    } in found
    assert {entity["kind"] for entity in found} == {"central_bank"}


@pytest.mark.parametrize(
    ("what", "entity"),
    [
        ("XNAS:AAPL", "XNAS:AAPL"), ("AAPL", "XNAS:AAPL"), ("brk.b", "XNYS:BRK-B"), ("0700.HK", "XHKG:0700"),
        ("600519.SH", "XSHG:600519"), ("贵州茅台", "XSHG:600519"), ("騰訊", "XHKG:0700"), ("goldman sachs", "XNYS:GS"),
        ("XHKG:9988", "XNYS:BABA"), ("cb:ECB", "cb:ECB"), ("ether", "crypto:ETH"),
    ],
)  # fmt: skip
def test_an_entity_is_shown_by_id_ticker_or_name(run, what, entity):
    assert [found["id"] for found in json.loads(run("show", what, "--json").output)] == [entity]
    assert run("show", what).output.startswith(f"{entity}  ")


def test_all_entities_that_have_a_name_or_ticker_are_shown(run):
    found = json.loads(run("show", "000001", "--json").output)
    assert {entity["id"] for entity in found} == {"XSHE:000001", "index:SSEC"}


def test_names_that_are_words_have_a_question_mark(run):
    assert "Visa?" in run("show", "XNYS:V").output
    found = json.loads(run("show", "XNYS:V", "--json").output)[0]
    assert {"name": "Visa", "needs_evidence": True} in found["names"]


def test_what_nobody_is_called_gets_a_suggestion(run):
    done = run("show", "Goldmann Sachs")
    assert done.exit_code == 1
    assert (
        done.output
        == "error: no entity is called 'Goldmann Sachs' (did you mean 'Goldman Sachs', XNYS:GS?)\n"
    )


def test_a_file_is_checked_and_what_it_takes_away_is_listed(run, tmp_path):
    path = tmp_path / "entities.yaml"
    path.write_text("alias: [{id: XETR:MRK, names: [Merck]}]\nforbid: [高盛]\nremove: [XNYS:MS]\n")
    done = run("check", str(path))
    assert done.exit_code == 0
    assert done.output.startswith(f"{path}: add 0, alias 1, forbid 1, remove 1; ")
    assert "  Merck: no longer XNYS:MRK, now XETR:MRK\n" in done.output
    assert "  高盛: no longer XNYS:GS\n" in done.output


def test_errors_of_a_file_name_file_line_and_entry(run, tmp_path):
    path = tmp_path / "entities.yaml"
    path.write_text("remove:\n  - XNAS:GOOGLE\n")
    done = run("check", str(path))
    assert done.exit_code == 1
    assert (
        done.output
        == f"error: {path}:2: remove 1: unknown id 'XNAS:GOOGLE' (did you mean XNAS:GOOGL, Alphabet?)\n"
    )


def test_the_file_of_the_settings_is_used(run, tmp_path):
    (tmp_path / "entities.yaml").write_text("add: [{id: XLON:NGB, kind: company, name: Northgate Bank}]\n")
    config = tmp_path / "monitor.toml"
    config.write_text(f'[models]\nentities = "{tmp_path}/entities.yaml"\n')
    assert run("check", "-c", str(config)).output.startswith(f"{tmp_path}/entities.yaml: add 1, ")
    assert run("show", "Northgate Bank", "-c", str(config)).output.startswith("XLON:NGB  company\n")


def test_without_a_file_the_check_says_where_one_comes_from(run):
    done = run("check")
    assert done.exit_code == 2
    assert "no file: give one, or set models.entities in the settings" in done.output


def test_the_commands_need_no_network_of_neurons():
    code = (
        "import sys; from monitor.cli.main import main\n"
        "try: main(['entities', 'show', 'AAPL'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'faust') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith("[]\n")
