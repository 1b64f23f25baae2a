"""`monitor classify --json`: entities, targets that a script asks for, and what is wrong with them."""

import json
from typing import Any

import msgspec
import pytest

from models.document_classifier import DocumentClassifier
from monitor.cli.classify import Line, classify_lines, entity_text, parse_row, read_targets
from stream.domain.documents import EventLabel, Prediction, TextInput
from stream.domain.entities import EntityMention, TargetSentiment
from stream.domain.files.input_rows import InputRow
from stream.domain.wire import entity_fields, prediction_fields
from tests.unit.monitor.test_cli import answers, call

TEXT = "Brightmoor soars on record profit while Alderbrook plunges"
MENTION = EntityMention(
    "XNAS:BRMR", "Brightmoor", ((0, 10), (40, 50)), 100, "positive", 0.9, 0.85, of_target=True
)


def row(**fields: Any) -> Line:
    return parse_row(InputRow(1, fields), {})


def test_an_entity_has_the_fields_of_the_contract() -> None:
    assert entity_fields(MENTION) == {
        "id": "XNAS:BRMR",
        "name": "Brightmoor",
        "mentions": [{"start": 0, "end": 10}, {"start": 40, "end": 50}],
        "relevance": 100,
        "sentiment": {"label": "positive", "probability": 0.9},
        "score": 0.85,
        "certain": True,
        "of_target": True,
    }
    uncertain = EntityMention("crypto:BTC", "Bitcoin", (), 40, score=0.1, uncertain=("neutral", 0.4))
    found = entity_fields(uncertain)
    assert (found["sentiment"], found["certain"]) == ({"label": "neutral", "probability": 0.4}, False)
    assert entity_fields(EntityMention("crypto:BTC", "Bitcoin"))["sentiment"] is None
    assert prediction_fields(Prediction("m", None, gazetteer="g"))["gazetteer"] == "g"


def test_events_have_their_type_and_their_probability() -> None:
    prediction = Prediction("m", "en", events=(EventLabel("default", 0.9), EventLabel("recall", 0.5)))
    assert list(msgspec.to_builtins(prediction_fields(prediction))["events"]) == [
        {"type": "default", "probability": 0.9},
        {"type": "recall", "probability": 0.5},
    ]


def test_the_terminal_form_names_the_entities() -> None:
    assert entity_text(entity_fields(MENTION)) == "Brightmoor (XNAS:BRMR): positive 0.90, relevance 100"
    assert (
        entity_text(entity_fields(EntityMention("cb:FED", "Fed", (), 7)))
        == "Fed (cb:FED): no label, relevance 7"
    )


def test_title_text_symbols_and_targets_of_a_row_are_read() -> None:
    line = row(title="Ab", text="cd", lang="en", symbols="X,Y", targets=[{"start": 3, "end": 5, "x": 1}])
    assert line.item == TextInput("Ab\ncd", "en", 2, ("X", "Y"), ((3, 5),)) and line.asks
    assert row(text="cd").item == TextInput("cd") and not row(text="cd", targets=None).asks
    assert row(title="Ab").item == TextInput("Ab", None, 2)
    assert row(text="cd", targets=[]).asks
    assert row(text="cd", symbols=[5, {"ticker": "Z"}, ["?"]]).item.symbols == ("5", "Z")
    assert row(text="cd", targets='[{"start": 0, "end": 2}]').item.targets == ((0, 2),), "as in a table"


@pytest.mark.parametrize(
    ("targets", "error"),
    [
        ({"start": 0, "end": 2}, "targets must be a list"),
        ("0-2", "targets must be a list"),
        (7, "targets must be a list"),
        ("[" * 100_000, "targets must be a list"),
        ([[0, 2]], "start and end must be whole numbers"),
        ([None], "start and end must be whole numbers"),
        ([{"start": 0}], "start and end must be whole numbers"),
        ([{"start": 0.0, "end": 2}], "start and end must be whole numbers"),
        ([{"start": False, "end": True}], "start and end must be whole numbers"),
        ([{"start": "0", "end": "2"}], "start and end must be whole numbers"),
        ([{"start": 0, "end": 2}, {"start": 2, "end": 1}], "must be within the text, which has 6 characters"),
        ([{"start": -1, "end": 2}], "must be within the text"),
        ([{"start": 0, "end": 7}], "must be within the text"),
        ([{"start": 0, "end": 10**30}], "must be within the text"),
        ([{"start": 0, "end": 1}] * 1001, "1001 targets; at most 1000"),
    ],
)
def test_bad_targets_are_an_error_of_their_line(targets: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        read_targets(targets, 6)
    line = row(id="a", text="abcdef", targets=targets)
    assert line.id == "a" and error in (line.error or "") and line.item.text == ""


def test_answers_are_in_the_order_of_the_targets_and_neighbours_go_on() -> None:
    emoji = f"\N{ROCKET}\N{ROCKET} {TEXT}"
    rows = [
        {"id": "both", "text": TEXT, "targets": [{"start": 40, "end": 50}, {"start": 0, "end": 10}]},
        {"id": "bad", "text": TEXT, "targets": [{"start": 0, "end": 1000}]},
        {"id": "code points", "text": emoji, "targets": [{"start": 43, "end": 53}]},
        {"id": "joined", "title": "News", "text": TEXT, "targets": [{"start": 5, "end": 15}]},
        {"id": "markup", "text": f"<p><b>{TEXT}</b></p>", "targets": [{"start": 46, "end": 56}]},
        {"id": "none", "text": TEXT, "targets": [{"start": 0, "end": 3}, {"start": 10, "end": 10}]},
        {"id": "zh", "text": "星海股份净利润大增，创历史新高", "targets": [{"start": 0, "end": 4}]},
        {"id": "not asked", "text": TEXT},
        {"id": "fr", "text": "Les actions chutent", "lang": "fr", "targets": [{"start": 0, "end": 3}]},
    ]
    result = call("classify", "--json", "-", stdin="\n".join(map(json.dumps, rows)))
    assert result.exit_code == 1 and "-:2: target {" in result.stderr
    found = {answer["id"]: answer for answer in answers(result)}
    labels = {
        name: [target["sentiment"] and target["sentiment"]["label"] for target in answer.get("targets", [])]
        for name, answer in found.items()
    }
    assert labels["both"] == ["negative", "positive"]
    assert labels["code points"] == labels["markup"] == ["negative"]
    assert labels["joined"] == ["positive"]
    assert labels["none"][1] is None and found["none"]["targets"][1]["score"] is None
    assert labels["fr"] == [None]
    assert found["bad"]["status"] == "unsupported" and "within the text" in found["bad"]["error"]
    chinese = found["zh"]["targets"][0]
    assert (chinese["score"], chinese["of_target"]) == (found["zh"]["score"], False)
    assert found["both"]["targets"][0]["of_target"] and "targets" not in found["not asked"]
    first = found["both"]["targets"][0]
    assert (first["start"], first["end"]) == (40, 50) and first["score"] < 0 < first["sentiment"][
        "probability"
    ]


def test_lines_are_classified_with_their_title_and_symbols() -> None:
    class Recorder(DocumentClassifier):
        def __init__(self) -> None:
            self.inputs: list[TextInput] = []

        def classify(self, inputs: Any) -> list[Prediction]:
            self.inputs += inputs
            return [
                Prediction("m", None, targets=(TargetSentiment(),) * len(item.targets)) for item in inputs
            ]

    recorder = Recorder()
    lines = [row(title="A", text="b", symbols=["X"]), Line(2, error="x"), row(text="c", targets=[])]
    found = [answer for _, answer in classify_lines(recorder, lines)]
    assert recorder.inputs == [TextInput("A\nb", None, 1, ("X",)), TextInput(""), TextInput("c")]
    assert found[1]["error"] == "x" and found[2]["targets"] == []


def test_the_entities_of_the_shipped_list_are_found_with_the_sentiment_towards_each() -> None:
    rows = [
        {"text": "Microsoft soars on record profit while Nokia plunges on fraud probe"},
        {"title": "Quarter in brief", "text": "Nokia plunges on fraud probe", "symbols": ["MSFT"]},
        {"text": "贵州茅台净利润大增，创历史新高"},
        {"text": "The weather was calm"},
    ]
    result = call("classify", "--json", "-", stdin="\n".join(map(json.dumps, rows)))
    assert result.exit_code == 0, result.stderr
    two, one, chinese, none = answers(result)
    up, down = two["entities"]
    assert (up["id"], up["name"], up["mentions"]) == ("XNAS:MSFT", "Microsoft", [{"start": 0, "end": 9}])
    assert up["sentiment"]["label"] == "positive" and up["of_target"] and up["score"] > 0
    assert down["sentiment"]["label"] == "negative" and down["relevance"] < up["relevance"]
    named, symbol = one["entities"]
    assert named["mentions"] == [{"start": 17, "end": 22}]
    assert (symbol["id"], symbol["mentions"]) == ("XNAS:MSFT", [])
    assert named["score"] == symbol["score"] == one["score"]
    assert [(e["id"], e["of_target"], e["score"]) for e in chinese["entities"]] == [
        ("XSHG:600519", False, chinese["score"])
    ]
    assert none["entities"] == [] and none["gazetteer"] == two["gazetteer"] != ""


def test_explain_names_the_entities() -> None:
    text = "Microsoft soars on record profit while Nokia plunges on fraud probe"
    (answer,) = answers(call("explain", "--json", "--method", "attention", "--target", "Nokia", text))
    assert [entity["id"] for entity in answer["prediction"]["entities"]] == ["XNAS:MSFT", "XNYS:NOK"]
    assert "entities" not in answer["targets"]["Nokia"]
    shown = call("explain", "--method", "attention", text).stdout
    assert "Microsoft (XNAS:MSFT): positive" in shown and "Nokia (XNYS:NOK): negative" in shown
