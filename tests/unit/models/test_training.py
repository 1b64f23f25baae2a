"""Training on a tiny random encoder: fast, and yet the whole way from rows to a loaded engine."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from models.data.dataset import Label, Row, Target, near_duplicates, read_recipe, read_rows, read_source
from models.errors import DataError, WeightsError
from models.inference.engine import Engine
from models.network import artifact
from models.settings import ModelSettings
from models.training.adapters import Method
from models.training.options import FitOptions, TrainingOptions
from models.training.teachers import teacher_probabilities
from models.training.train import TrainingResult, report_leaks, split, train

FILLERS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "mnrst"]
WORDS = ["profit", "loss", "oil", "bank", "rises", "falls", "flat", "http", *FILLERS]
FAST = FitOptions(epochs=12, learning_rate=5e-3, patience=8, dtype="float32", device="cpu", averaging=0.9)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder with random weights and a dozen words, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(specials + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(1)  # the same weights whatever ran before
    config = BertConfig(
        vocab_size=len(specials + WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def rows(repeat: int) -> list[Row]:
    """Direction words carry the sentiment, subjects the topic; some rows have one label only."""
    made, dice = [], random.Random(5)
    for subject, topic in (("oil", "Energy"), ("bank", "Financials")):
        for verb, mood in (("rises", "positive"), ("falls", "negative"), ("flat", "neutral")):
            for i in range(repeat):
                words = dice.sample(FILLERS, 4)
                text = " ".join([*words[:2], subject, verb, *words[2:]])
                labels = Row.of(text, topic=topic, sentiment=mood).labels
                made.append(Row(text, labels if i % 3 else {"sentiment": labels["sentiment"]}))
    return made


def run(base: Path, out: Path, data: Sequence[Row], **options: Any) -> TrainingResult:
    options = {"base": str(base), "out": out, "languages": ("xx",), "holdout": 0.2, "fit": FAST} | options
    return train(TrainingOptions(**options), data)


def loaded(folder: Path) -> Engine:
    return Engine.load(ModelSettings(weights=folder, dtype="float32", device="cpu"))


def accuracies(folder: Path, data: Sequence[Row]) -> dict[str, float]:
    engine = loaded(folder)
    said = engine.classify([row.text for row in data], ["xx"] * len(data))
    found = {}
    for task in engine.info.labels:
        pairs = [
            (r.labels[task].only, getattr(p, task))
            for r, p in zip(data, said, strict=True)
            if task in r.labels
        ]
        found[task] = sum(a == b for a, b in pairs) / len(pairs)
    return found


@pytest.mark.parametrize("method", ["full", "lora", "adalora", "ia3"])
def test_it_learns_what_the_rows_say_and_writes_what_the_engine_reads(
    base: Path, tmp_path: Path, method: Method
) -> None:
    steps: list[tuple[int, int]] = []
    rate = 5e-2 if method == "ia3" else 1e-2
    options = TrainingOptions(
        base=str(base), out=tmp_path / "out", languages=("xx",), method=method, rank=4, holdout=0.2,
        fit=replace(FAST, learning_rate=5e-3 if method == "full" else rate, epochs=20, batch_size=16),
    )  # fmt: skip
    result = train(options, rows(35), progress=lambda step, total, note: steps.append((step, total)))
    reached = accuracies(tmp_path / "out", rows(35))
    assert reached["sentiment"] > 0.9
    assert reached["topic"] > 0.9
    assert steps[0][0] == 1 and steps[-1][0] <= steps[-1][1]
    info = artifact.read_info(tmp_path / "out")
    assert info.version == result.info.version
    assert info.labels["topic"] == ("Energy", "Financials")
    assert info.version in (tmp_path / "out" / "README.md").read_text()
    assert result.part.scores["sentiment"]["macro_f1"] > 0.8
    assert not list((tmp_path / "out").glob("checkpoint*"))


@pytest.mark.parametrize("pooling", ["mean", "first", "dot", "multihead"])
def test_every_pooling_trains_and_loads(base: Path, tmp_path: Path, pooling: str) -> None:
    run(base, tmp_path, rows(35), pooling=pooling, fit=replace(FAST, epochs=16))
    assert accuracies(tmp_path, rows(35))["sentiment"] > 0.8


def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    fit = replace(FAST, epochs=1, augmentation=0.2, r_drop=0.5, class_weights=True)
    versions = {run(base, tmp_path / name, rows(10), fit=fit).info.version for name in ("a", "b")}
    assert len(versions) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_end(base: Path, tmp_path: Path) -> None:
    fit = replace(FAST, epochs=3)
    whole = run(base, tmp_path / "whole", rows(10), fit=fit)

    class Stopped(Exception):
        pass

    def stop(step: int, steps: int, note: str) -> None:
        if note.startswith("epoch 3"):
            raise Stopped

    options = TrainingOptions(base=str(base), out=tmp_path / "cut", languages=("xx",), holdout=0.2, fit=fit)
    with pytest.raises(Stopped):
        train(options, rows(10), progress=stop)
    assert (tmp_path / "cut" / "checkpoint-1.pt").is_file()
    with pytest.raises(WeightsError, match="belongs to a run with other options"):
        train(replace(options, fit=replace(fit, learning_rate=1e-5)), rows(10))
    first: list[str] = []
    again = train(options, rows(10), progress=lambda step, steps, note: first.append(note))
    assert first[0].startswith("epoch 3")
    assert again.info.version == whole.info.version


def test_sets_of_labels_teach_what_they_leave_open_between_them(base: Path, tmp_path: Path) -> None:
    """Rows that only say "negative" or "not" and single labels for the rest: all three are learned."""
    data = []
    for i, row in enumerate(rows(60)):
        mood = row.labels["sentiment"].names[0]
        names = ("negative",) if mood == "negative" else ("neutral", "positive")
        label = Label(names) if i % 2 else row.labels["sentiment"]
        data.append(Row(row.text, {**row.labels, "sentiment": label}))
    run(base, tmp_path, data, fit=replace(FAST, epochs=20))
    assert accuracies(tmp_path, rows(60))["sentiment"] > 0.9


def test_targets_learn_their_own_sentiment(base: Path, tmp_path: Path) -> None:
    data, dice = rows(20), random.Random(1)
    for verb, mood in (("rises", "positive"), ("falls", "negative")):
        other, opposite = ("falls", "negative") if verb == "rises" else ("rises", "positive")
        for _ in range(80):
            fill = " ".join(dice.sample(FILLERS, 2))
            text = f"oil {verb} {fill} bank {other}"
            at = text.index("bank")
            targets = (Target(0, 3, Label((mood,))), Target(at, at + 4, Label((opposite,))))
            data.append(Row(text, {}, targets))
    run(base, tmp_path, data, fit=replace(FAST, epochs=25))
    engine = loaded(tmp_path)
    up, down = engine.classify_targets("oil rises bam ban bank falls", [(0, 3), (18, 22)], "xx")
    assert (up.sentiment, down.sentiment) == ("positive", "negative")
    assert engine.info.target_sentiment_error("xx") is None


def test_targets_that_are_never_positive_alone_give_a_model_without_target_sentiment(
    base: Path, tmp_path: Path
) -> None:
    targets = (Target(0, 3, Label(("negative",))), Target(4, 9, Label(("neutral", "positive"))))
    data = [replace(row, targets=targets) for row in rows(5)]
    run(base, tmp_path / "bare", data, fit=replace(FAST, epochs=1))
    run(tmp_path / "bare", tmp_path / "tuned", rows(5), fit=replace(FAST, epochs=1))
    for name in ("bare", "tuned"):
        engine = loaded(tmp_path / name)
        assert engine.info.target_sentiment_error("xx")
        (towards,) = engine.classify_targets("oil rises bam ban bank falls", [(0, 3)], "xx")
        assert towards.sentiment is None


def test_a_student_with_fewer_layers_learns_from_its_teacher_alone(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "teacher", rows(40), fit=replace(FAST, epochs=16))
    labelled, unlabelled = rows(4), [Row(row.text) for row in rows(60)]
    result = run(
        tmp_path / "teacher", tmp_path / "student", labelled + unlabelled, layers=1,
        teachers=(tmp_path / "teacher",), fit=replace(FAST, epochs=16, teacher_share=0.9),
    )  # fmt: skip
    config = json.loads((tmp_path / "student" / "xx" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert accuracies(tmp_path / "student", rows(40))["sentiment"] > 0.9
    assert "Teachers:" in (tmp_path / "student" / "README.md").read_text()
    assert result.part.folder == "xx"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_of_several_seeds_the_best_or_their_mean_is_kept(base: Path, tmp_path: Path, method: Method) -> None:
    fit = replace(FAST, learning_rate=5e-3, epochs=3)
    result = run(base, tmp_path, rows(20), fit=fit, seeds=2, method=method)
    assert [one.name for one in result.runs] == ["seed 1", "seed 2", "their mean"]
    one, two, mean = (one.state for one in result.runs)
    assert any(not torch.equal(one[key], two[key]) for key in one)
    assert all(torch.allclose(mean[key], (one[key].float() + two[key].float()) / 2) for key in one)
    assert result.best.score == max(one.score for one in result.runs)
    card = (tmp_path / "README.md").read_text()
    assert f"{result.best.name} (kept)" in card and card.count("(kept)") == 1


def test_a_teacher_is_not_asked_for_what_is_known(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "teacher", rows(10), fit=replace(FAST, epochs=1))
    labels = artifact.read_info(tmp_path / "teacher").labels
    text = "oil rises"
    whole = Row.of(text, topic="Energy", sentiment="positive")
    half = Row(text, {"sentiment": Label(("positive",))})
    asked = [whole, Row(text), half]
    (tmp_path / "student").mkdir()
    options = TrainingOptions(
        out=tmp_path / "student", languages=("xx",), teachers=(tmp_path / "teacher",), fit=FAST
    )
    for task, soft in teacher_probabilities(options, labels, asked, None).items():
        assert np.isnan(soft[0]).all() and soft.shape == (3, len(labels[task]))
        assert np.allclose(soft[1:].sum(-1), 1)


def test_house_rows_go_on_from_a_model_and_other_languages_come_along(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "xx", rows(10), fit=replace(FAST, epochs=1))
    run(
        base,
        tmp_path / "both",
        rows(10),
        languages=("yy",),
        join=tmp_path / "xx",
        fit=replace(FAST, epochs=1),
    )
    assert set(artifact.read_info(tmp_path / "both").languages) == {"xx", "yy"}
    result = run(tmp_path / "both", tmp_path / "house", rows(30), name="house")
    assert [part.folder for part in result.info.parts] == ["xx", "yy"]
    assert accuracies(tmp_path / "house", rows(30))["sentiment"] > 0.9
    other = [replace(row, labels=Row.of("", topic="Shipping").labels) for row in rows(2)]
    fresh = run(tmp_path / "both", tmp_path / "fresh", rows(30) + other)
    assert fresh.info.labels["topic"] == ("Energy", "Financials", "Shipping")
    assert fresh.info.languages == ("xx",)
    with pytest.raises(WeightsError, match="reads yy, xx, not zz"):
        run(tmp_path / "both", tmp_path / "none", rows(30), languages=("zz",))


def test_the_same_text_is_never_on_both_sides_of_the_split() -> None:
    data = [Row.of(f"{FILLERS[i % 40]} stands alone today", sentiment="neutral") for i in range(200)]
    kept, held = split(data, 0.3, seed=1)
    assert len(kept) + len(held) == 200
    assert held and not {row.text for row in kept} & {row.text for row in held}


def test_near_copies_across_the_split_are_found(caplog: pytest.LogCaptureFixture) -> None:
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


def test_fewer_layers_that_cost_too_much_are_refused(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "teacher", rows(35), fit=replace(FAST, epochs=16))
    options: dict[str, Any] = {
        "layers": 1, "teachers": (tmp_path / "teacher",), "fit": replace(FAST, learning_rate=1e-7, epochs=1)
    }  # fmt: skip
    with pytest.raises(WeightsError, match=r"keeping 1 layers costs .* points .* --max-loss"):
        run(base, tmp_path / "student", rows(35), **options)
    assert not (tmp_path / "student" / "model.json").exists()
    run(base, tmp_path / "student", rows(35), **options, max_loss=100)


def test_int8_that_costs_too_much_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact.pack, "__defaults__", (64,))
    monkeypatch.setattr(artifact, "INT8_MAX", 0.4)
    with pytest.raises(WeightsError, match="int8 costs topic"):
        run(base, tmp_path, rows(35))


def test_a_base_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        train(TrainingOptions(base=str(tmp_path / "nowhere"), out=tmp_path), rows(10))


def test_a_task_without_labels_is_refused(base: Path, tmp_path: Path) -> None:
    data = [
        Row.of(f"{a} {b} {c}", sentiment="neutral") for a, b, c in zip(*[iter(FILLERS)] * 3, strict=False)
    ]
    with pytest.raises(DataError, match="no row has a topic label"):
        train(TrainingOptions(base=str(base), out=tmp_path, languages=("xx",), holdout=0.2), data)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def told(found: Sequence[Row]) -> list[tuple[str, dict[str, tuple[str, ...]]]]:
    return [(row.text, {task: label.names for task, label in row.labels.items()}) for row in found]


def test_rows_come_from_json_lines_and_csv_with_mapped_columns(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        {"title": "Up", "text": "a lot", "mood": "positive"},
        "",
        {"text": "x", "topic": ["IPO", "Earnings"]},
    )
    second = write(tmp_path / "b.csv", "text,mood", '"one, two",negative')
    assert told(read_rows([first, second], {"sentiment": "mood"})) == [
        ("Up\na lot", {"sentiment": ("positive",)}),
        ("x", {"topic": ("IPO", "Earnings")}),
        ("one, two", {"sentiment": ("negative",)}),
    ]
    with pytest.raises(DataError, match="'mood' is no field"):
        read_rows([second], {"mood": "sentiment"})


def test_entities_are_targets_and_give_the_texts_mood_where_they_agree(tmp_path: Path) -> None:
    file = write(
        tmp_path / "e.jsonl",
        {"text": "A and B up", "entities": {"A": "positive", "B": "positive", "Missing": "positive"}},
        {"text": "A mixed B", "entities": {"A": "positive", "B": "negative"}},
        {"text": "A bad B", "entities": ["A", "B"], "negative_entities": ["B"]},
    )
    same, mixed, bad = read_rows([file])
    assert told([same, mixed, bad])[0][1] == {"sentiment": ("positive",)}
    assert mixed.labels == {} and bad.labels == {}
    assert [(t.start, t.end, t.label.names) for t in mixed.targets] == [
        (0, 1, ("positive",)),
        (8, 9, ("negative",)),
    ]
    assert [t.label.names for t in bad.targets] == [("positive", "neutral"), ("negative",)]


def test_a_recipe_maps_values_to_sets_and_keeps_rows_back(tmp_path: Path) -> None:
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
    kept, back = read_source(source), read_source(source, kept_back=True)
    assert len(kept) + len(back) == 200 and 20 < len(back) < 60
    assert not {row.text for row in kept} & {row.text for row in back}
    assert kept[0].labels["topic"].names == ("Energy", "Markets")
    assert {row.labels["sentiment"].names for row in kept} == {("negative",), ("neutral", "positive")}


def test_a_wrong_recipe_is_named_with_the_place(tmp_path: Path) -> None:
    recipe = write(tmp_path / "r.yaml", "sources:", "  - {file: a.jsonl, sorce: x}")
    with pytest.raises(DataError, match=r"r\.yaml: sources\.0\.sorce"):
        read_recipe(recipe)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", r"f\.jsonl:2: not JSON"),
        ("[]", r"f\.jsonl:2: an object was expected"),
        ({"sentiment": "positive"}, r"f\.jsonl:2: no text"),
        ({"text": 5, "sentiment": "positive"}, r"f\.jsonl:2: text must be a string, not 5"),
        ({"text": "x", "sentiment": "bullish"}, r"f\.jsonl:2: sentiment 'bullish' is none of positive"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: object, complaint: str) -> None:
    file = write(tmp_path / "f.jsonl", {"text": "fine", "sentiment": "neutral"}, line)
    with pytest.raises(DataError, match=complaint):
        read_rows([file])


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labelled rows"):
        read_rows([write(tmp_path / "f.jsonl", {"text": "no label"})])
