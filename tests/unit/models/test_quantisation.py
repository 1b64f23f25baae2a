"""Weights in 4 bits: what is stored, what it costs, and when it is refused."""

from pathlib import Path

import pytest
import torch

from models.data.augmentation_sets import generated_sentences
from models.data.dataset import Row
from models.errors import WeightsError
from models.network import artifact, quantisation
from models.network.info import read_info
from models.network.quantisation import GROUP, LARGE, SCALE, pack, unpack
from models.settings import SHIPPED_WEIGHTS
from models.training.moments import input_moments
from models.training.release import compress

LAYER = "encoder.encoder.layer.0.intermediate.dense.weight"
WORDS = "encoder.embeddings.word_embeddings.weight"


def random_matrix(rows: int, columns: int) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(rows, columns) * torch.logspace(-3, 3, rows)[:, None]


def test_matrices_of_layers_and_word_vectors_take_4_and_a_half_bits_a_weight() -> None:
    matrix = random_matrix(512, 128)
    for key in (LAYER, WORDS):
        packed = pack({key: matrix}, bits=4)
        assert packed[key].dtype is torch.uint8 and packed[key + SCALE].dtype is torch.float16
        assert 8 * sum(value.nbytes for value in packed.values()) == 4.5 * matrix.numel()
        restored = unpack(packed)[key]
        error = (restored - matrix).square().mean(1).sqrt() / matrix.square().mean(1).sqrt()
        assert error.max() < 0.12 and error.mean() < 0.09


@pytest.mark.parametrize(
    ("key", "shape"),
    [("heads.topic.pooling.key.weight", (512, 128)), (LAYER, (1024, GROUP * 2 + 8))],
    ids=["a matrix of a head", "a matrix whose columns are no whole groups"],
)
def test_other_matrices_stay_in_8_bits(key: str, shape: tuple[int, int]) -> None:
    packed = pack({key: random_matrix(*shape)}, bits=4)
    assert packed[key].dtype is torch.int8 and packed[key + SCALE].shape == shape[:1]


def test_groups_of_zeros_and_values_that_are_not_finite_stay_what_they_are() -> None:
    matrix = random_matrix(512, 128)
    matrix[0], matrix[1, 40] = 0, torch.nan
    restored = unpack(pack({LAYER: matrix}, bits=4))[LAYER]
    assert not restored[0].any()
    assert restored[1, GROUP : 2 * GROUP].isnan().all(), "a damaged group must not look intact"
    assert restored.isnan().sum() == GROUP


def test_with_what_it_is_multiplied_with_a_matrix_is_rounded_so_that_its_products_change_less() -> None:
    torch.manual_seed(4)
    matrix = torch.randn(512, 128)
    inputs = torch.randn(2000, 32) @ torch.randn(32, 128) + torch.randn(2000, 128)
    errors = []
    for moments in ({}, {LAYER: inputs.T @ inputs}):
        restored = unpack(pack({LAYER: matrix}, bits=4, moments=moments))[LAYER]
        errors.append((inputs @ (restored - matrix).T).square().mean().sqrt())
    assert errors[1] < 0.6 * errors[0]


def test_moments_are_of_the_inputs_of_every_matrix_of_the_layers() -> None:
    part = artifact.load(SHIPPED_WEIGHTS).parts[0]
    moments = input_moments(part.network, "en")
    weights = part.network.classifier.state_dict()
    large = {key for key, value in weights.items() if value.ndim == 2 and value.numel() >= LARGE}
    assert {key for key in large if key.startswith("encoder.encoder.layer.")} <= moments.keys()
    for key, own in moments.items():
        assert own.shape == (weights[key].shape[1],) * 2
        assert own.diagonal().min() >= 0 and torch.allclose(own, own.T, rtol=1e-3)


def test_a_language_without_written_sentences_has_no_moments() -> None:
    assert input_moments(artifact.load(SHIPPED_WEIGHTS).parts[0].network, "fr") == {}


def test_small_tensors_are_stored_as_they_are() -> None:
    state = {LAYER: torch.randn(4, LARGE // 8), "encoder.embeddings.LayerNorm.weight": torch.randn(30)}
    restored = unpack(pack(state, bits=4))
    assert all(torch.equal(restored[key], state[key]) for key in state)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [Row.of(text, **labels) for text, labels, *_ in generated_sentences("en", 100, seed=3)]


@pytest.fixture(scope="module")
def compressed(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compressed") / "model"
    compress(SHIPPED_WEIGHTS, out, "en", rows)
    return out


def test_a_compressed_model_is_smaller_loads_and_leaves_other_parts_alone(compressed: Path) -> None:
    before, after = read_info(SHIPPED_WEIGHTS), read_info(compressed)
    assert after.version != before.version
    assert after.parts[1] == before.parts[1]
    sizes = [(folder / "en" / artifact.WEIGHTS).stat().st_size for folder in (SHIPPED_WEIGHTS, compressed)]
    assert sizes[1] < 0.6 * sizes[0]
    assert [part.info.folder for part in artifact.load(compressed).parts] == ["en", "zh"]


def test_4_bits_that_cost_too_much_are_refused_and_leave_nothing(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantisation, "STEPS", (40.0,))
    with pytest.raises(WeightsError, match=r"int4 costs \w+ [\d.]+ points of macro-F1, more than 0.3"):
        compress(SHIPPED_WEIGHTS, tmp_path / "out", "en", rows)
    assert not (tmp_path / "out").exists()


def test_a_language_that_the_model_does_not_read_and_a_folder_that_exists_are_errors(
    rows: list[Row], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="reads en, zh, not fr"):
        compress(SHIPPED_WEIGHTS, tmp_path / "out", "fr", rows)
    with pytest.raises(WeightsError, match="is there already"):
        compress(SHIPPED_WEIGHTS, tmp_path, "en", rows)
    with pytest.raises(WeightsError, match="no row has labels that"):
        compress(SHIPPED_WEIGHTS, tmp_path / "out", "en", [Row.of("Profit rises", topic="No such topic")])
