"""Where and in which number type to compute."""

import torch

from models.errors import ModelError


def compute_device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("models.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def compute_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """auto is bfloat16 where the hardware is made for it: not emulated, nor by vector instructions."""
    if wanted == "auto":
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else torch.cpu._is_amx_tile_supported()
        )
        wanted = "bfloat16" if fast else "float32"
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32
