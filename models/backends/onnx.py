"""The encoder in onnxruntime or OpenVINO, with the interface of the torch encoder.

Only the encoder runs there, which is nearly all of the work.  The heads stay in torch.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import WeightsError

ENCODER = "encoder.onnx"
EXPORTED = ("onnxruntime", "openvino")


class OnnxEncoder(nn.Module):
    """Replaces the torch encoder: the same call and the same output.

    Raises WeightsError if the encoder was not exported or the runtime is not installed.
    """

    def __init__(self, path: Path, backend: str, threads: int) -> None:
        super().__init__()
        if not path.is_file():
            raise WeightsError(
                f"{path} is missing: monitor models export writes it, or set models.backend to torch"
            )
        try:
            self._run = _onnxruntime(path, threads) if backend == "onnxruntime" else _openvino(path, threads)
        except ImportError as error:
            raise WeightsError(f"models.backend is {backend}: pip install '.[export]'") from error

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        vectors = self._run(input_ids.numpy(), attention_mask.numpy())
        return SimpleNamespace(last_hidden_state=torch.from_numpy(np.ascontiguousarray(vectors)))


def _onnxruntime(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, attend: session.run(["vectors"], {"ids": ids, "attend": attend})[0]


def _openvino(path: Path, threads: int) -> Any:
    import openvino

    config = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = openvino.compile_model(str(path), "CPU", config)
    return lambda ids, attend: compiled({"ids": ids, "attend": attend})[0]
