"""What can be set about the classifier."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


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
        "auto", description="auto takes bfloat16 where the hardware computes in it, else float32"
    )
    backend: Literal["torch", "onnxruntime", "openvino"] = Field(
        "torch", description="what runs the encoder; the others need `monitor models export` and a CPU"
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of one forward pass; 0: all cores")
    max_batch_tokens: int = Field(
        4096, ge=64, le=1 << 20, description="tokens of one forward pass, padding included"
    )
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
