"""Export the encoder as ONNX; an export whose results differ is removed."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backends.onnx import ENCODER, OnnxEncoder
from models.data.dataset import Row
from models.errors import WeightsError
from models.network import artifact
from models.training.release import check_score_loss
from models.training.scoring import network_logits

# Largest difference of a value in a token vector.
MAX_DIFFERENCE = 0.05


class EncoderOnly(nn.Module):
    """The module that is exported: ids and attention mask in, token vectors out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, attend: Tensor) -> Any:
        return self.encoder(input_ids=ids, attention_mask=attend).last_hidden_state


def export(folder: Path, rows: Sequence[Row] = ()) -> list[Path]:
    """Write `encoder.onnx` into each part of the model in `folder`; returns the paths.

    The token vectors must agree with the part's own.  With labelled `rows`, the export must also not cost
    more than MAX_LOSS points of macro-F1.  Raises WeightsError.
    """
    for library in ("onnx_ir", "onnxscript"):
        logging.getLogger(library).setLevel(logging.WARNING)
    paths = []
    for part in artifact.load(folder, hugging_face=True).parts:
        path = folder / part.info.folder / ENCODER
        _export_encoder(part, path)
        try:
            check_export(part, path, rows)
        except WeightsError:
            path.unlink()
            raise
        paths.append(path)
    return paths


def _export_encoder(part: artifact.Part, path: Path) -> None:
    encoder: Any = part.network.classifier.encoder
    encoder.set_attn_implementation("eager")
    ids = torch.ones(2, 8, dtype=torch.long)
    # The mask needs a zero: the exporter drops a mask that is all ones.
    attend = torch.tensor([[1] * 8, [1] * 4 + [0] * 4])
    axes = {0: torch.export.Dim("windows"), 1: torch.export.Dim("tokens", max=part.info.max_tokens)}
    program = torch.onnx.export(
        EncoderOnly(encoder).eval(),
        (ids, attend),
        dynamo=True,
        verbose=False,
        input_names=["ids", "attend"],
        output_names=["vectors"],
        dynamic_shapes=(axes, axes),
    )
    if program is None:
        raise WeightsError(f"{part.info.folder}: the encoder could not be exported")
    program.save(str(path), external_data=False)


def check_export(part: artifact.Part, path: Path, rows: Sequence[Row] = ()) -> None:
    """Raise WeightsError if the exported encoder at `path` gives other results than the part's own."""
    network, device = part.network, torch.device("cpu")
    own: Any = network.classifier.encoder
    exported = OnnxEncoder(path, "onnxruntime", threads=0)
    difference = _largest_difference(own, exported)
    if difference > MAX_DIFFERENCE:
        raise WeightsError(f"{path}: the exported encoder is off by {difference:.3f}; it was removed")
    if not rows:
        return
    texts = [row.text for row in rows]
    network.tokenizer.enable_truncation(part.info.max_tokens)
    before = network_logits(network, texts, device)
    network.classifier.encoder = exported
    after = network_logits(network, texts, device)
    network.classifier.encoder = own
    check_score_loss(
        f"{path}: the export, which is removed,", network.labels, rows, before=before, after=after
    )


def _largest_difference(own: Any, exported: OnnxEncoder) -> float:
    """The largest difference between the token vectors of random texts, one of them with padding."""
    ids = torch.randint(5, own.config.vocab_size, (3, 17))
    attend = torch.ones_like(ids)
    attend[1, 9:] = 0
    with torch.inference_mode():
        expected = own(input_ids=ids, attention_mask=attend).last_hidden_state
        vectors = exported(ids, attend).last_hidden_state
    return float((vectors - expected)[attend.bool()].abs().max())
