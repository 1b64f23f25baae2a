"""Other entities in a watchlist, wherever it stands: everything that people wrote around them stays."""

from pathlib import Path

import pytest

from alerts.errors import RuleError
from alerts.rules.rule_file import load_rule_set
from alerts.rules.watchlist_edit import FileChange, with_watchlist

RULES = "rules:\n  - {name: a, type: negative_surge, entities: watchlist banks}\n"
LINES = """\
banks:
    - XNYS:JPM  # the largest
    - XNYS:BAC
    # from abroad
    - XLON:HSBA

oil: [XNYS:XOM]
"""


def changed(folder: Path, name: str, *ids: str) -> FileChange:
    """The change of the rule file in a folder, which can be used after it."""
    path = folder / "rules.yaml"
    change = with_watchlist(path, name, ids, lambda file: file.read_text(encoding="utf-8"))
    loaded = load_rule_set(path, texts={change.path: change.after})
    assert loaded.watchlists[name] == ids
    return change


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_of_a_list_with_a_line_an_entity_only_the_lines_that_change_are_written(tmp_path: Path) -> None:
    indented = "".join(f"  {line}" if line.strip() else line for line in LINES.splitlines(keepends=True))
    write(tmp_path, rules=f"{RULES}watchlists:\n{indented}")
    change = changed(tmp_path, "banks", "XNYS:JPM", "XLON:HSBA", "cb:FED")
    assert change.path == tmp_path / "rules.yaml"
    assert change.after == change.before.replace("      - XNYS:BAC\n", "").replace(
        "      - XLON:HSBA\n", "      - XLON:HSBA\n      - cb:FED\n"
    )


def test_a_list_in_brackets_stays_one(tmp_path: Path) -> None:
    write(tmp_path, rules=f"{RULES}watchlists: {{banks: [XNYS:JPM], oil: [XNYS:XOM]}}\n")
    assert (
        "{banks: [XNYS:JPM], oil: [XNYS:XOM, XNYS:CVX]}"
        in changed(tmp_path, "oil", "XNYS:XOM", "XNYS:CVX").after
    )


def test_lists_in_a_file_of_their_own_are_changed_there(tmp_path: Path) -> None:
    write(tmp_path, rules=f"{RULES}watchlists: lists.yaml\n", lists=LINES)
    change = changed(tmp_path, "banks", "XNYS:BAC")
    assert change.path == tmp_path / "lists.yaml"
    assert change.after == "banks:\n    - XNYS:BAC\n    # from abroad\n\noil: [XNYS:XOM]\n"


def test_a_list_that_is_a_file_is_changed_there(tmp_path: Path) -> None:
    write(tmp_path, rules=f"{RULES}watchlists:\n  banks: banks.yaml\n", banks="- XNYS:JPM\n- XNYS:BAC")
    change = changed(tmp_path, "banks", "XNYS:JPM", "XNYS:BAC", "cb:FED")
    assert change.path == tmp_path / "banks.yaml"
    assert change.after == "- XNYS:JPM\n- XNYS:BAC\n- cb:FED\n"


def test_every_entity_can_be_replaced_at_once(tmp_path: Path) -> None:
    write(tmp_path, rules=f"{RULES}watchlists: lists.yaml\n", lists="banks:\n  - XNYS:JPM\n  - XNYS:BAC\n")
    assert changed(tmp_path, "banks", "cb:FED", "cb:ECB").after == "banks:\n  - cb:FED\n  - cb:ECB\n"


@pytest.mark.parametrize(
    "watchlists",
    [
        "watchlists:\n  banks: [XNYS:JPM]\n",
        "watchlists: {banks: [XNYS:JPM]}\n",
        "# none\nwatchlists: lists.yaml",
    ],
)
def test_a_new_list_is_added_to_those_that_there_are(tmp_path: Path, watchlists: str) -> None:
    write(tmp_path, rules=RULES + watchlists, lists="banks: [XNYS:JPM]\n")
    change = changed(tmp_path, "central banks", "cb:FED", "cb:ECB")
    assert "central banks: [cb:FED, cb:ECB]" in change.after
    loaded = load_rule_set(tmp_path / "rules.yaml", texts={change.path: change.after})
    assert loaded.watchlists["banks"] == ("XNYS:JPM",)


def test_the_first_list_of_a_rule_file_is_added_at_its_end(tmp_path: Path) -> None:
    write(tmp_path, rules="rules:\n  - {name: a, type: negative_surge}")
    assert changed(tmp_path, "no", "cb:FED").after.endswith('\nwatchlists:\n  "no": [cb:FED]\n')


@pytest.mark.parametrize("id_", ["1:30", "true", "a, b]", "x: y", '"q"', "#c", "宏观:一"])
def test_an_id_that_yaml_would_read_as_something_else_is_quoted(tmp_path: Path, id_: str) -> None:
    write(tmp_path, rules=f"{RULES}watchlists:\n  banks: [XNYS:JPM]\n")
    changed(tmp_path, "banks", "XNYS:JPM", id_)


def test_what_is_no_list_of_lists_is_refused(tmp_path: Path) -> None:
    write(tmp_path, rules=f"{RULES}watchlists: [XNYS:JPM]\n")
    with pytest.raises(RuleError, match="watchlists must be lists of ids by name"):
        with_watchlist(tmp_path / "rules.yaml", "banks", ("cb:FED",), Path.read_text)
