"""Labelled rows from files and recipes."""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from models.data.augmentation_sets import TOPICS
from models.data.dataset import Label, Row, Target, near_duplicates, read_recipe, read_rows, read_source
from models.errors import DataError
from models.training.options import DataOptions, TrainingOptions
from models.training.rows import as_classified, training_rows
from models.training.train import report_leaks

RECIPES = Path(__file__).parents[3] / "models" / "recipes"


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def texts_and_labels(rows: Sequence[Row]) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
    return [(row.text, {task: label.names for task, label in row.labels.items()}) for row in rows]


def test_rows_are_read_from_json_lines_and_csv_with_mapped_columns(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        {"title": "Up", "text": "a lot", "mood": "positive"},
        "",
        {"text": "x", "topic": ["IPO", "Earnings"]},
    )
    second = write(tmp_path / "b.csv", "text,mood", '"one, two",negative')
    assert texts_and_labels(read_rows([first, second], {"sentiment": "mood"})) == [
        ("Up\na lot", {"sentiment": ("positive",)}),
        ("x", {"topic": ("IPO", "Earnings")}),
        ("one, two", {"sentiment": ("negative",)}),
    ]
    with pytest.raises(DataError, match="'mood' is no field"):
        read_rows([second], {"mood": "sentiment"})


def test_entities_are_targets_and_give_the_text_their_sentiment_if_they_agree(tmp_path: Path) -> None:
    file = write(
        tmp_path / "e.jsonl",
        {"text": "A and B up", "entities": {"A": "positive", "B": "positive", "Missing": "positive"}},
        {"text": "A mixed B", "entities": {"A": "positive", "B": "negative"}},
        {"text": "A bad B", "entities": ["A", "B"], "negative_entities": ["B"]},
    )
    same, mixed, partly_negative = read_rows([file])
    assert texts_and_labels([same, mixed, partly_negative])[0][1] == {"sentiment": ("positive",)}
    assert mixed.labels == {} and partly_negative.labels == {}
    assert [(*t.places[0], t.label.names) for t in mixed.targets] == [
        (0, 1, ("positive",)),
        (8, 9, ("negative",)),
    ]
    assert [t.label.names for t in partly_negative.targets] == [("positive", "neutral"), ("negative",)]


def test_a_target_is_every_place_of_its_name_as_a_word_of_its_own(tmp_path: Path) -> None:
    names = {
        "Harrow": "positive",
        "Harrow Steel": "negative",
        "银行": "negative",
        "Pike": "neutral",
        "": "neutral",
    }
    text = "Harrowing day: harrow up, Harrow Steel down; HARROW wins. 银行跌，中国银行跌。 Pikeman"
    (row,) = read_rows([write(tmp_path / "e.jsonl", {"text": text, "entities": names})])
    places = {text[slice(*target.places[0])]: target.places for target in row.targets}
    assert list(places) == ["harrow", "Harrow Steel", "银行", "Pike"]
    assert [text[slice(*place)] for place in places["harrow"]] == ["harrow", "HARROW"]
    assert len(places["银行"]) == 2
    assert places["Pike"] == ((text.index("Pike"), text.index("Pike") + 4),), "it has no place of its own"


def test_targets_say_where_they_are(tmp_path: Path) -> None:
    up, down = ({"term": "海南", "start": 0, "end": 2, "sentiment": "positive"}, {"start": 4, "end": 6})
    file = write(
        tmp_path / "t.jsonl",
        {"text": "海南涨，海南跌", "targets": [up, {**down, "sentiment": "negative"}]},
        {"text": "海南涨，海南跌", "targets": [up]},
    )
    mixed, same = read_rows([file])
    assert [(t.places, t.label.names) for t in mixed.targets] == [
        (((0, 2),), ("positive",)),
        (((4, 6),), ("negative",)),
    ]
    assert mixed.has_several_moods and not same.has_several_moods
    assert mixed.labels == {} and same.labels["sentiment"].names == ("positive",)


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        ({"start": 0}, "must be a list of objects"),
        ([{"start": 0, "end": 9, "sentiment": "positive"}], "outside of the text, which has 7"),
        ([{"start": 2, "end": 2, "sentiment": "positive"}], "from 2 to 2 is outside"),
        (
            [{"start": 1, "end": 3, "term": "海南", "sentiment": "positive"}],
            "'海南' is not at 1 to 3.*'南涨'",
        ),
        ([{"start": 0, "end": 2, "sentiment": "up"}], "sentiment 'up' is none of"),
    ],
)
def test_targets_that_cannot_be_right_are_an_error_with_file_and_line(
    targets: object, problem: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "t.jsonl", {"text": "海南涨，海南跌", "targets": targets})
    with pytest.raises(DataError, match=rf"t\.jsonl:1: .*{problem}"):
        read_rows([file])


def test_a_recipe_maps_values_to_sets_of_labels_and_keeps_rows_back(tmp_path: Path) -> None:
    write(
        tmp_path / "n.jsonl",
        *[{"text": f"text {i}", "tags": ["oil", "here"], "bad": i % 2 == 0} for i in range(200)],
    )
    recipe = write(
        tmp_path / "r.yaml",
        "sources:",
        "  - file: n.jsonl",
        "    keep_back: 0.2",
        "    topic: {column: tags, values: {oil: [Energy, Markets]}}",
        "    sentiment: {column: bad, values: {'true': [negative], 'false': [neutral, positive]}}",
    )
    (source,) = read_recipe(recipe).sources
    training, kept_back = read_source(source), read_source(source, kept_back=True)
    assert len(training) + len(kept_back) == 200 and 20 < len(kept_back) < 60
    assert not {row.text for row in training} & {row.text for row in kept_back}
    assert training[0].labels["topic"].names == ("Energy", "Markets")
    assert {row.labels["sentiment"].names for row in training} == {("negative",), ("neutral", "positive")}


def test_a_rule_of_a_recipe_labels_the_texts_that_it_finds(tmp_path: Path) -> None:
    rows = [
        {"text": "Bitcoin fund gets a new manager", "topic": "Personnel Change"},
        {"text": "Fed raises rates", "topic": "Politics"},
        {"text": "Bitcoin falls"},
        {"text": "Nothing to see"},
    ]
    write(tmp_path / "n.jsonl", *rows)
    recipe = write(
        tmp_path / "r.yaml",
        "sources:",
        "  - file: n.jsonl",
        "    topic: &topics",
        "      column: topic",
        "      rules:",
        "        - {pattern: '(?i)bitcoin', labels: [Crypto], also: true}",
        "        - {pattern: '(?i)rates|bitcoin', labels: [Macro]}",
        "  - {file: n.jsonl, unlabelled: true, topic: *topics}",
    )
    labelled, unlabelled = (read_source(source) for source in read_recipe(recipe).sources)
    assert [row.labels["topic"].names for row in labelled] == [
        ("Personnel Change", "Crypto"),
        ("Macro",),
        ("Crypto",),
    ]
    assert [row.labels["topic"].also for row in labelled] == [("Crypto",), (), ()]
    assert [row.labels["topic"].names for row in unlabelled[:3]] == [("Crypto",), ("Macro",), ("Crypto",)]
    assert unlabelled[3].labels == {}, "kept for a teacher"


def test_a_pattern_that_is_no_regular_expression_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    rule = "{pattern: '(', labels: [Crypto]}"
    recipe = write(
        tmp_path / "r.yaml", "sources:", f"  - {{file: a.jsonl, topic: {{column: t, rules: [{rule}]}}}}"
    )
    with pytest.raises(DataError, match=r"r\.yaml: sources\.0\.topic\.rules\.0\.pattern"):
        read_recipe(recipe)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_shipped_models_can_be_read_and_name_known_topics(path: Path) -> None:
    for source in read_recipe(path).sources:
        named = list((source.topic.values or {}).values())
        named += [rule.labels for rule in source.topic.rules]
        assert {name for names in named for name in names} <= set(TOPICS)


def test_an_error_in_a_recipe_names_the_file_and_the_field(tmp_path: Path) -> None:
    recipe = write(tmp_path / "r.yaml", "sources:", "  - {file: a.jsonl, sorce: x}")
    with pytest.raises(DataError, match=r"r\.yaml: sources\.0\.sorce"):
        read_recipe(recipe)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"f\.jsonl:2: not JSON"),
        ("[]", r"f\.jsonl:2: expected a JSON object, not list"),
        ({"sentiment": "positive"}, r"f\.jsonl:2: no text"),
        ({"text": 5, "sentiment": "positive"}, r"f\.jsonl:2: text must be a string, not 5"),
        (
            {"text": "x", "sentiment": "bullish"},
            r"f\.jsonl:2: sentiment 'bullish' is none of positive.*recipe",
        ),
    ],
)
def test_an_error_in_a_row_names_the_file_and_the_line(tmp_path: Path, line: object, message: str) -> None:
    file = write(tmp_path / "f.jsonl", {"text": "fine", "sentiment": "neutral"}, line)
    with pytest.raises(DataError, match=message):
        read_rows([file])


def test_a_file_without_labels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labelled rows"):
        read_rows([write(tmp_path / "f.jsonl", {"text": "no label"})])


def test_validation_rows_that_nearly_repeat_training_rows_are_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    train_rows = [
        Row.of("Acme shares jump 5% after strong results https://t.example/a", sentiment="positive"),
        Row.of("公司业绩大幅增长，股价涨停", sentiment="positive"),
    ]
    valid = [
        replace(Row.of("ACME shares jump 7% after strong results", sentiment="positive"), where="v.csv:3"),
        Row.of("公司业绩大幅增长，股价涨停！", sentiment="positive"),
        Row.of("Oil slips as supply grows again", sentiment="negative"),
    ]
    pairs = near_duplicates(train_rows, valid)
    assert [(a.text, b.text) for a, b in pairs] == [
        (valid[0].text, train_rows[0].text),
        (valid[1].text, train_rows[1].text),
    ]
    report_leaks(pairs)
    assert "v.csv:3 nearly repeats" in caplog.text
    assert "2 validation rows nearly repeat training rows" in caplog.text


def test_training_reads_the_text_that_the_network_classifies_and_moves_its_targets() -> None:
    text = "<p>Harrow &amp; Pike soars, <b>Kestrel</b> falls.</p><p>All rights reserved by Pressroom.</p>"
    names = ("Harrow &amp; Pike", "Kestrel", "Pressroom")
    label = Label(("positive",))
    spans = [(text.index(name), text.index(name) + len(name)) for name in names]
    row = Row(text, targets=tuple(Target(((start, end),), label) for start, end in spans))
    read = as_classified(row)
    assert read.text == "Harrow & Pike soars, Kestrel falls.\n"
    assert [read.text[slice(*t.places[0])] for t in read.targets] == ["Harrow & Pike", "Kestrel"]
    plain = Row.of("Alderbrook cuts its dividend", sentiment="negative")
    assert as_classified(plain) is plain


def test_a_class_that_is_numbered_0_counts_as_a_label(tmp_path: Path) -> None:
    recipe = write(
        tmp_path / "r.yaml",
        "sources:",
        "  - file: t.jsonl",
        "    sentiment: {column: sentiment, values: {'0': [negative], '1': [neutral], '2': [positive]}}",
    )
    names = ("negative", "neutral", "positive")
    # Tables make floats of whole numbers, and texts of both.
    for shown in (int, float, str):
        write(tmp_path / "t.jsonl", *[{"text": f"text {i}", "sentiment": shown(i % 3)} for i in range(30)])
        (source,) = read_recipe(recipe).sources
        counts = Counter(row.labels["sentiment"].only for row in read_source(source))
        assert counts == dict.fromkeys(names, 10)
    write(tmp_path / "t.csv", "text,sentiment", *[f"text {i},{i % 3}" for i in range(30)])
    rows = read_source(source.model_copy(update={"file": tmp_path / "t.csv"}))
    assert Counter(row.labels["sentiment"].only for row in rows) == dict.fromkeys(names, 10)


def test_labels_are_read_in_any_case_and_without_their_blanks(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.csv", "text,sentiment,topic", "a,Positive , IPO", "b,NEGATIVE,IPO", 'c," neutral",'
    )
    assert [labels for _, labels in texts_and_labels(read_rows([file]))] == [
        {"sentiment": ("positive",), "topic": ("IPO",)},
        {"sentiment": ("negative",), "topic": ("IPO",)},
        {"sentiment": ("neutral",)},
    ]


def test_one_error_names_every_value_that_is_no_label(tmp_path: Path) -> None:
    lines = [
        {"text": f"text {i}", "sentiment": value} for i, value in enumerate([0, 1, "Bullish", 0, "positive"])
    ]
    with pytest.raises(DataError) as refused:
        read_rows([write(tmp_path / "t.jsonl", *lines)])
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 't.jsonl'}:1: sentiment 0 is none of positive, neutral, negative")
    assert "t.jsonl:2" in message and "'Bullish'" in message and "t.jsonl:3" in message
    assert "t.jsonl:4" not in message
    assert "sentiment: {column: sentiment, values: {'0': [LABEL]}}" in message


def test_values_that_a_recipe_leaves_out_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        tmp_path / "t.jsonl",
        *[{"text": f"t {i}", "mood": mood} for i, mood in enumerate(["Up ", "flat", "flat"])],
    )
    recipe = write(
        tmp_path / "r.yaml",
        "sources:",
        "  - {file: t.jsonl, sentiment: {column: mood, values: {up: [positive]}}}",
    )
    with caplog.at_level("INFO"):
        rows = read_source(read_recipe(recipe).sources[0])
    assert [row.labels["sentiment"].only for row in rows] == ["positive"]
    assert "no label in mood, by the recipe: 'flat' (2 rows)" in caplog.text


def test_tables_in_other_encodings_with_large_cells_are_read(tmp_path: Path) -> None:
    file, large = tmp_path / "t.csv.gz", "利润" * 100_000
    file.write_bytes(gzip.compress(f"text;sentiment\r\n{large};negative\r\n".encode("gb18030")))
    with pytest.raises(DataError, match="--encoding gb18030"):
        read_rows([file])
    (row,) = read_rows([file], encoding="gb18030")
    assert (row.text, row.labels["sentiment"].only) == (large, "negative")
    recipe = write(tmp_path / "r.yaml", "sources:", "  - {file: t.csv.gz, encoding: gb18030}")
    assert read_source(read_recipe(recipe).sources[0])[0].text == large


def test_training_rows_must_be_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a regular file"):
        training_rows(DataOptions(files=(Path("-"),)), TrainingOptions(base="x", out=tmp_path))
