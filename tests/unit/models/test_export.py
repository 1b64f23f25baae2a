"""Exported encoders give the same predictions as PyTorch."""

from pathlib import Path

import pytest

from models.errors import WeightsError
from models.inference.engine import Engine
from models.inference.explain import explain
from models.network import artifact
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings
from models.training import export as exporting

pytest.importorskip("onnxruntime")

TEXTS = [
    "Alderbrook Foods shares plunge 20% after profit warning",
    "Brightmoor Energy posts record profit and raises its outlook",
    "公司业绩爆雷，股价一字跌停",
    "The meeting was held. " * 60,
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with its encoders as ONNX beside the weights."""
    import shutil

    folder = tmp_path_factory.mktemp("export") / "model"
    shutil.copytree(SHIPPED_WEIGHTS, folder)
    paths = exporting.export(folder)
    assert [path.parent.name for path in paths] == [p.folder for p in read_info(folder).parts]
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_each_runtime_gives_the_same_labels_as_pytorch(exported: Path, backend: str) -> None:
    pytest.importorskip(backend)
    pytorch = Engine.load(ModelSettings(weights=exported, dtype="float32", device="cpu"))
    other = Engine.load(ModelSettings(weights=exported, backend=backend))  # type: ignore[arg-type]
    for expected, actual in zip(pytorch.classify(TEXTS), other.classify(TEXTS), strict=True):
        assert (actual.topic, actual.sentiment, actual.windows) == (
            expected.topic,
            expected.sentiment,
            expected.windows,
        )
        assert expected.score == pytest.approx(actual.score, abs=0.01)
    text = "Brightmoor soars on record profit while Alderbrook plunges"
    for expected, actual in zip(
        *(e.classify_targets(text, [(0, 10), (39, 49)]) for e in (pytorch, other)), strict=True
    ):
        assert expected.sentiment == actual.sentiment is not None
        assert expected.score == pytest.approx(actual.score, abs=0.01)
    assert explain(other, TEXTS[0], method="gradient").words, "gradients are computed by PyTorch"


@pytest.mark.filterwarnings("ignore")
def test_an_export_with_other_token_vectors_is_an_error(exported: Path, tmp_path: Path) -> None:
    part = artifact.load(exported).parts[0]
    path = tmp_path / "encoder.onnx"
    path.write_bytes((exported / part.info.folder / "encoder.onnx").read_bytes())
    part.network.classifier.encoder.get_input_embeddings().weight.data.neg_()  # type: ignore[operator,union-attr]
    with pytest.raises(WeightsError, match="the exported encoder is off by"):
        exporting.check_export(part, path)


def test_the_error_for_a_missing_export_names_the_export_command() -> None:
    with pytest.raises(WeightsError, match="monitor models export"):
        Engine.load(ModelSettings(backend="onnxruntime"))
