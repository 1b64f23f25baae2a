"""The encoder in a library of the monitor's own, for CPUs that torch's operators do not make full use of.

amx.cpp computes in bfloat16 on the matrix unit (AMX) that Intel's server CPUs have since 2023,
int8.cpp in integers of 8 bits where there is AVX-512 with VNNI (Intel's since 2019, AMD's since 2022).
The library is built when the product is installed, where there is a C++ compiler; elsewhere the packed
encoder runs in torch's own operators.
"""

import copy
import ctypes
import importlib.util
from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from models.backends.packed import PackedEncoder, is_gelu, projection
from models.errors import ModelError
from models.network.pooling import AdditivePooling
from stream.domain.errors import InferenceError

Pointer = ctypes.c_void_p
# That of encoder.h: a library that was built of another one is left alone.
INTERFACE = 3
# The places of an answer are a multiple of this: torch keeps what it compiled for every shape that the heads
# multiply, and a shape for every batch would be memory that grows for hours.
PLACES = 256


class _Product(ctypes.Structure):
    _fields_ = (
        *((name, Pointer) for name in ("weights", "bias", "scale", "sum")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
    )


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
def library(backend: str) -> ctypes.CDLL | None:
    """None where it was not built, or this machine cannot run that one of its encoders."""
    found = importlib.util.find_spec("models.backends.native._native")
    if found is None or found.origin is None:
        return None
    built = ctypes.CDLL(found.origin)
    return built if built[f"{backend}_ready"]() == INTERFACE else None


class NativeEncoder(nn.Module):
    """Stands where a BERT-like encoder stands, for the same call.  For inference alone.

    Takes and answers what `PackedEncoder` does, and besides, for each additive one of `poolings`, the
    `scores` [places] of the tokens.  Raises ModelError where the machine or the encoder is not made for it.
    """

    backend: ClassVar[str]
    # What it wants of the machine, in the operator's words.
    needs: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    # All sizes of the network are multiples of the first, those of a head of the second.
    sizes: ClassVar[tuple[int, int]]
    # What the library gets besides, in the end.
    _more: tuple[int, ...] = ()

    def __init__(
        self, encoder: Any, device: torch.device, dtype: torch.dtype, poolings: Mapping[str, object]
    ) -> None:
        super().__init__()
        if device.type != "cpu" or dtype != self.dtype:
            raise ModelError(
                f"models.backend is {self.backend}, which computes on the CPU and around it in {self.dtype}, "
                f"not in {dtype} on {device}: set models.device to cpu and models.dtype to auto"
            )
        built = library(self.backend)
        if built is None:
            raise ModelError(
                f"models.backend is {self.backend}, but this CPU has no {self.needs} or there was no C++ "
                "compiler when the product was installed; set it to auto"
            )
        if not self.supports(encoder):
            raise ModelError(
                f"models.backend is {self.backend}, but {type(encoder).__name__} is no BERT with GELU and "
                f"with sizes in multiples of {self.sizes[0]}, of {self.sizes[1]} in a head; set it to auto"
            )
        self._encode = built[f"{self.backend}_encode"]
        # What the library reads by its address.
        self._kept: list[Any] = []
        config, tables = encoder.config, encoder.embeddings
        self.hidden = config.hidden_size
        self.words = self._own(tables.word_embeddings.weight, self.dtype)
        self.positions = self._own(PackedEncoder.positions_of(tables), self.dtype)
        layers, norm = [], tables.LayerNorm
        for layer in encoder.encoder.layer:
            layers.append(self._layer(layer, norm))
            norm = layer.output.LayerNorm
        scored = {task: one for task, one in poolings.items() if isinstance(one, AdditivePooling)}
        self.scored = tuple(scored)
        scorers = [self._scorer(pooling, norm) for pooling in scored.values()]
        self._model = _Model(
            config.hidden_size, config.num_attention_heads, config.intermediate_size, len(layers),
            config.layer_norm_eps, self.words.data_ptr(), self.positions.data_ptr(),
            self._norm(tables.LayerNorm), (_Layer * len(layers))(*layers),
            len(scorers), (_Scorer * len(scorers))(*scorers),
        )  # fmt: skip

    @classmethod
    def supports(cls, encoder: nn.Module) -> bool:
        """Whether it is of an architecture and of sizes that the library computes."""
        if not PackedEncoder.supports(encoder):
            return False
        config: Any = encoder.config
        size, size_of_head = cls.sizes
        layers: Any = encoder.encoder
        activations = [layer.intermediate.intermediate_act_fn for layer in layers.layer]
        return (
            all(whole % size == 0 for whole in (config.hidden_size, config.intermediate_size))
            and config.hidden_size // config.num_attention_heads % size_of_head == 0
            and all(map(is_gelu, activations))
        )

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
        vectors = torch.empty(places, self.hidden, dtype=self.dtype)
        scores = torch.empty(places, len(self.scored))
        for answer in (vectors, scores):
            answer[len(ids) :] = 0
        failed = self._encode(
            ctypes.byref(self._model), Pointer(ids.ctypes.data), Pointer(positions.ctypes.data),
            Pointer(bounds.ctypes.data), len(inside), Pointer(vectors.data_ptr()), Pointer(scores.data_ptr()),
            torch.get_num_threads(), *self._more,
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

    def more_exact(self) -> Self | None:
        """A slower encoder with smaller rounding errors, sharing the weights; None if there is none."""
        return None

    @abstractmethod
    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, wide: bool = False
    ) -> _Product:
        """x W' + bias, where x is what comes out of `norm`, if there is one, or is the layer's wide part."""

    def _layer(self, layer: Any, norm: nn.LayerNorm) -> _Layer:
        gather, widen, narrow = layer.attention.output, layer.intermediate, layer.output
        return _Layer(
            self._product(*projection(layer.attention.self), norm),
            self._product(gather.dense.weight, gather.dense.bias),
            self._product(widen.dense.weight, widen.dense.bias, gather.LayerNorm),
            self._product(narrow.dense.weight, narrow.dense.bias, wide=True),
            self._norm(gather.LayerNorm),
            self._norm(narrow.LayerNorm),
        )

    def _scorer(self, pooling: AdditivePooling, norm: nn.LayerNorm) -> _Scorer:
        key = self._product(pooling.key.weight, pooling.key.bias, norm)
        return _Scorer(key, self._own(pooling.query.weight, torch.float32).data_ptr())

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(*(self._own(part, torch.float32).data_ptr() for part in (norm.weight, norm.bias)))

    def _own(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        kept = tensor.detach().to(dtype).contiguous()
        self._kept.append(kept)
        return kept


class AmxEncoder(NativeEncoder):
    """In bfloat16 on the matrix unit."""

    backend = "amx"
    needs = "AMX for bfloat16"
    dtype = torch.bfloat16
    sizes = (32, 32)

    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, wide: bool = False
    ) -> _Product:
        tiles, added = self._own(in_tiles(weight), torch.bfloat16), self._own(bias, torch.float32)
        return _Product(tiles.data_ptr(), added.data_ptr(), None, None, *weight.shape)


def in_tiles(weight: Tensor) -> Tensor:
    """A weight [n, k] as the unit takes it, a product's right side: see amx.cpp."""
    n, k = weight.shape
    # 32 of n are two tiles; a tile's row is two of k, of each of its 16 of n.
    return weight.view(n // 32, 2, 16, k // 32, 16, 2).permute(0, 3, 1, 4, 2, 5)


class Int8Encoder(NativeEncoder):
    """In integers of 8 bits; what is around its products is float32."""

    backend = "int8"
    needs = "AVX-512 with VNNI"
    dtype = torch.float32
    sizes = (64, 32)
    # Columns of the wide part that are quantised together, as int8.cpp has it.
    PART: ClassVar[int] = 256
    GREATEST: ClassVar[int] = 127
    # Bytes of each number that the weights are multiplied with.
    _more = (1,)

    def more_exact(self) -> Self:
        """The same encoder with activations of 16 bits.

        It takes twice as long.  With weights that were stored in 8 bits, as the shipped ones are, its output
        hardly differs from full precision.
        """
        exact = copy.copy(self)
        exact._more = (2,)
        return exact

    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, wide: bool = False
    ) -> _Product:
        weight, bias = weight.detach().double(), bias.detach().double()
        n, k = weight.shape
        scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / self.GREATEST
        whole = (weight / scale.unsqueeze(1)).round()
        parts = torch.split(whole, self.PART if wide else k, dim=1)
        sums = torch.stack([part.sum(1) * scale for part in parts])
        if norm is not None:
            bias = bias + (whole * scale.unsqueeze(1)) @ norm.bias.detach().double()
        panels = whole.nan_to_num().view(n // 64, 64, k // 4, 4).transpose(1, 2)
        return _Product(
            self._own(panels, torch.int8).data_ptr(),
            *(self._own(part, torch.float32).data_ptr() for part in (bias, scale, sums)),
            n, k,
        )  # fmt: skip
