"""The encoder as ONNX, for `models.runtimes`: an export that changes the answers is refused."""

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
from models.training.release import refuse_loss
from models.training.scoring import network_logits


class EncoderOnly(nn.Module):
    """ids and attend in, token vectors out: what is exported."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, attend: Tensor) -> Any:
        return self.encoder(input_ids=ids, attention_mask=attend).last_hidden_state


def export(folder: Path, rows: Sequence[Row] = ()) -> list[Path]:
    """Write `encoder.onnx` into each part of the model in `folder`; the files written.

    `rows` are labelled texts to hold the export against full precision: it must not cost more than half a
    point of macro-F1.  Without rows the vectors themselves must agree.  Raises WeightsError.
    """
    for library in ("onnx_ir", "onnxscript"):
        logging.getLogger(library).setLevel(logging.WARNING)
    model = artifact.load(folder)
    written = []
    for part in model.parts:
        path = folder / part.info.folder / ENCODER
        encoder: Any = part.classifier.encoder
        encoder.set_attn_implementation("eager")
        sample = torch.ones(2, 8, dtype=torch.long)
        attend = torch.tensor([[1] * 8, [1] * 4 + [0] * 4])  # all ones would be traced without a mask
        axes = {0: torch.export.Dim("windows"), 1: torch.export.Dim("tokens", max=part.info.max_tokens)}
        program = torch.onnx.export(
            EncoderOnly(encoder).eval(), (sample, attend), dynamo=True, verbose=False,
            input_names=["ids", "attend"], output_names=["vectors"], dynamic_shapes=(axes, axes),
        )  # fmt: skip
        if program is None:
            raise WeightsError(f"{part.info.folder}: the encoder could not be exported")
        program.save(str(path), external_data=False)
        try:
            _hold_against(part, path, model.info.labels, rows)
        except WeightsError:
            path.unlink()
            raise
        written.append(path)
    return written


def _hold_against(
    part: artifact.Part, path: Path, labels: dict[str, tuple[str, ...]], rows: Sequence[Row]
) -> None:
    """Refuse an export that answers differently."""
    exact, device = part.classifier.encoder, torch.device("cpu")
    other = OnnxEncoder(path, "onnxruntime", threads=0)
    ids = torch.randint(5, exact.config.vocab_size, (3, 17))  # type: ignore[union-attr,arg-type]
    attend = torch.ones_like(ids)
    attend[1, 9:] = 0
    with torch.inference_mode():
        wanted = exact(input_ids=ids, attention_mask=attend).last_hidden_state
    gap = float((other(ids, attend).last_hidden_state - wanted)[attend.bool()].abs().max())
    if gap > 0.05:
        raise WeightsError(f"{path}: the exported encoder is off by {gap:.3f}; it was removed")
    if not rows:
        return
    texts = [row.text for row in rows]
    part.tokenizer.enable_truncation(part.info.max_tokens)
    before = network_logits(part.classifier, part.tokenizer, part.pad_id, texts, device, half=False)
    part.classifier.encoder = other
    after = network_logits(part.classifier, part.tokenizer, part.pad_id, texts, device, half=False)
    part.classifier.encoder = exact
    refuse_loss(f"{path}: the export, which is removed,", labels, rows, before, after)
