"""The head for targets is trained alone, on the encoder of a model that stays as it is."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from models.data.dataset import Label, Row, Target
from models.errors import DataError, WeightsError
from models.inference.engine import Engine
from models.inference.tokenize import CleanInput
from models.network import artifact
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from models.training.features import compute_features
from models.training.only_heads import train_heads
from models.training.options import FitOptions, TrainingOptions
from monitor.cli.main import main

NAMES = (
    "星海股份", "北陆石化", "明曜光电", "东港银行", "云岭药业", "长汀集团", "启明汽车", "南浦能源", "白鹭航空",
    "金穗农业", "远帆物流", "恒岳建材", "翠湖地产", "锦程软件",
)  # fmt: skip
MOODS = {
    "positive": ("股价大涨，创历史新高", "净利润翻倍", "中标重大项目", "获机构大举买入"),
    "negative": ("股价暴跌，创历史新低", "净利润腰斩", "被立案调查", "遭机构大举抛售"),
}
UP, DOWN = (Label((name,)) for name in MOODS)
FIT = FitOptions(epochs=12, batch_size=16, learning_rate=3e-3, averaging=0.9, patience=12, device="cpu")


def pair(first: str, good: str, second: str, bad: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    text = f"{first}{good}；{second}{bad}"
    at = len(first) + len(good) + 1
    return text, ((0, len(first)), (at, at + len(second)))


def rows(names: Sequence[str] = NAMES[:9]) -> list[Row]:
    """Texts that name two companies; one of them is doing well."""
    result = []
    for i, first in enumerate(names):
        for shift in range(1, len(names)):
            good, bad = (MOODS[mood][(i + shift) % 4] for mood in MOODS)
            second = names[(i + shift) % len(names)]
            text, (one, two) = pair(first, good, second, bad)
            result.append(Row(text, {}, (Target((one,), UP), Target((two,), DOWN)), source="pairs"))
            text, (one, two) = pair(first, bad, second, good)
            result.append(Row(text, {}, (Target((one,), DOWN), Target((two,), UP)), source="pairs"))
    return result


def held_out() -> list[Row]:
    return rows(NAMES[9:])


def options(out: Path, **changes: Any) -> TrainingOptions:
    return replace(TrainingOptions(out=out, languages=("zh",), only_heads="targets", fit=FIT), **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    result = train_heads(options(out), rows(), held_out())
    assert result.part.scores["target"]["accuracy"] > 0.7
    return out


def test_a_head_trained_alone_answers_for_names_it_has_not_seen(trained: Path) -> None:
    engine = Engine.load(ModelSettings(weights=trained, remembered_texts=0))
    assert engine.info.target_sentiment_error("zh") is None
    texts = [row.text for row in held_out()]
    targets = [[target.places for target in row.targets] for row in held_out()]
    predictions = engine.classify(texts, ["zh"] * len(texts), targets)
    answers = [answer.sentiment for prediction in predictions for answer in prediction.targets]
    labels = [target.label.only for row in held_out() for target in row.targets]
    assert sum(map(str.__eq__, map(str, answers), map(str, labels))) > 0.7 * len(labels)


def test_everything_but_the_head_stays_as_it_is(trained: Path) -> None:
    before, after = (load_file(folder / "zh" / artifact.WEIGHTS) for folder in (SHIPPED_WEIGHTS, trained))
    for key, value in before.items():
        if not key.startswith("target."):
            assert torch.equal(value, after[key]), key
    assert {key for key in after if key not in before} <= {key for key in after if key.startswith("target.")}
    old, new = read_info(SHIPPED_WEIGHTS), read_info(trained)
    assert new.version != old.version and new.part_of("en") == old.part_of("en")
    old_zh, new_zh = old.part_of("zh"), new.part_of("zh")
    assert old_zh and new_zh and new_zh.target_head == "distance"
    assert new_zh.canaries == old_zh.canaries and new_zh.reference == old_zh.reference
    assert new_zh.temperature | old_zh.temperature == new_zh.temperature and "target" in new_zh.temperature
    text = "星海股份净利润大增，创历史新高"
    probabilities = [
        Engine.load(ModelSettings(weights=folder)).classify([text])[0].probabilities
        for folder in (SHIPPED_WEIGHTS, trained)
    ]
    assert probabilities[0] == probabilities[1]


def test_the_card_says_which_head_is_new_and_keeps_the_rest(trained: Path) -> None:
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {read_info(trained).version}\n")
    assert read_info(SHIPPED_WEIGHTS).version in card and "| pairs | " in card and "| target | " in card
    assert "## How good it is" in card, "that of the model it is from"


def test_training_goes_on_with_a_head_that_was_trained(trained: Path, tmp_path: Path) -> None:
    fit = replace(FIT, epochs=1, learning_rate=1e-6)
    result = train_heads(options(tmp_path / "more", base=str(trained), fit=fit), rows(), held_out())
    # So slow a run learns nothing of its own: what it scores is what it began with.
    before = read_info(trained).part_of("zh")
    assert before and result.best.score == pytest.approx(before.scores["target"]["macro_f1"], abs=0.05)


def test_targets_that_are_never_positive_do_not_make_a_model_answer(tmp_path: Path) -> None:
    not_negative = Label(("neutral", "positive"))
    weak = [
        replace(
            row,
            targets=tuple(Target(t.places, DOWN if t.label == DOWN else not_negative) for t in row.targets),
        )
        for row in rows()
    ]
    result = train_heads(options(tmp_path / "out", fit=replace(FIT, epochs=1)), weak, held_out())
    assert result.info.target_sentiment_error("zh")
    assert "No sentiment towards names" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_trained_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has targets: give rows with `entities` or `targets`"):
        train_heads(options(tmp_path / "a"), [Row.of("利润大增", sentiment="positive")])
    with pytest.raises(WeightsError, match="is no trained model: --only-heads needs one"):
        train_heads(options(tmp_path / "a", base=str(tmp_path / "bare")), rows())
    with pytest.raises(WeightsError, match="reads en, zh, not fr"):
        train_heads(options(tmp_path / "a", languages=("fr",)), rows())
    assert not (tmp_path / "a").exists()


def test_features_are_the_vectors_that_inference_computes_for_short_and_long_texts() -> None:
    texts = [
        "Brightmoor soars.",
        "Brightmoor soars. " + "The meeting was held. " * 60 + "Alderbrook falls.",
        "x",
    ]
    part = read_info(SHIPPED_WEIGHTS).part_of("en")
    assert part is not None
    features = compute_features(SHIPPED_WEIGHTS, part, texts, "cpu")
    engine = Engine.load(ModelSettings(backend="torch", dtype="float32", device="cpu"))
    tokenized = engine.tokenizer.tokenize([CleanInput(text, "en") for text in texts]).texts
    assert [features.tokens(i) for i in range(3)] == [text.tokens for text in tokenized]
    assert len(tokenized[1].windows) > 1
    hidden = features.hidden([2, 1], torch.device("cpu"))
    assert hidden.words.sum(1).tolist() == [1, features.tokens(1) - 2 * len(tokenized[1].windows)]
    for batch, exact in engine.forward.hidden(tokenized):
        for row, text in enumerate(batch):
            own = features.hidden([text.index], torch.device("cpu")).vectors[0]
            width = len(text.windows[0])
            expected = exact.of_texts(torch.tensor([row]), width)[0]
            torch.testing.assert_close(own[:width], expected, atol=0.3, rtol=0.1)
    span = features.span(1, [(0, 10), (texts[1].index("Alderbrook"), len(texts[1]) - 7)])
    places = features.places[features.starts[1] : features.starts[2]][span]
    assert "".join(texts[1][start:end] for start, end in places) == "BrightmoorAlderbrook"


def write(file: Path, rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        places = [(*target.places[0], target.label.only) for target in row.targets]
        targets = [dict(zip(("start", "end", "sentiment"), place, strict=True)) for place in places]
        lines.append(json.dumps({"text": row.text, "targets": targets}))
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def test_the_command_trains_the_head_and_refuses_options_of_whole_networks(tmp_path: Path) -> None:
    files = [write(tmp_path / "rows.jsonl", rows()), write(tmp_path / "valid.jsonl", held_out())]
    command = [
        "train",
        "--only-heads",
        "targets",
        "--language",
        "zh",
        "--train",
        files[0],
        "--valid",
        files[1],
    ]
    out = tmp_path / "out"
    refused = CliRunner().invoke(main, [*command, "--out", str(out), "--layers", "2"])
    assert refused.exit_code == 2 and "--layers does not go with --only-heads" in refused.output
    done = CliRunner().invoke(main, [*command, "--out", str(out), "--epochs", "2", "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["version"] == read_info(out).version and len(printed["runs"]["seed 1"]["curve"]) == 2
    assert printed["scores"]["target"]["n"] > 0
