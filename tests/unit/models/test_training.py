"""Training on a tiny random encoder, from rows to a loaded engine."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from models.backends import device
from models.data.dataset import Label, Row, Target
from models.errors import DataError, WeightsError
from models.inference.engine import Engine
from models.network import artifact, quantisation
from models.network.info import read_info
from models.settings import ModelSettings
from models.training import teachers
from models.training.adapters import Method
from models.training.embeddings import (
    EMBEDDING_SIZE,
    network_embeddings,
    principal_components,
    sentence_embeddings,
)
from models.training.options import FitOptions, Progress, TrainingOptions
from models.training.start import load_start
from models.training.teachers import check_against_base, teacher_probabilities
from models.training.train import TrainingResult, split_rows, train

FILLERS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "mnrst"]
WORDS = ["profit", "loss", "oil", "bank", "rises", "falls", "flat", "http", *FILLERS]
FAST = FitOptions(epochs=12, learning_rate=5e-3, patience=8, dtype="float32", device="cpu", averaging=0.9)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder with random weights and a small vocabulary, as a Hugging Face folder."""
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
    torch.manual_seed(1)  # the same weights, independent of other tests
    config = BertConfig(
        vocab_size=len(specials + WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_rows(repeat: int) -> list[Row]:
    """Rows whose verb decides the sentiment and whose subject decides the topic; every third has no topic."""
    rows, rng = [], random.Random(5)
    for subject, topic in (("oil", "Energy"), ("bank", "Financials")):
        for verb, sentiment in (("rises", "positive"), ("falls", "negative"), ("flat", "neutral")):
            for i in range(repeat):
                words = rng.sample(FILLERS, 4)
                text = " ".join([*words[:2], subject, verb, *words[2:]])
                labels = Row.of(text, topic=topic, sentiment=sentiment).labels
                rows.append(Row(text, labels if i % 3 else {"sentiment": labels["sentiment"]}))
    return rows


def run(base: Path, out: Path, data: Sequence[Row], **options: Any) -> TrainingResult:
    options = {"base": str(base), "out": out, "languages": ("fr",), "holdout": 0.2, "fit": FAST} | options
    return train(TrainingOptions(**options), data)


def load(folder: Path) -> Engine:
    return Engine.load(ModelSettings(weights=folder, dtype="float32", device="cpu"))


def accuracies(folder: Path, data: Sequence[Row]) -> dict[str, float]:
    """The share of rows with the right label, by task."""
    engine = load(folder)
    predictions = engine.classify([row.text for row in data], ["fr"] * len(data))
    shares = {}
    for task in engine.info.labels:
        pairs = [
            (row.labels[task].only, getattr(prediction, task))
            for row, prediction in zip(data, predictions, strict=True)
            if task in row.labels
        ]
        shares[task] = sum(label == predicted for label, predicted in pairs) / len(pairs)
    return shares


@pytest.mark.parametrize("method", ["full", "lora", "adalora", "ia3"])
def test_each_method_learns_the_labels_and_writes_a_model_that_the_engine_loads(
    base: Path, tmp_path: Path, method: Method
) -> None:
    steps: list[tuple[int, int]] = []
    adapter_rate = 5e-2 if method == "ia3" else 1e-2
    options = TrainingOptions(
        base=str(base),
        out=tmp_path / "out",
        languages=("fr",),
        method=method,
        rank=4,
        holdout=0.2,
        fit=replace(FAST, learning_rate=5e-3 if method == "full" else adapter_rate, epochs=20, batch_size=16),
    )
    result = train(options, make_rows(35), progress=lambda step, total, note: steps.append((step, total)))
    accuracy = accuracies(tmp_path / "out", make_rows(35))
    assert accuracy["sentiment"] > 0.9
    assert accuracy["topic"] > 0.9
    assert steps[0][0] == 1 and steps[-1][0] <= steps[-1][1]
    info = read_info(tmp_path / "out")
    assert info.version == result.info.version
    assert info.labels["topic"] == ("Energy", "Financials")
    assert info.version in (tmp_path / "out" / "README.md").read_text()
    assert result.part.scores["sentiment"]["macro_f1"] > 0.8
    assert not list((tmp_path / "out").glob("checkpoint*"))


@pytest.mark.parametrize("pooling", ["mean", "first", "dot", "multihead"])
def test_each_pooling_can_be_trained_and_loaded(base: Path, tmp_path: Path, pooling: str) -> None:
    run(base, tmp_path, make_rows(35), pooling=pooling, fit=replace(FAST, epochs=16))
    assert accuracies(tmp_path, make_rows(35))["sentiment"] > 0.8


def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    fit = replace(FAST, epochs=1, augmentation=0.2, r_drop=0.5, class_weights=True)
    versions = {run(base, tmp_path / name, make_rows(10), fit=fit).info.version for name in ("a", "b")}
    assert len(versions) == 1


class Interrupted(Exception):
    """Ends a run in the middle of a step's report, as a kill does."""


def interrupt_at(step: int) -> Progress:
    def interrupt(now: int, steps: int, note: str) -> None:
        if now == step and note.startswith("epoch"):
            raise Interrupted

    return interrupt


@pytest.mark.parametrize("method", ["full", "adalora"])
def test_an_interrupted_run_continues_within_the_epoch_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path, method: Method
) -> None:
    """7 steps an epoch; a checkpoint after every step."""
    fit = replace(FAST, epochs=3, batch_size=8, augmentation=0.3, checkpoint_seconds=0)
    options = TrainingOptions(
        base=str(base), out=tmp_path / "interrupted", languages=("fr",), method=method, holdout=0.2, fit=fit
    )
    uninterrupted = train(replace(options, out=tmp_path / "uninterrupted"), make_rows(11))
    for step in (3, 12, 20):
        with pytest.raises(Interrupted):
            train(options, make_rows(11), progress=interrupt_at(step))
    steps: list[int] = []
    resumed = train(options, make_rows(11), progress=lambda step, total, note: steps.append(step))
    assert steps[0] == 20, "the checkpoint is that of the step before"
    assert resumed.info.version == uninterrupted.info.version
    assert resumed.best.curve == uninterrupted.best.curve


def test_a_run_is_not_continued_with_other_options_or_rows(base: Path, tmp_path: Path) -> None:
    fit = replace(FAST, epochs=1, batch_size=8, checkpoint_seconds=0)
    options = TrainingOptions(base=str(base), out=tmp_path / "out", languages=("fr",), holdout=0.2, fit=fit)
    with pytest.raises(Interrupted):
        train(options, make_rows(10), progress=interrupt_at(3))
    relabelled = [replace(row, labels={**row.labels, **Row.of("", sentiment="neutral").labels})
                  for row in make_rows(10)]  # fmt: skip
    for changed, rows in (
        (replace(options, fit=replace(fit, learning_rate=1e-5)), make_rows(10)),
        (options, relabelled),
    ):
        with pytest.raises(WeightsError, match="belongs to a run with other options"):
            train(changed, rows)
    (tmp_path / "out" / "checkpoint-1.pt").write_bytes(b"cut off")
    with pytest.raises(WeightsError, match=r"checkpoint-1.pt cannot be read: delete it"):
        train(options, make_rows(10))


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoint-1.part").mkdir()
    run(base, tmp_path, make_rows(10), fit=replace(FAST, epochs=1))
    assert "checkpoint-1.pt cannot be written, training goes on without it" in caplog.text


def test_a_run_is_continued_in_the_number_type_that_it_began_with(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurement that chooses it may come out the other way on a busy machine."""
    fit = replace(FAST, epochs=2, batch_size=8, dtype="auto", checkpoint_seconds=0)
    options = TrainingOptions(base=str(base), out=tmp_path / "a", languages=("fr",), holdout=0.2, fit=fit)
    monkeypatch.setattr(device, "bfloat16_training_speedup", lambda: 2.6)
    uninterrupted = train(replace(options, out=tmp_path / "b"), make_rows(10))
    with pytest.raises(Interrupted):
        train(options, make_rows(10), progress=interrupt_at(4))
    monkeypatch.setattr(device, "bfloat16_training_speedup", lambda: 0.5)
    assert train(options, make_rows(10)).info.version == uninterrupted.info.version


def test_progress_names_epoch_speed_and_loss(base: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    options = TrainingOptions(
        base=str(base), out=tmp_path, languages=("fr",), holdout=0.2, fit=replace(FAST, epochs=1)
    )
    result = train(options, make_rows(10), progress=lambda step, total, note: notes.append(note))
    assert re.fullmatch(r"epoch 1, [\d.]+ rows/s, loss \d\.\d{3}", notes[0])
    assert result.speed is not None and result.speed.dtype == "float32"
    assert result.speed.rows_per_second > 0 and 0 < result.speed.peak_share < 1
    assert "of the matrix peak)" in (tmp_path / "README.md").read_text()


def test_all_labels_are_learned_from_sets_of_possible_labels_and_some_single_ones(
    base: Path, tmp_path: Path
) -> None:
    """Every second row says only "negative" or "not negative"; the others have a single label."""
    data = []
    for i, row in enumerate(make_rows(60)):
        sentiment = row.labels["sentiment"].names[0]
        names = ("negative",) if sentiment == "negative" else ("neutral", "positive")
        label = Label(names) if i % 2 else row.labels["sentiment"]
        data.append(Row(row.text, {**row.labels, "sentiment": label}))
    run(base, tmp_path, data, fit=replace(FAST, epochs=20))
    assert accuracies(tmp_path, make_rows(60))["sentiment"] > 0.9


def test_the_sentiment_towards_each_target_is_learned(base: Path, tmp_path: Path) -> None:
    data, rng = make_rows(20), random.Random(1)
    for verb, sentiment in (("rises", "positive"), ("falls", "negative")):
        other, opposite = ("falls", "negative") if verb == "rises" else ("rises", "positive")
        for _ in range(80):
            fillers = " ".join(rng.sample(FILLERS, 2))
            text = f"oil {verb} {fillers} bank {other}"
            start = text.index("bank")
            targets = (
                Target(((0, 3),), Label((sentiment,))),
                Target(((start, start + 4),), Label((opposite,))),
            )
            data.append(Row(text, {}, targets))
    result = run(base, tmp_path, data, fit=replace(FAST, epochs=25))
    assert result.part.scores["target"]["accuracy"] > 0.9
    assert {"target", "sentiment"} <= result.part.temperature.keys() & result.part.certain_from.keys()
    assert "| target | " in (tmp_path / "README.md").read_text(encoding="utf-8")
    engine = load(tmp_path)
    up, down = engine.classify_targets("oil rises bam ban bank falls", [(0, 3), (18, 22)], "fr")
    assert (up.sentiment, down.sentiment) == ("positive", "negative")
    assert engine.info.target_sentiment_error("fr") is None


def test_a_model_has_no_target_sentiment_if_no_target_is_only_positive(base: Path, tmp_path: Path) -> None:
    targets = (Target(((0, 3),), Label(("negative",))), Target(((4, 9),), Label(("neutral", "positive"))))
    data = [replace(row, targets=targets) for row in make_rows(5)]
    run(base, tmp_path / "first", data, fit=replace(FAST, epochs=1))
    run(tmp_path / "first", tmp_path / "tuned", make_rows(5), fit=replace(FAST, epochs=1))
    for name in ("first", "tuned"):
        engine = load(tmp_path / name)
        assert engine.info.target_sentiment_error("fr")
        (towards,) = engine.classify_targets("oil rises bam ban bank falls", [(0, 3)], "fr")
        assert towards.sentiment is None


def test_a_student_with_fewer_layers_learns_from_the_labels_of_its_teacher(
    base: Path, tmp_path: Path
) -> None:
    run(base, tmp_path / "teacher", make_rows(40), fit=replace(FAST, epochs=16))
    labelled, unlabelled = make_rows(4), [Row(row.text) for row in make_rows(60)]
    result = run(
        tmp_path / "teacher",
        tmp_path / "student",
        labelled + unlabelled,
        layers=1,
        teachers=(tmp_path / "teacher",),
        fit=replace(FAST, epochs=16, teacher_share=0.9),
    )
    config = json.loads((tmp_path / "student" / "fr" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert accuracies(tmp_path / "student", make_rows(40))["sentiment"] > 0.9
    assert "Teachers:" in (tmp_path / "student" / "README.md").read_text()
    assert result.part.folder == "fr"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_best_run_or_the_mean_of_several_seeds_is_kept(
    base: Path, tmp_path: Path, method: Method
) -> None:
    fit = replace(FAST, learning_rate=5e-3, epochs=3)
    result = run(base, tmp_path, make_rows(20), fit=fit, seeds=2, method=method)
    assert [run.name for run in result.runs] == ["seed 1", "seed 2", "their mean"]
    one, two, mean = (run.state for run in result.runs)
    assert any(not torch.equal(one[key], two[key]) for key in one)
    assert all(torch.allclose(mean[key], (one[key].float() + two[key].float()) / 2) for key in one)
    assert result.best.score == max(run.score for run in result.runs)
    card = (tmp_path / "README.md").read_text()
    assert f"{result.best.name} (kept)" in card and card.count("(kept)") == 1


def test_teachers_label_only_rows_that_lack_a_label(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "teacher", make_rows(10), fit=replace(FAST, epochs=1))
    labels = read_info(tmp_path / "teacher").labels
    text = "oil rises"
    labelled = Row.of(text, topic="Energy", sentiment="positive")
    partly_labelled = Row(text, {"sentiment": Label(("positive",))})
    data = [labelled, Row(text), partly_labelled]
    (tmp_path / "student").mkdir()
    options = TrainingOptions(
        out=tmp_path / "student", languages=("fr",), teachers=(tmp_path / "teacher",), fit=FAST
    )
    for task, probabilities in teacher_probabilities(options, labels, data, None).items():
        assert np.isnan(probabilities[0]).all() and probabilities.shape == (3, len(labels[task]))
        assert np.allclose(probabilities[1:].sum(-1), 1)


def test_a_teacher_answers_in_the_order_of_the_students_labels_and_in_pieces(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(base, tmp_path / "teacher", make_rows(10), fit=replace(FAST, epochs=1))
    labels = read_info(tmp_path / "teacher").labels
    reversed_labels = {task: names[::-1] for task, names in labels.items()}
    data = [Row(row.text) for row in make_rows(2)]

    def ask(out: str, labels: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
        (tmp_path / out).mkdir(exist_ok=True)
        options = TrainingOptions(
            out=tmp_path / out, languages=("fr",), teachers=(tmp_path / "teacher",), fit=FAST
        )
        return teacher_probabilities(options, labels, data, None)

    whole, turned = ask("whole", labels), ask("whole", reversed_labels)
    with pytest.raises(WeightsError, match="other topic labels than the rows and the base: Shipping"):
        ask("whole", {**labels, "topic": (*labels["topic"], "Shipping")})
    monkeypatch.setattr(teachers, "PIECE", 5)
    pieces = ask("pieces", labels)
    assert len(list((tmp_path / "pieces").glob("teacher-*.npz"))) == 3, "12 texts"
    monkeypatch.setattr(teachers, "Teacher", None)  # nobody is asked again
    again = ask("pieces", labels)
    for task in labels:
        assert np.allclose(whole[task], turned[task][:, ::-1])
        assert np.allclose(whole[task], pieces[task], atol=1e-5) and np.array_equal(pieces[task], again[task])


def test_a_new_topic_is_learned_beside_those_that_the_model_knows(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "fr", make_rows(10), fit=replace(FAST, epochs=1))
    before = artifact.load(tmp_path / "fr").parts[0].network.classifier.heads["topic"].state_dict()
    options = TrainingOptions(base=str(tmp_path / "fr"), out=tmp_path / "house", languages=("fr",))
    network = load_start(options, [Row.of("oil rises", topic="Shipping")]).network
    assert network.labels["topic"] == ("Energy", "Financials", "Shipping")
    after = network.classifier.heads["topic"].state_dict()
    for name, learned in before.items():
        assert torch.equal(after[name][: len(learned)], learned), name


def test_training_continues_from_a_model_and_keeps_its_other_languages(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "fr", make_rows(10), fit=replace(FAST, epochs=1))
    run(
        base,
        tmp_path / "both",
        make_rows(10),
        languages=("de",),
        join=tmp_path / "fr",
        fit=replace(FAST, epochs=1),
    )
    assert set(read_info(tmp_path / "both").languages) == {"fr", "de"}
    result = run(tmp_path / "both", tmp_path / "house", make_rows(30), name="house")
    assert [part.folder for part in result.info.parts] == ["fr", "de"]
    assert accuracies(tmp_path / "house", make_rows(30))["sentiment"] > 0.9
    other = [replace(row, labels=Row.of("", topic="Shipping").labels) for row in make_rows(2)]
    relabelled = run(tmp_path / "both", tmp_path / "relabelled", make_rows(30) + other)
    assert relabelled.info.labels["topic"] == ("Energy", "Financials", "Shipping")
    assert relabelled.info.languages == ("fr",)
    with pytest.raises(WeightsError, match="reads de, fr, not zz"):
        run(tmp_path / "both", tmp_path / "none", make_rows(30), languages=("zz",))


def test_equal_texts_are_on_the_same_side_of_the_split() -> None:
    data = [Row.of(f"{FILLERS[i % 40]} stands alone today", sentiment="neutral") for i in range(200)]
    training, validation = split_rows(data, 0.3, seed=1)
    assert len(training) + len(validation) == 200
    assert validation
    assert not {row.text for row in training} & {row.text for row in validation}


def test_layers_that_cost_more_than_the_allowed_loss_are_not_dropped(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "teacher", make_rows(35), fit=replace(FAST, epochs=16))
    student = artifact.load(tmp_path / "teacher").parts[0].network
    with torch.no_grad():
        student.classifier.heads["sentiment"].output.weight.zero_()
    options = TrainingOptions(
        base=str(tmp_path / "teacher"),
        out=tmp_path,
        languages=("fr",),
        layers=1,
        teachers=(tmp_path / "teacher",),
        fit=FAST,
    )
    with pytest.raises(WeightsError, match=r"keeping 1 layers costs .* points .* --max-loss"):
        check_against_base(options, student, make_rows(35), None)
    check_against_base(replace(options, max_loss=100), student, make_rows(35), None)
    # The layers are not those of the teacher.
    check_against_base(replace(options, base=str(base)), student, make_rows(35), None)


def test_quantisation_fails_if_it_changes_the_scores_too_much(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "pack", partial(quantisation.pack, large=64))
    monkeypatch.setattr(quantisation, "INT8_MAX", 0.4)
    with pytest.raises(WeightsError, match="int8 costs topic"):
        run(base, tmp_path, make_rows(35))


def test_an_error_names_the_base_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        train(TrainingOptions(base=str(tmp_path / "nowhere"), out=tmp_path), make_rows(10))


def test_a_task_without_labels_is_an_error(base: Path, tmp_path: Path) -> None:
    data = [
        Row.of(f"{a} {b} {c}", sentiment="neutral") for a, b, c in zip(*[iter(FILLERS)] * 3, strict=False)
    ]
    with pytest.raises(DataError, match="no row has a topic label"):
        train(TrainingOptions(base=str(base), out=tmp_path, languages=("fr",), holdout=0.2), data)


def with_events(data: Sequence[Row]) -> list[Row]:
    """The rows with an event for the word "falls" and another for "oil"; every fourth says nothing of them."""
    names = {"falls": "slump", "oil": "spill"}
    return [
        replace(row, events=None if i % 4 == 0 else tuple(names[word] for word in names if word in row.text))
        for i, row in enumerate(data)
    ]


def test_a_run_learns_the_events_that_rows_report_and_its_card_has_their_scores(
    base: Path, tmp_path: Path
) -> None:
    data = with_events(make_rows(35))
    result = run(base, tmp_path / "out", data, fit=replace(FAST, epochs=16))
    assert result.info.event_types == ("slump", "spill")
    assert result.part.event_scores["slump"]["f1"] > 0.9 and result.part.event_scores["slump"]["n"] > 5
    engine = load(tmp_path / "out")
    texts = ["bam ken oil falls fim gos", "bam ken bank flat fim gos", "bam ken bank falls fim gos"]
    found = [{event.type for event in one.events} for one in engine.classify(texts, ["fr"] * 3)]
    assert found == [{"slump", "spill"}, set(), {"slump"}]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| slump |" in card and "macro-F1" in card.split("Events,")[1]


def test_a_student_learns_events_from_a_teacher_over_texts_that_nobody_labelled(
    base: Path, tmp_path: Path
) -> None:
    data = with_events(make_rows(35))
    run(base, tmp_path / "teacher", data, fit=replace(FAST, epochs=16))
    unsaid = [replace(row, events=None) for row in make_rows(35)]
    few = random.Random(1).sample([row for row in data if row.events is not None], 130)
    texts = [Row(row.text) for row in make_rows(60)]
    run(
        base,
        tmp_path / "student",
        [*few, *unsaid, *texts],
        teachers=(tmp_path / "teacher",),
        fit=replace(FAST, epochs=16),
    )
    events = load(tmp_path / "student").classify(["bam ken bank falls fim gos"], ["fr"])[0].events
    assert [event.type for event in events] == ["slump"]


def test_a_finer_tuned_model_keeps_its_events_and_learns_new_ones(base: Path, tmp_path: Path) -> None:
    data = with_events(make_rows(35))
    run(base, tmp_path / "first", data, fit=replace(FAST, epochs=16))
    own = [replace(row, events=("calm",) if "flat" in row.text else ()) for row in make_rows(35)]
    renamed = [*own, *data]
    result = run(tmp_path / "first", tmp_path / "second", renamed, fit=replace(FAST, epochs=8))
    assert result.part.event_types == ("slump", "spill", "calm")
    few = run(tmp_path / "first", tmp_path / "third", [*own[:2], *make_rows(20)], fit=replace(FAST, epochs=1))
    first = read_info(tmp_path / "first").parts[0]
    assert few.part.event_thresholds == first.event_thresholds and not few.part.event_scores


def test_a_model_gives_the_embeddings_of_a_sentence_encoder_and_keeps_them_in_later_training(
    base: Path, tmp_path: Path
) -> None:
    rows = make_rows(30)
    texts = [row.text for row in rows]
    cpu = torch.device("cpu")
    expected = principal_components(sentence_embeddings(str(base), texts, cpu, None), EMBEDDING_SIZE)

    def answers(folder: Path) -> np.ndarray:
        (part,) = artifact.load(folder).parts
        head = part.network.classifier.embedding
        assert head is not None and part.info.embedding_size == head.size
        return network_embeddings(part.network, head, texts, cpu)

    run(base, tmp_path / "first", rows, embeddings=str(base))
    first = answers(tmp_path / "first")
    # The same similarities; the directions may be others.
    pairs = np.triu_indices(len(texts), 1)
    assert np.corrcoef((first @ first.T)[pairs], (expected @ expected.T)[pairs])[0, 1] > 0.5
    engine = load(tmp_path / "first")
    stored = [prediction.embedding for prediction in engine.classify(texts, ["fr"] * len(texts))]
    vectors = np.array([np.frombuffer(own.values, np.int8) for own in stored if own]) / 127
    assert {own.space for own in stored if own} == {f"{engine.version}/fr"}
    assert np.allclose(vectors, first, atol=0.01)
    # Own rows, and no sentence encoder at hand.
    fit = replace(FAST, epochs=3, learning_rate=1e-3)
    run(tmp_path / "first", tmp_path / "second", rows, fit=fit)
    assert (answers(tmp_path / "second") * first).sum(-1).mean() > 0.9
    run(base, tmp_path / "without", rows, fit=replace(FAST, epochs=1))
    assert artifact.load(tmp_path / "without").parts[0].network.classifier.embedding is None
