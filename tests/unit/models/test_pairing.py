"""Which texts a small model leaves to a larger one: found on streams, within a share of each."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models import loading
from models.data.augmentation_sets import generated_sentences
from models.data.dataset import Row
from models.errors import DataError, WeightsError
from models.inference import routing
from models.inference.second_opinion import SecondOpinion
from models.network.info import Routing, read_info
from models.plan import Plan
from models.settings import ModelSettings
from models.training import pairing
from models.training.pairing import FEATURES, fit_weights, pair, threshold_for
from monitor.cli.main import main
from tests.unit.models.test_second_opinion import copy_model


def test_the_weights_find_what_makes_two_models_disagree() -> None:
    rng = np.random.default_rng(1)
    features = rng.random((4000, len(FEATURES)))
    cues = features[:, 2:] > 0.7
    features[:, 2:] = cues
    is_unreal = features[:, FEATURES.index("unreal")]
    chance = 1 / (1 + np.exp(3.5 - 4 * features[:, FEATURES.index("sentiment")] - 2 * is_unreal))
    weights = dict(zip(FEATURES, fit_weights(features, (rng.random(4000) < chance) * 1.0), strict=True))
    assert weights["sentiment"] == 1
    assert weights["unreal"] == pytest.approx(0.5, abs=0.1)
    assert all(value < 0.12 for name, value in weights.items() if name not in ("sentiment", "unreal"))
    assert min(weights.values()) >= 0


def test_without_any_disagreement_the_usual_weights_are_taken() -> None:
    weights = fit_weights(np.zeros((100, len(FEATURES))), np.zeros(100))
    assert dict(zip(FEATURES, weights, strict=True))["sentiment"] == routing.DEFAULT.weights["sentiment"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.18, 0.5])
def test_at_most_the_share_reaches_the_threshold_even_if_many_doubts_are_equal(share: float) -> None:
    for doubts in (np.arange(1000) / 700, np.full(1000, 0.25), np.repeat([0.1, 0.9], 500), np.zeros(1000)):
        threshold = threshold_for(doubts, share)
        assert (doubts >= threshold).mean() <= share
    assert (np.arange(1000) / 700 >= threshold_for(np.arange(1000) / 700, share)).mean() == pytest.approx(
        share
    )


@pytest.fixture
def texts() -> list[str]:
    return [sentence.text for sentence in generated_sentences("en", 400, seed=3)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "FEWEST", 50)
    monkeypatch.setattr(pairing, "FEWEST_CALIBRATION_ROWS", 20)


@pytest.mark.usefixtures("few")
def test_a_pair_reads_at_most_the_share_of_each_stream_twice(tmp_path: Path, texts: list[str]) -> None:
    small = copy_model(tmp_path / "small", "small", languages=("en",))
    large = copy_model(tmp_path / "large", "large", contrary=True)
    before = read_info(small)
    labelled = [Row.of(one.text, **one.labels) for one in generated_sentences("en", 150, seed=4)]
    streams = {"a.jsonl": texts[:200], "b.jsonl": [text.upper() for text in texts[200:]]}
    info = pair(small, large, streams, labelled, share=0.2)
    assert info == read_info(small)
    assert info.version == before.version
    (part,) = info.parts
    assert isinstance(part.routing, Routing)
    assert part.routing.second == read_info(large).version
    assert all(0 < value <= 0.2 for value in part.routing.share.values())
    assert set(part.routing.temperature) == {"topic", "sentiment"}
    settings = ModelSettings(weights=small, second_opinion=Path(f"auto:{large}"), device="cpu")
    both = loading.load(settings)
    assert isinstance(both, SecondOpinion)
    for name, stream in streams.items():
        predictions = both.classify(stream)
        judged = [one.judged_by == part.routing.second for one in predictions]
        assert np.mean(judged) == pytest.approx(part.routing.share[name], abs=0.02)
    assert Plan.of(ModelSettings(weights=small, second_opinion=large)).mode is None


@pytest.mark.usefixtures("few")
def test_the_command_pairs_two_folders_and_says_the_shares(tmp_path: Path, texts: list[str]) -> None:
    small = copy_model(tmp_path / "small", "small", languages=("en",))
    large = copy_model(tmp_path / "large", "large", contrary=True)
    stream = tmp_path / "stream.txt"
    stream.write_text("\n".join(texts[:100]), encoding="utf-8")
    words = ["models", "pair", str(small), "--second", str(large), "--stream", str(stream)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "% of stream.txt" in done.stdout
    assert read_info(small).parts[0].routing is not None


def test_a_stream_with_too_few_texts_in_a_language_is_an_error(tmp_path: Path) -> None:
    small, large = copy_model(tmp_path / "small", "small"), copy_model(tmp_path / "large", "large")
    with pytest.raises(DataError, match="different texts in en"):
        pair(small, large, {"a": ["Shares fall"] * 500})
    assert read_info(small).parts[0].routing is None


def test_models_with_other_labels_are_no_pair(tmp_path: Path) -> None:
    small, large = copy_model(tmp_path / "small", "small"), copy_model(tmp_path / "large", "large")
    text = (large / "model.json").read_text(encoding="utf-8")
    (large / "model.json").write_text(text.replace('"Earnings"', '"Profits"'), encoding="utf-8")
    with pytest.raises(WeightsError):
        pair(small, large, {"a": ["Shares fall"] * 500})
