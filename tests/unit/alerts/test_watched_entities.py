"""Rules on entities in rule files: what they may say, watchlists, and what is refused with file, line and rule."""

import json
import os
from pathlib import Path

import jsonschema
import pytest

from alerts.detectors.base import ALL_TOPICS
from alerts.errors import RuleError
from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_file import RuleFile, load_rule_set, load_rules, schema

KNOWN = {"XNAS:AAPL": "Apple", "XNYS:JPM": "JPMorgan", "XNYS:BAC": "Bank of America", "cb:FED": "Fed"}
OLD = {"OTCM:JPM": "XNYS:JPM"}
SURGE = """\
rules:
  - name: surge
    type: negative_surge
    entities: {}
"""
WATCHLISTS = """\
watchlists:
  banks: [XNYS:JPM, XNYS:BAC]
"""


def resolve(entity: str) -> str:
    if OLD.get(entity, entity) not in KNOWN:
        raise ValueError(f"unknown entity {entity!r} (did you mean 'XNAS:AAPL'?)")
    return OLD.get(entity, entity)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, text: str) -> str:
    with pytest.raises(RuleError) as caught:
        load_rule_set(write(path / "rules.yaml", text), ("Earnings",), resolve=resolve)
    return str(caught.value).replace(str(path) + os.sep, "")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("each", None),
        ("watchlist banks", ("XNYS:JPM", "XNYS:BAC")),
        ('[XNAS:AAPL, "cb:FED"]', ("XNAS:AAPL", "cb:FED")),
        ("[OTCM:JPM]", ("XNYS:JPM",)),  # an id that was published once
        ("[XNYS:BAC, XNYS:JPM, OTCM:JPM]", ("XNYS:BAC", "XNYS:JPM")),  # of one entity
    ],
)
def test_a_rule_watches_each_entity_a_watchlist_or_a_list_of_ids(
    tmp_path: Path, words: str, ids: tuple[str, ...] | None
) -> None:
    path = write(tmp_path / "rules.yaml", WATCHLISTS + SURGE.format(words))
    (rule,) = load_rules(path, ("Earnings",), resolve=resolve)
    assert rule.entities is not None
    assert rule.watched_entities == ids
    assert rule.watched_topics(("Earnings",)) == (ALL_TOPICS,)
    assert rule.min_relevance == 20
    assert (rule.min_documents, rule.required_negatives) == (5, 5)


@pytest.mark.parametrize("type_name", sorted(set(RULE_TYPES) - {"heartbeat"}))
def test_every_rule_type_that_watches_documents_takes_entities(tmp_path: Path, type_name: str) -> None:
    needed = "    watch: negative_share\n    threshold: 0.5\n" if type_name == "threshold" else ""
    text = SURGE.format("[XNAS:AAPL]").replace("negative_surge", type_name)
    (rule,) = load_rules(write(tmp_path / "rules.yaml", text + needed))
    assert rule.watched_entities == ("XNAS:AAPL",)


REFUSED = [
    ("an unknown id", SURGE.format("[XNAS:AAPL, XNAS:APPL]"),
     "rules.yaml:4: rule 'surge': entities is ['XNAS:AAPL', 'XNAS:APPL']: unknown entity 'XNAS:APPL' (did you mean 'XNAS:AAPL'?)"),
    ("an unknown watchlist", WATCHLISTS + SURGE.format("watchlist bank"),
     "rules.yaml:6: rule 'surge': entities is 'watchlist bank': there is no watchlist 'bank' (did you mean 'banks'?); defined: banks"),
    ("a watchlist in a file without any", SURGE.format("watchlist banks"), "the file has no `watchlists`"),
    ("topics too", SURGE.format("each") + "    topics: each\n", "rules.yaml:2: rule 'surge': entities cannot be combined with topics"),
    ("symbols too", SURGE.format("each") + "    symbols: [AAPL]\n", "rules.yaml:2: rule 'surge': entities cannot be combined with symbols"),
    ("another word", SURGE.format("all"), "rules.yaml:4: rule 'surge': entities is 'all': write each, watchlist NAME, or a list of ids"),
    ("a single id", SURGE.format("XNAS:AAPL"), "write each, watchlist NAME, or a list of ids"),
    ("nothing", SURGE.format(""), "rules.yaml:4: rule 'surge': entities is None"),
    ("no id at all", SURGE.format("[]"), "the list must name one entity or more"),
    ("an id twice", SURGE.format("[cb:FED, cb:FED]"), "each of them once"),
    ("a number", SURGE.format("[600519]"), "600519 is no id of an entity"),
    ("a relevance between the bands", SURGE.format("each") + "    min_relevance: 30\n", "rules.yaml:5: rule 'surge': min_relevance is 30"),
    ("a relevance without entities", SURGE.replace("entities: {}", "min_relevance: 40"), "it needs entities"),
    ("silence of each", SURGE.format("each").replace("negative_surge", "silence"), "most entities are not written about most of the time"),
    ("a heartbeat", SURGE.format("each").replace("negative_surge", "heartbeat") + "    sources: [wire]\n", "entities cannot be combined with heartbeat, which watches sources"),
    ("an unknown id in a watchlist", "watchlists:\n  banks:\n    - XNYS:JPM\n    - XNYS:JPN\n" + SURGE.format("watchlist banks"),
     "rules.yaml:4: watchlist 'banks': unknown entity 'XNYS:JPN'"),
    ("an id twice in a watchlist", WATCHLISTS.replace("BAC", "JPM") + SURGE.format("each"), "rules.yaml:2: watchlist 'banks': the list must name"),
    ("a watchlist that is no list", "watchlists: {banks: {a: b}}\n" + SURGE.format("each"), "rules.yaml:1: watchlist 'banks' must be a list of ids"),
    ("watchlists that are a list", "watchlists: [XNYS:JPM]\n" + SURGE.format("each"), "rules.yaml:1: watchlists must be at most 100 lists"),
    ("a watchlist twice", WATCHLISTS + "  banks: [cb:FED]\n" + SURGE.format("each"), "rules.yaml:3: the key 'banks' is there twice"),
    ("a file that is not there", "watchlists: lists.yaml\n" + SURGE.format("each"), "lists.yaml cannot be read: No such file"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "text", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_no_rule_may_say_is_refused_with_file_line_and_rule(
    tmp_path: Path, what: str, text: str, message: str
) -> None:
    assert message in refused(tmp_path, text)


def test_watchlists_may_be_in_files_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    write(folder / "all.yaml", "banks: [XNYS:JPM]\nothers: more.yaml\n")
    write(folder / "more.yaml", "- cb:FED\n- XNAS:AAPL\n")
    path = write(tmp_path / "rules.yaml", "watchlists: lists/all.yaml\n" + SURGE.format("watchlist others"))
    found = load_rule_set(path, resolve=resolve)
    assert found.watchlists == {"banks": ("XNYS:JPM",), "others": ("cb:FED", "XNAS:AAPL")}
    assert found.rules[0].watched_entities == ("cb:FED", "XNAS:AAPL")
    write(folder / "more.yaml", "- cb:FED\n- XNAS:APPL\n")
    message = refused(tmp_path, path.read_text())
    assert "more.yaml:2: watchlist 'others': unknown entity 'XNAS:APPL'" in message


def test_a_watchlist_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    lists = write(tmp_path / "lists.yaml", "banks: [XNYS:JPM]\n")
    path = write(tmp_path / "rules.yaml", "watchlists: lists.yaml\n" + SURGE.format("watchlist banks"))
    file = RuleFile(path, resolve=resolve)
    assert not file.changed()
    write(lists, "banks: [XNYS:JPM, XNYS:BAC]\n")
    assert [file.changed(), file.changed()] == [False, True]
    assert file.rules[0].watched_entities == file.watchlists["banks"] == ("XNYS:JPM", "XNYS:BAC")
    write(lists, "banks: [nobody]\n")
    assert not file.changed()
    with pytest.raises(RuleError, match=r"lists\.yaml:1: watchlist 'banks': unknown entity 'nobody'"):
        file.changed()
    assert file.watchlists["banks"] == ("XNYS:JPM", "XNYS:BAC")
    write(lists, "banks: [XNYS:BAC]\n")
    assert [file.changed(), file.changed(), file.changed()] == [False, True, False]
    assert file.rules[0].watched_entities == ("XNYS:BAC",)


def test_a_missing_watchlist_file_is_read_once_it_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "rules.yaml", SURGE.format("[XNYS:JPM]"))
    file = RuleFile(path)
    write(path, "watchlists: lists.yaml\n" + SURGE.format("watchlist banks"))
    assert not file.changed()
    with pytest.raises(RuleError):
        file.changed()
    write(tmp_path / "lists.yaml", "banks: [XNYS:BAC]\n")
    assert [file.changed(), file.changed()] == [False, True]
    assert file.rules[0].watched_entities == ("XNYS:BAC",)


def test_the_schema_knows_entities_and_watchlists() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema())))
    surge = {"name": "surge", "type": "negative_surge"}
    for entities in ("each", "watchlist banks", ["XNAS:AAPL", "cb:FED"]):
        for watchlists in ({"banks": ["XNYS:JPM"], "more": "more.yaml"}, "lists.yaml"):
            assert validator.is_valid({"rules": [{**surge, "entities": entities}], "watchlists": watchlists})
    for wrong in ("all", [], 5, None):
        assert not validator.is_valid({"rules": [{**surge, "entities": wrong}]})
    for wrong_rule in (
        {**surge, "entities": "each", "min_relevance": 30},
        {**surge, "entities": "each", "topics": "each"},
        {**surge, "entities": "each", "symbols": ["AAPL"]},
        {**surge, "min_relevance": 40},
        {"name": "quiet", "type": "silence", "entities": "each"},
        {"name": "gone", "type": "heartbeat", "sources": ["wire"], "entities": "each"},
    ):
        assert not validator.is_valid({"rules": [wrong_rule]})
    assert validator.is_valid({"rules": [{"name": "quiet", "type": "silence", "entities": ["cb:FED"]}]})
