"""Settings of the classifier."""

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
# The large model, where it is part of the tree: `models.loading` finds it.
SHIPPED_SECOND_OPINION = Path(__file__).parent / "judge"


def user_cache() -> Path:
    """The folder for cached measurements and predictions: in $XDG_CACHE_HOME, or else in ~/.cache.

    For a user without a home directory, it is in the folder for temporary files.
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
        SHIPPED_WEIGHTS, description="folder of the trained model to run, or of a registry of models"
    )
    second_opinion: Literal["all", "auto", "off"] | Path | None = Field(
        None,
        description="which texts a second, larger model labels: all, auto (those on which the model of "
        "models.weights is unsure, at most a fifth of a stream of headlines), off, or the folder of such a "
        "model, if it is not the shipped one (auto:FOLDER and all:FOLDER also say which texts). Unset, and "
        "for a folder alone: all if it labels models.second_opinion_rate headlines a second on this machine, "
        "which the first start measures, else auto. Unset, it is off where the large model is not "
        "installed, and with models.weights of your own. Monitors of one database should all say the same",
    )
    second_opinion_rate: float = Field(
        400,
        gt=0,
        description="headlines a second from which the second opinion labels every text, where "
        "models.second_opinion leaves that open: the largest newsrooms send a few a second, and what came "
        "during an outage must be read soon after it",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto uses CUDA if there is a GPU, else the CPU"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto uses bfloat16 on GPUs since Ampere, and on a CPU that a short measurement shows to "
        "be faster in it; else float32",
    )
    backend: Literal["auto", "amx", "int8", "packed", "torch", "onnxruntime", "openvino"] = Field(
        "auto",
        description="what runs the encoder: amx (the matrix unit of Intel's server CPUs), int8 (8-bit "
        "integers on CPUs with AVX-512), packed (torch without padding), torch, or, on a CPU "
        "after `monitor models export`, onnxruntime or openvino. amx, int8 and packed are for "
        "BERT, RoBERTa and MPNet; other encoders run as torch. auto measures all that this machine can run "
        "at the first start, in about three seconds, and uses the fastest whose labels equal those of full "
        "precision",
    )
    threads: int = Field(0, ge=0, le=256, description="number of CPU threads of the classifier; 0: all cores")
    max_batch_tokens: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="maximum number of tokens in a forward pass; 0: 2,048 on a CPU, 32,768 on a GPU",
    )
    remembered_texts: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="number of recent texts to cache; a repeated text gets its labels without the network",
    )
    max_windows: int = Field(
        32,
        ge=1,
        le=1024,
        description="maximum number of overlapping windows read of a long text; the rest is cut off, "
        "flagged and counted",
    )
    certain_from: float | None = Field(
        None,
        ge=0,
        le=1,
        description="minimum confidence for a label to count; unset: the model's own, from its calibration",
    )
    entities: Path | None = Field(
        None,
        description="file with a house's own entities and names, on top of the shipped list: what to add, "
        "and what to forbid or remove; read again when it changes. docs/entities.md describes it",
    )
    max_entities: int = Field(
        50,
        ge=1,
        le=1000,
        description="maximum number of entities of a text, the most relevant ones: a list of all tickers of "
        "an exchange says little about each, and every one is a row in SQL",
    )
    evidence_words: int = Field(3, ge=0, le=50, description="number of evidence words for each task")
