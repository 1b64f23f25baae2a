"""The encoder on the matrix unit (AMX) that Intel's server CPUs have since 2023, by models/amx.cpp.

It is built when the product is installed, where there is a C++ compiler; elsewhere the packed encoder runs in
torch's own operators.
"""

import ctypes
import importlib.util
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.attention import AdditivePooling
from models.errors import InferenceError, ModelError
from models.packed import PackedEncoder, is_gelu, projection

Pointer = ctypes.c_void_p
# That of models/amx.cpp: a library that was built of another one is left alone.
INTERFACE = 2
# All sizes of the network are multiples of it, as those of every published BERT are.
BLOCK = 32
# The places of an answer are a multiple of this: torch keeps what it compiled for every shape that the heads
# multiply, and a shape for every batch would be memory that grows for hours.
PLACES = 256


class _Product(ctypes.Structure):
    _fields_ = (("tiles", Pointer), ("bias", Pointer))


class _Norm(ctypes.Structure):
    _fields_ = (("weight", Pointer), ("bias", Pointer))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Product) for name in ("project", "gather", "widen", "narrow")),
        ("norm", _Norm),
        ("last_norm", _Norm),
    )


class _Scorer(ctypes.Structure):
    _fields_ = (("key", _Product), ("query", Pointer))


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("hidden", "heads", "wide", "layers")),
        ("eps", ctypes.c_float),
        ("words", Pointer),
        ("positions", Pointer),
        ("norm", _Norm),
        ("layer", ctypes.POINTER(_Layer)),
        ("scorers", ctypes.c_int64),
        ("scorer", ctypes.POINTER(_Scorer)),
    )


@cache
def library() -> ctypes.CDLL | None:
    """None where it was not built, or this machine cannot run it."""
    found = importlib.util.find_spec("models._amx")
    if found is None or found.origin is None:
        return None
    built = ctypes.CDLL(found.origin)
    return built if built.amx_ready() == INTERFACE else None


class AmxEncoder(nn.Module):
    """Stands where a BERT-like encoder stands, for the same call, in bfloat16.  For inference alone.

    Takes and answers what `PackedEncoder` does, and besides, for each additive one of `poolings`, the
    `scores` [places] of the tokens.  Raises ModelError where the machine or the encoder is not made for it.
    """

    def __init__(
        self, encoder: Any, device: torch.device, dtype: torch.dtype, poolings: Mapping[str, object]
    ) -> None:
        super().__init__()
        if device.type != "cpu" or dtype != torch.bfloat16:
            raise ModelError(
                f"models.backend is amx, which computes in bfloat16 on the CPU, not in {dtype} on {device}: "
                "set models.device and models.dtype to auto"
            )
        built = library()
        if built is None:
            raise ModelError(
                "models.backend is amx, but this CPU has no AMX for bfloat16 or there was no C++ compiler "
                "when the product was installed; set it to auto"
            )
        if not self.knows(encoder):
            raise ModelError(
                f"models.backend is amx, but {type(encoder).__name__} is no BERT with sizes in multiples of "
                f"{BLOCK} and GELU; set it to auto"
            )
        self._encode = built.amx_encode
        # What the library reads by its address.
        self._kept: list[Any] = []
        config, tables = encoder.config, encoder.embeddings
        self.hidden = config.hidden_size
        self.words = self._own(tables.word_embeddings.weight, torch.bfloat16)
        self.positions = self._own(PackedEncoder.positions_of(tables), torch.bfloat16)
        layers = [self._layer(layer) for layer in encoder.encoder.layer]
        scored = {task: one for task, one in poolings.items() if isinstance(one, AdditivePooling)}
        self.scored = tuple(scored)
        scorers = [self._scorer(pooling) for pooling in scored.values()]
        self._model = _Model(
            config.hidden_size, config.num_attention_heads, config.intermediate_size, len(layers),
            config.layer_norm_eps, self.words.data_ptr(), self.positions.data_ptr(),
            self._norm(tables.LayerNorm), (_Layer * len(layers))(*layers),
            len(scorers), (_Scorer * len(scorers))(*scorers),
        )  # fmt: skip

    @staticmethod
    def knows(encoder: nn.Module) -> bool:
        """Whether it is of an architecture and of sizes that the library computes."""
        if not PackedEncoder.knows(encoder):
            return False
        config: Any = encoder.config
        sizes = config.hidden_size // config.num_attention_heads, config.hidden_size, config.intermediate_size
        layers: Any = encoder.encoder
        activations = [layer.intermediate.intermediate_act_fn for layer in layers.layer]
        return all(size % BLOCK == 0 for size in sizes) and all(map(is_gelu, activations))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        inside = attention_mask.bool().numpy()
        ids, positions = input_ids.numpy()[inside], np.ascontiguousarray(np.nonzero(inside)[1])
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self.words)):
            raise InferenceError(
                f"a token id is not below {len(self.words)}, the rows of the encoder's table"
            )
        if len(ids) and positions.max() >= len(self.positions):
            raise InferenceError(f"a text has more than {len(self.positions)} tokens")
        bounds = np.concatenate([[0], inside.sum(1).cumsum()]).astype(np.int32)
        places = max(1, -(-len(ids) // PLACES)) * PLACES
        vectors = torch.empty(places, self.hidden, dtype=torch.bfloat16)
        scores = torch.empty(places, len(self.scored))
        for answer in (vectors, scores):
            answer[len(ids) :] = 0
        failed = self._encode(
            ctypes.byref(self._model), Pointer(ids.ctypes.data), Pointer(positions.ctypes.data),
            Pointer(bounds.ctypes.data), len(inside), Pointer(vectors.data_ptr()), Pointer(scores.data_ptr()),
            torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for the encoder's own numbers")
        at = np.zeros(inside.shape, np.int64)
        at[inside] = np.arange(len(ids))
        return SimpleNamespace(
            last_hidden_state=vectors,
            at=torch.from_numpy(at),
            scores=dict(zip(self.scored, scores.unbind(1), strict=True)),
        )

    def _own(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        kept = tensor.detach().to(dtype).contiguous()
        self._kept.append(kept)
        return kept

    def _layer(self, layer: Any) -> _Layer:
        return _Layer(
            self._product(*projection(layer.attention.self)),
            *(
                self._product(module.dense.weight, module.dense.bias)
                for module in (layer.attention.output, layer.intermediate, layer.output)
            ),
            self._norm(layer.attention.output.LayerNorm),
            self._norm(layer.output.LayerNorm),
        )

    def _scorer(self, pooling: AdditivePooling) -> _Scorer:
        query = self._own(pooling.query.weight, torch.float32)
        return _Scorer(self._product(pooling.key.weight, pooling.key.bias), query.data_ptr())

    def _product(self, weight: Tensor, bias: Tensor) -> _Product:
        return _Product(
            self._own(in_tiles(weight), torch.bfloat16).data_ptr(), self._own(bias, torch.float32).data_ptr()
        )

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(*(self._own(part, torch.float32).data_ptr() for part in (norm.weight, norm.bias)))


def in_tiles(weight: Tensor) -> Tensor:
    """A weight [n, k] as the unit takes it, a product's right side: see models/amx.cpp."""
    n, k = weight.shape
    half = BLOCK // 2
    # 32 of n are two tiles; a tile's row is two of k, of each of its 16 of n.
    return weight.view(n // BLOCK, 2, half, k // BLOCK, half, 2).permute(0, 3, 1, 4, 2, 5)
