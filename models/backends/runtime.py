"""What runs the encoder of each part of a model: the implementation, the device and the number type."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from models.backends.device import compute_device, compute_dtype
from models.backends.native.encoders import AmxEncoder, Int8Encoder, NativeEncoder
from models.backends.onnx import ENCODER, EXPORTED, OnnxEncoder
from models.backends.packed import PackedEncoder
from models.errors import ModelError
from models.network.artifact import LoadedModel, Part
from models.network.classifier import AttentionClassifier
from models.network.registry import resolve
from models.settings import ModelSettings

NATIVE: dict[str, type[NativeEncoder]] = {kind.backend: kind for kind in (AmxEncoder, Int8Encoder)}


@dataclass(frozen=True)
class PartEncoder:
    """What runs the encoder of one part.

    `encoder` stands in for the part's own encoder; None means that the part's own one runs.  `recheck` is a
    slower and more exact one for texts whose two likeliest labels are too close to call, if there is one.
    `packed` encoders take texts of unequal length without padding, and take their input on the CPU.
    """

    encoder: nn.Module | None = None
    recheck: nn.Module | None = None
    packed: bool = False


@dataclass(frozen=True)
class Runtime:
    """The device and number type of a model, and the encoder of each part by the part's folder."""

    backend: str
    device: torch.device
    number_type: str
    encoders: Mapping[str, PartEncoder]

    def encoder(self, part: Part) -> PartEncoder:
        return self.encoders[part.info.folder]

    def torch_classifier(self, part: Part) -> AttentionClassifier:
        """The whole classifier of a part in torch, for gradients and targets.

        Raises ModelError if a native backend runs, which keeps no torch encoder in memory.
        """
        if self.backend in NATIVE:
            raise ModelError(
                f"models.backend is {self.backend}, which can only classify: set it to torch to explain"
            )
        return part.network.classifier


def load_runtime(model: LoadedModel, settings: ModelSettings) -> Runtime:
    """Move the model to its device and build the encoders that `settings.backend` names.

    Raises ModelError if this machine or an encoder does not support the backend.
    """
    exported = settings.backend in EXPORTED
    native = NATIVE.get(settings.backend)
    device = compute_device("cpu" if exported else settings.device)
    if native is not None and settings.dtype == "auto":
        dtype = native.dtype
    else:
        dtype = compute_dtype("float32" if exported else settings.dtype, device)
    encoders = {part.info.folder: _part_encoder(part, settings, device, dtype) for part in model.parts}
    number_type = "int8" if native is Int8Encoder else str(dtype).removeprefix("torch.")
    return Runtime(settings.backend, device, number_type, encoders)


def _part_encoder(
    part: Part, settings: ModelSettings, device: torch.device, dtype: torch.dtype
) -> PartEncoder:
    classifier = part.network.classifier.to(device, dtype).eval()
    if settings.backend in EXPORTED:
        path = resolve(settings.weights) / part.info.folder / ENCODER
        return PartEncoder(OnnxEncoder(path, settings.backend, settings.threads))
    if settings.backend in NATIVE:
        return _native_encoder(classifier, NATIVE[settings.backend], device, dtype)
    if settings.backend in ("auto", "packed") and PackedEncoder.supports(classifier.encoder):
        return PartEncoder(PackedEncoder(classifier.encoder, device, dtype), packed=True)
    return PartEncoder()


def _native_encoder(
    classifier: AttentionClassifier, kind: type[NativeEncoder], device: torch.device, dtype: torch.dtype
) -> PartEncoder:
    poolings = {task: head.pooling for task, head in classifier.heads.items()}
    # The native encoder has its own copy of the weights: free those of the torch one.
    encoder = kind(classifier.encoder, device, dtype, poolings, keep_layers=False)
    classifier.encoder.encoder = nn.Identity()
    return PartEncoder(encoder, encoder.more_exact(), packed=True)
