"""A trained classifier as a folder: everything that is needed to run it, and nothing else.

model.safetensors   weights: the encoder's matrices as int8 with one float scale a row,
                    everything else float32
config.json         the encoder's Hugging Face configuration
tokenizer.json      the tokenizer
model.json          name, version, label names, languages, longest input, checksum
README.md           the model card
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from models.classifier import Classifier
from models.errors import WeightsError

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
from transformers import AutoConfig, AutoModel

SCALE = ".scale"
INT8_MAX = 127


class ModelInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `model.json` holds."""

    name: str
    version: str
    labels: dict[str, tuple[str, ...]]
    languages: tuple[str, ...]
    max_tokens: int
    sha256: str


@dataclass(frozen=True)
class LoadedModel:
    classifier: Classifier
    tokenizer: Tokenizer
    info: ModelInfo
    pad_id: int


def save(
    folder: Path,
    classifier: Classifier,
    tokenizer: Tokenizer,
    *,
    name: str,
    labels: Mapping[str, tuple[str, ...]],
    languages: tuple[str, ...],
    max_tokens: int,
) -> ModelInfo:
    """Write the classifier to `folder` (made if absent); the version is its name and checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().float().cpu() for key, value in classifier.state_dict().items()}
    save_file(pack(state), folder / "model.safetensors")
    config: Any = classifier.encoder.config
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    digest = _sha256(folder / "model.safetensors")
    info = ModelInfo(name, f"{name}-{digest[:12]}", dict(labels), languages, max_tokens, digest)
    text = json.dumps(msgspec.to_builtins(info), indent=1, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    return info


def load(folder: Path) -> LoadedModel:
    """Read a folder that `save` wrote.  Raises WeightsError with what is wrong and what to do."""
    info = read_info(folder)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path} is missing: restore the folder or set models.weights to another")
    if _sha256(path) != info.sha256:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is not the one in model.json; "
            "restore the file (git checkout, or copy the folder again) or train anew"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        encoder = drop_pooler(AutoModel.from_config(config, trust_remote_code=False))
        classifier = Classifier(encoder, config.hidden_size, info.labels)
        classifier.load_state_dict(unpack(load_file(path)))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise WeightsError(f"{folder} cannot be loaded: {error}") from error
    except Exception as error:  # tokenizers raises plain Exception
        raise WeightsError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
    return LoadedModel(classifier.eval(), tokenizer, info, config.pad_token_id or 0)


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Encoder matrices [rows, columns] to int8 and a scale [rows]; all else stays as it is."""
    packed: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.ndim == 2 and key.startswith("encoder."):
            scale = value.abs().amax(dim=1).clamp(min=1e-12) / INT8_MAX
            packed[key] = (value / scale[:, None]).round().to(torch.int8)
            packed[key + SCALE] = scale
        else:
            packed[key] = value.contiguous()
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `pack`, in float32."""
    return {
        key: value.float() * packed[key + SCALE][:, None] if key + SCALE in packed else value
        for key, value in packed.items()
        if not key.endswith(SCALE)
    }


def drop_pooler(encoder: Any) -> Any:
    """Without the layer over the first token that some encoders bring: the heads pool themselves."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def quiet_libraries() -> None:
    """Hugging Face's own progress bars and notes off: the log is ours."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def read_info(folder: Path) -> ModelInfo:
    """What the folder says of itself, without the weights.  Raises WeightsError."""
    path = folder / "model.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelInfo)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} is missing: {folder} is not a trained classifier; "
            "`monitor train` writes one, or unset models.weights to use the shipped one"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
