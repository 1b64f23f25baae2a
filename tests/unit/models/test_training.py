"""Training on a tiny random encoder: fast, and yet the whole way from rows to a loaded engine."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from models.dataset import Row, read_rows
from models.engine import Engine
from models.errors import DataError, WeightsError
from models.evaluation import evaluate
from models.settings import ModelSettings
from models.training import TrainingOptions, split, train

WORDS = ["profit", "loss", "oil", "bank", "rises", "falls", "flat", "the", "http"]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer encoder with random weights and a dozen words, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(specials + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(specials + WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def rows(repeat: int) -> list[Row]:
    """Direction words carry the sentiment, subjects the topic; some rows have one label only."""
    made = []
    for subject, topic in (("oil", "Energy"), ("bank", "Financials")):
        for verb, mood in (("rises", "positive"), ("falls", "negative"), ("flat", "neutral")):
            for i in range(repeat):
                text = " ".join(["the"] * (i % 7) + [subject, verb] + ["the"] * (i // 7))
                labels = {"topic": topic, "sentiment": mood}
                made.append(Row(text, labels if i % 3 else {"sentiment": mood}))
    return made


@pytest.mark.parametrize("lora_rank", [0, 4], ids=["whole", "lora"])
def test_it_learns_what_the_rows_say_and_writes_what_the_engine_reads(
    base: Path, tmp_path: Path, lora_rank: int
) -> None:
    steps: list[tuple[int, int]] = []
    options = TrainingOptions(
        base=str(base), out=tmp_path / "out", epochs=16, learning_rate=5e-3, lora_rank=lora_rank,
        patience=8, holdout=0.2, dtype="float32", device="cpu",
    )  # fmt: skip
    result = train(options, rows(35), progress=lambda step, total, note: steps.append((step, total)))
    engine = Engine.load(ModelSettings(weights=tmp_path / "out", dtype="float32", device="cpu"))
    reports = {report.task: report for report in evaluate(engine, rows(35))}
    assert reports["sentiment"].accuracy > 0.95
    assert reports["topic"].accuracy > 0.95
    assert reports["topic"].n < reports["sentiment"].n
    assert steps[0][0] == 1 and steps[-1][0] <= steps[-1][1]
    assert result.info.version == engine.info.version
    assert engine.info.labels["topic"] == ("Energy", "Financials")
    assert result.info.version in (tmp_path / "out" / "README.md").read_text()


def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    versions = set()
    for name in ("a", "b"):
        options = TrainingOptions(
            base=str(base), out=tmp_path / name, epochs=1, holdout=0.2, dtype="float32", device="cpu"
        )
        versions.add(train(options, rows(10)).info.version)
    assert len(versions) == 1


def test_the_same_text_is_never_on_both_sides_of_the_split() -> None:
    data = [Row(f"text {i % 40}", {"sentiment": "neutral"}) for i in range(200)]
    kept, held = split(data, 0.3, seed=1)
    assert len(kept) + len(held) == 200
    assert held and not {row.text for row in kept} & {row.text for row in held}


def test_a_base_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        train(TrainingOptions(base=str(tmp_path / "nowhere"), out=tmp_path), rows(10))


def test_a_task_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has a topic label"):
        train(TrainingOptions(base="x", out=tmp_path), [Row("a", {"sentiment": "neutral"})] * 9)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_rows_come_from_json_lines_and_csv_with_mapped_columns(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.jsonl",
        {"title": "Up", "text": "a lot", "mood": "positive"},
        "",
        {"text": "x", "topic": "IPO"},
    )
    second = write(tmp_path / "b.csv", "text,mood", '"one, two",negative')
    found = read_rows([first, second], {"sentiment": "mood"})
    assert found == [
        Row("Up\na lot", {"sentiment": "positive"}),
        Row("x", {"topic": "IPO"}),
        Row("one, two", {"sentiment": "negative"}),
    ]


def test_entities_count_where_they_agree(tmp_path: Path) -> None:
    file = write(
        tmp_path / "e.jsonl",
        {"text": "both up", "entities": {"A": "positive", "B": "positive"}},
        {"text": "mixed", "entities": {"A": "positive", "B": "negative"}},
    )
    assert read_rows([file]) == [Row("both up", {"sentiment": "positive"})]


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
