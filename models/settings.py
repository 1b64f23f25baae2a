"""What can be set about the classifier."""

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


def user_cache() -> Path:
    """Where what was measured or judged once is kept: below $XDG_CACHE_HOME, else ~/.cache.

    A user without a home gets the folder for what is temporary.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError:
        base = Path(tempfile.gettempdir())
    return base / "sentiment-monitor"


class ModelSettings(BaseModel):
    """The `[models]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Path = Field(
        SHIPPED_WEIGHTS, description="folder of the trained classifier to run, or a registry of them"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes CUDA when there is one, else the CPU"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto takes bfloat16 where the hardware is made for it (GPUs, AMX), else float32",
    )
    backend: Literal["auto", "amx", "int8", "packed", "torch", "onnxruntime", "openvino"] = Field(
        "auto",
        description="what runs the encoder: amx (the matrix unit of Intel's server CPUs), int8 (integers of "
        "8 bits on CPUs with AVX-512), packed (texts without padding in torch; all three for BERT and "
        "RoBERTa, others run as torch), torch, or, on a CPU after `monitor models export`, onnxruntime or "
        "openvino; auto measures them at the first start and takes the fastest that gives the labels of full "
        "precision",
    )  # fmt: skip
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the classifier; 0: all cores")
    max_batch_tokens: int = Field(
        0, ge=0, le=1 << 20,
        description="tokens of one forward pass; 0: 2,048 on a CPU, 32,768 on a GPU",
    )  # fmt: skip
    remembered_texts: int = Field(
        10_000, ge=0, le=1_000_000,
        description="a text like one of the last so many different ones gets its labels without the network",
    )  # fmt: skip
    max_windows: int = Field(
        32, ge=1, le=1024,
        description="a long text is read in so many overlapping windows at most; what is beyond is cut, "
        "flagged and counted",
    )  # fmt: skip
    certain_from: float | None = Field(
        None, ge=0, le=1,
        description="confidence from which a label counts; unset: the model's own, from its calibration",
    )  # fmt: skip
    evidence_words: int = Field(3, ge=0, le=50, description="words of evidence for each task")
