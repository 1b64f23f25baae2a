"""A trained classifier as a folder with everything that is needed to run it.

model.json               name, version and label names; for each part its languages, longest input, checksum,
                         calibration and canaries
README.md                the model card
<part>/                  one encoder and its heads, for one language or several:
    model.safetensors    matrices in 8 or 4 bits, everything else float32: see models/network/quantisation.py
    config.json          the encoder's Hugging Face configuration
    tokenizer.json       the tokenizer
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
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.errors import WeightsError
from models.network.classifier import AttentionClassifier
from models.network.encoder import BertLikeEncoder, without_values
from models.network.info import ModelInfo, PartInfo, read_info
from models.network.network import Network
from models.network.quantisation import Bits, Moments, pack, unpack

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Part:
    """A loaded part of a model: its entry in `model.json` and its network."""

    info: PartInfo
    network: Network


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory: what `model.json` holds, and its parts in the same order."""

    info: ModelInfo
    parts: tuple[Part, ...]


def save_part(
    folder: Path,
    classifier: AttentionClassifier,
    tokenizer: Tokenizer,
    *,
    languages: tuple[str, ...],
    max_tokens: int,
    pooling: str,
    event_thresholds: Mapping[str, float] | None = None,
    bits: Bits = 8,
    moments: Moments | None = None,
) -> PartInfo:
    """Write one encoder and its heads to `folder`, a subfolder of the model's, in so many `bits`.

    `moments` are of what the encoder's matrices are multiplied with; 4 bits cost less with them.

    `event_thresholds` (type to probability) name the outputs of the head for events, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().float().cpu() for key, value in classifier.state_dict().items()}
    save_file(pack(state, bits=bits, moments=moments), folder / WEIGHTS)
    config: Any = classifier.encoder.config
    config.save_pretrained(folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    digest = _sha256(folder / WEIGHTS)
    thresholds = dict(event_thresholds or {})
    return PartInfo(
        folder.name,
        languages,
        max_tokens,
        pooling,
        digest,
        target_head=classifier.target.kind,
        event_thresholds=thresholds,
        embedding_size=classifier.embedding.size if classifier.embedding else 0,
    )


def replace_head(folder: Path, part: PartInfo, name: str, head: nn.Module) -> PartInfo:
    """Write one head, by its name in the classifier, to the stored part of the model in `folder`.

    Everything else stays as it is, to the byte.  Returns the part with its new checksum.
    """
    path = folder / part.folder / WEIGHTS
    state = {f"{name}.{key}": value.detach().float().cpu() for key, value in head.state_dict().items()}
    kept = {key: value for key, value in load_file(path).items() if not key.startswith(f"{name}.")}
    _replace_weights(path, kept | pack(state))
    return msgspec.structs.replace(part, sha256=_sha256(path))


def compress_part(folder: Path, part: PartInfo, moments: Moments) -> PartInfo:
    """Store a part of the model in `folder` with the encoder's matrices in 4 bits; returns its new entry.

    `moments` are of what these matrices are multiplied with.
    """
    path = folder / part.folder / WEIGHTS
    _replace_weights(path, pack(unpack(load_file(path)), bits=4, moments=moments))
    return msgspec.structs.replace(part, sha256=_sha256(path))


def _replace_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a new file in the place of one that some of the `weights` may still be mapped from."""
    unfinished = path.with_suffix(".part")
    save_file(weights, unfinished)
    unfinished.replace(path)


def save_info(folder: Path, info: ModelInfo) -> ModelInfo:
    """Write model.json; the version is the name and a checksum over the parts and their calibration."""
    digested = [
        (part.languages, part.sha256, part.temperature, part.certain_from)
        # A model without events keeps the version that it always had.
        + ((part.event_thresholds,) if part.event_thresholds else ())
        + ((part.news_head,) if part.news_head else ())
        for part in info.parts
    ]
    digest = hashlib.sha256(msgspec.json.encode(digested, order="sorted")).hexdigest()
    version = f"{info.name}-{digest[:12]}"
    info = msgspec.structs.replace(info, version=version)
    write_info(folder, info)
    return info


def write_info(folder: Path, info: ModelInfo) -> None:
    """Write model.json as it is, with the version that it has."""
    text = json.dumps(msgspec.to_builtins(info), indent=1, ensure_ascii=False)
    (folder / "model.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path, hugging_face: bool = False) -> LoadedModel:
    """Read a folder that training wrote.  Raises WeightsError with what is wrong and what to do.

    With `hugging_face` the encoders are classes of transformers, for training and comparison; otherwise only
    those are that BertLikeEncoder does not compute.
    """
    info = read_info(folder)
    return LoadedModel(info, tuple(load_part(folder, part, info.labels, hugging_face) for part in info.parts))


def load_part(
    folder: Path, part: PartInfo, labels: Mapping[str, tuple[str, ...]], hugging_face: bool = False
) -> Part:
    """Read one part of the model in `folder`, as `load` does.  Raises WeightsError."""
    part_folder = folder / part.folder
    path = part_folder / WEIGHTS
    if not path.is_file():
        raise WeightsError(f"{path} is missing: restore the folder or set models.weights to another")
    if _sha256(path) != part.sha256:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is not the one in model.json; "
            "restore the file (git checkout, or copy the folder again) or train it again"
        )
    try:
        encoder: Any = None if hugging_face else BertLikeEncoder.from_folder(part_folder)
        if encoder is None:
            encoder = _hugging_face_encoder(part_folder)
        with without_values():
            classifier = AttentionClassifier(
                encoder,
                encoder.config.hidden_size,
                labels,
                part.pooling,
                event_types=len(part.event_types),
                target_head=part.target_head,
                embedding_size=part.embedding_size,
            )
        # The values become the parameters themselves, without a copy.
        classifier.load_state_dict(unpack(load_file(path)), assign=True)
    except (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
        SafetensorError,
    ) as error:
        raise WeightsError(f"{part_folder} cannot be loaded: {error}") from error
    try:
        tokenizer = Tokenizer.from_file(str(part_folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise WeightsError(f"{part_folder / 'tokenizer.json'} cannot be read: {error}") from error
    pad_id = encoder.config.pad_token_id or 0
    return Part(part, Network(classifier.eval(), tokenizer, pad_id, labels, part.event_types))


def _hugging_face_encoder(folder: Path) -> Any:
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoConfig, AutoModel

    _quiet_libraries()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return drop_pooler(AutoModel.from_config(config, trust_remote_code=False))


def drop_pooler(encoder: Any) -> Any:
    """Remove the pooling layer that some encoders have: the heads do the pooling."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def _quiet_libraries() -> None:
    """Switch off the progress bars and log messages of the Hugging Face libraries."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
