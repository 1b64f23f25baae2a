"""The encoder on other runtimes says what it says in torch."""

from pathlib import Path

import pytest

from models.errors import WeightsError
from models.inference.engine import Engine
from models.inference.explain import explain
from models.network import artifact
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
    written = exporting.export(folder)
    assert [path.parent.name for path in written] == [p.folder for p in artifact.read_info(folder).parts]
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_runtime_gives_the_same_answers(exported: Path, backend: str) -> None:
    pytest.importorskip(backend)
    plain = Engine.load(ModelSettings(weights=exported, dtype="float32", device="cpu"))
    other = Engine.load(ModelSettings(weights=exported, backend=backend))  # type: ignore[arg-type]
    for here, there in zip(plain.classify(TEXTS), other.classify(TEXTS), strict=True):
        assert (here.topic, here.sentiment, here.windows) == (there.topic, there.sentiment, there.windows)
        assert here.score == pytest.approx(there.score, abs=0.01)
    assert explain(other, TEXTS[0], method="gradient").words, "gradients are the network's own"


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_answers_differently_is_removed(exported: Path, tmp_path: Path) -> None:
    part = artifact.load(exported).parts[0]
    path = tmp_path / "encoder.onnx"
    path.write_bytes((exported / part.info.folder / "encoder.onnx").read_bytes())
    with pytest.raises(WeightsError, match="the exported encoder is off by"):
        broken = artifact.load(exported).parts[0]
        broken.classifier.encoder.get_input_embeddings().weight.data.neg_()  # type: ignore[operator,union-attr]
        exporting.check_export(broken, path)


def test_a_backend_without_an_export_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match="monitor models export"):
        Engine.load(ModelSettings(backend="onnxruntime"))
