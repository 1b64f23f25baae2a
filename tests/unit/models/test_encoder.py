"""The encoder in plain torch gives the vectors of transformers, and the monitor starts without that package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel, RobertaConfig, RobertaModel

from models.errors import WeightsError
from models.network import artifact
from models.network.classifier import AttentionClassifier, Inputs
from models.network.encoder import BertLikeEncoder
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS


def ours(encoder: Any, folder: Path) -> Any:
    """The same weights in our encoder."""
    encoder.config.save_pretrained(folder)
    own = BertLikeEncoder.from_folder(folder)
    assert own is not None
    own.load_state_dict(artifact.drop_pooler(encoder).state_dict(), assign=True)
    return own.eval()


EACH_ARCHITECTURE = pytest.mark.parametrize(
    ("model", "config"),
    [(BertModel, BertConfig), (RobertaModel, RobertaConfig), (MPNetModel, MPNetConfig)],
    ids=["BERT", "RoBERTa", "MPNet"],
)


def random_encoder(model: Any, config: Any, positions: int = 400) -> Any:
    torch.manual_seed(3)
    encoder = model(
        config(
            vocab_size=90, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
            max_position_embeddings=positions, pad_token_id=1,
        )
    ).eval()  # fmt: skip
    for name, weight in encoder.named_parameters():
        # Large enough that attention is not uniform and every bias counts.
        if weight.ndim == 1 or "attention" in name:
            torch.nn.init.normal_(weight, mean=float("LayerNorm.weight" in name), std=0.3)
    return encoder


@EACH_ARCHITECTURE
@pytest.mark.parametrize("tokens", [1, 20, 300])
def test_the_vectors_are_those_of_transformers(model: Any, config: Any, tokens: int, tmp_path: Path) -> None:
    # In float64 the two orders of rounding do not matter.
    encoder = random_encoder(model, config).double()
    ids = torch.randint(5, 89, (3, tokens))
    attend = torch.ones_like(ids)
    shorter = tokens * 3 // 5 + 1
    ids[1, shorter:], attend[1, shorter:] = 1, 0
    own = ours(encoder, tmp_path)
    with torch.inference_mode():
        expected = encoder(input_ids=ids, attention_mask=attend).last_hidden_state
        for inputs in ({"input_ids": ids}, {"inputs_embeds": encoder.get_input_embeddings()(ids)}):
            actual = own(**inputs, attention_mask=attend).last_hidden_state
            assert torch.allclose(actual[attend.bool()], expected[attend.bool()], atol=1e-9)
        assert torch.equal(own.get_input_embeddings()(ids), encoder.get_input_embeddings()(ids))


@pytest.mark.parametrize(
    "changed",
    [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}, {"is_decoder": True},
     {"model_type": "distilbert"}],
)  # fmt: skip
def test_other_architectures_are_left_to_transformers(changed: dict[str, Any], tmp_path: Path) -> None:
    config = json.loads((SHIPPED_WEIGHTS / "en" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changed))
    assert BertLikeEncoder.from_folder(tmp_path) is None


def test_a_part_with_another_activation_is_loaded_with_transformers(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))
    path = folder / "en" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "gelu_new"}))
    names = [type(part.network.classifier.encoder).__name__ for part in artifact.load(folder).parts]
    assert names == ["BertModel", "BertLikeEncoder"]


@pytest.mark.parametrize("content", ["[]", "{", '{"model_type": "bert"}', ""])
def test_the_error_for_a_config_that_cannot_be_used_names_its_folder(content: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))
    (folder / "zh" / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"zh cannot be loaded"):
        artifact.load(folder)


def test_training_gets_the_encoder_of_transformers() -> None:
    info = read_info(SHIPPED_WEIGHTS)
    own, other = (
        artifact.load_part(SHIPPED_WEIGHTS, info.parts[0], info.labels, hugging_face).network.classifier
        for hugging_face in (False, True)
    )
    assert type(own.encoder).__name__ == "BertLikeEncoder"
    assert type(other.encoder).__name__ == "BertModel"
    assert own.state_dict().keys() == other.state_dict().keys()


# Packages that take seconds and hundreds of megabytes to import, and that running needs not.
UNUSED = ("transformers", "torch._dynamo", "torch._inductor", "sympy", "torch.distributed.tensor", "scipy")


@pytest.mark.parametrize("backend", ["packed", "torch", "int8"])
def test_running_the_shipped_model_imports_no_large_packages(backend: str) -> None:
    script = f"""
import sys
from models.errors import ModelError
from models.inference.engine import Engine
from models.settings import ModelSettings
try:
    print(Engine.load(ModelSettings(backend={backend!r})).classify(["Shares plunge"])[0].sentiment)
except ModelError as error:
    print("negative" if "no C++" in str(error) else error)
print([name for name in {UNUSED!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["negative", "[]"]


@EACH_ARCHITECTURE
def test_a_trained_part_gives_the_same_output_in_our_encoder_and_in_that_of_transformers(
    model: Any, config: Any, tmp_path: Path
) -> None:
    info = read_info(SHIPPED_WEIGHTS)
    classifier = AttentionClassifier(artifact.drop_pooler(random_encoder(model, config)), 48, info.labels)
    tokenizer = Tokenizer.from_file(str(SHIPPED_WEIGHTS / "en" / "tokenizer.json"))
    part = artifact.save_part(
        tmp_path / "en", classifier, tokenizer, languages=("en",), max_tokens=128, pooling="additive"
    )
    own, other = (
        artifact.load_part(tmp_path, part, info.labels, hugging_face).network.classifier
        for hugging_face in (False, True)
    )
    assert type(own.encoder).__name__ == "BertLikeEncoder"
    assert type(other.encoder) is model
    ids = torch.randint(5, 89, (2, 30))
    inputs = Inputs(ids, torch.ones_like(ids), torch.ones_like(ids).bool())
    with torch.inference_mode():
        for (logits, _), (expected, _) in zip(own(inputs).values(), other(inputs).values(), strict=True):
            assert torch.allclose(logits, expected, atol=1e-5)
    # What was loaded either way can be saved again.
    assert own.state_dict().keys() == other.state_dict().keys() == classifier.state_dict().keys()
