"""The device and the number type to compute with."""

import torch

from models.errors import ModelError


def compute_device(name: str) -> torch.device:
    """The device for the setting `models.device`.  Raises ModelError if there is no CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("models.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type for the setting `models.dtype`.

    auto is bfloat16 where the hardware has matrix units for it: GPUs since Ampere, CPUs with AMX.
    """
    if name == "auto":
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else torch.cpu._is_amx_tile_supported()
        )
        name = "bfloat16" if fast else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32
