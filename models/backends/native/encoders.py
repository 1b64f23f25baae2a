"""The encoder in a native library, for CPU instructions that torch's operators do not fully use.

amx.cpp computes in bfloat16 on the matrix unit (AMX) of Intel's server CPUs since 2023.  int8.cpp computes in
8-bit integers on CPUs with AVX-512 VNNI (Intel since 2019, AMD since 2022).  The library is built when the
product is installed, if there is a C++ compiler.  Without it the packed encoder runs in torch.
"""

import copy
import ctypes
import importlib.util
import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from models.backends.packed import PackedEncoder, PackedOutput, is_gelu, projection
from models.errors import ModelError
from models.network.encoder import attention_parts, position_bias, position_vectors
from models.network.pooling import AdditivePooling
from stream.domain.errors import InferenceError

Pointer = ctypes.c_void_p
# The version of the interface in encoder.h.  A library with another version is not used.
INTERFACE = 4
# What the bias of distances holds beyond the longest text, in each direction: BIAS_MARGIN of encoder.h.
BIAS_MARGIN = 32
# The number of slots of an output is a multiple of this.  Torch caches what it compiles for each shape of the
# heads' products: with a shape for every batch its memory would grow for hours.
SLOT_MULTIPLE = 256


class _Product(ctypes.Structure):
    _fields_ = (
        *((name, Pointer) for name in ("weights", "bias", "scale", "sum")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", Pointer), ("bias", Pointer))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Product) for name in ("qkv", "attention_output", "intermediate", "output")),
        ("attention_norm", _Norm),
        ("output_norm", _Norm),
    )


class _Scorer(ctypes.Structure):
    _fields_ = (("key", _Product), ("query", Pointer))


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("hidden_size", "heads", "intermediate_size", "layer_count")),
        ("eps", ctypes.c_float),
        ("word_embeddings", Pointer),
        ("position_embeddings", Pointer),
        ("position_bias", Pointer),
        ("position_bias_stride", ctypes.c_int64),
        ("embedding_norm", _Norm),
        ("layers", ctypes.POINTER(_Layer)),
        ("scorer_count", ctypes.c_int64),
        ("scorers", ctypes.POINTER(_Scorer)),
    )


def library_path() -> Path | None:
    """The file of the native library, or None if it was not built."""
    module = importlib.util.find_spec("models.backends.native._native")
    return None if module is None or module.origin is None else Path(module.origin)


@cache
def library(backend: str) -> ctypes.CDLL | None:
    """The native library, or None if it was not built or this CPU cannot run the backend."""
    path = library_path()
    if path is None:
        return None
    loaded = ctypes.CDLL(str(path))
    return loaded if loaded[f"{backend}_ready"]() == INTERFACE else None


class NativeEncoder(nn.Module):
    """Replaces a BERT-like encoder: the same call.  For inference only.

    Input and output are those of `PackedEncoder`, plus the `scores` [slots] of each task whose pooling is
    additive.  Raises ModelError if the machine or the encoder is not supported.
    """

    backend: ClassVar[str]
    # The CPU feature it needs, for messages.
    needs: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    # The sizes of the network are multiples of the first number, those of an attention head of the second.
    sizes: ClassVar[tuple[int, int]]
    # Further arguments of the library's function.
    _extra_arguments: tuple[int, ...] = ()

    def __init__(
        self,
        encoder: Any,
        device: torch.device,
        dtype: torch.dtype,
        poolings: Mapping[str, object],
        *,
        keep_layers: bool = True,
    ) -> None:
        """Convert the weights of `encoder`.

        Without `keep_layers` each of its layers is removed when it is converted, so that the memory never
        holds all weights twice.
        """
        super().__init__()
        if device.type != "cpu" or dtype != self.dtype:
            raise ModelError(
                f"models.backend is {self.backend}, which computes on the CPU and around it in {self.dtype}, "
                f"not in {dtype} on {device}: set models.device to cpu and models.dtype to auto"
            )
        loaded = library(self.backend)
        if loaded is None:
            raise ModelError(
                f"models.backend is {self.backend}, but this CPU has no {self.needs} or there was no C++ "
                "compiler when the product was installed; set it to auto"
            )
        if not self.supports(encoder):
            raise ModelError(
                f"models.backend is {self.backend}, but {type(encoder).__name__} is no BERT with GELU and "
                f"with sizes in multiples of {self.sizes[0]}, of {self.sizes[1]} in a head; set it to auto"
            )
        self._encode = loaded[f"{self.backend}_encode"]
        # Tensors that the library reads by address.
        self._kept: list[Any] = []
        config, tables = encoder.config, encoder.embeddings
        self.hidden = config.hidden_size
        self.words = self._keep(tables.word_embeddings.weight, self.dtype)
        self.positions = self._keep(position_vectors(tables), self.dtype)
        layers, norm = [], tables.LayerNorm
        for index, layer in enumerate(encoder.encoder.layer):
            layers.append(self._layer(layer, norm))
            norm = layer.output.LayerNorm
            if not keep_layers:
                encoder.encoder.layer[index] = nn.Identity()
        additive = {task: p for task, p in poolings.items() if isinstance(p, AdditivePooling)}
        self.scored = tuple(additive)
        scorers = [self._scorer(pooling, norm) for pooling in additive.values()]
        self._model = _Model(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            len(layers),
            config.layer_norm_eps,
            self.words.data_ptr(),
            self.positions.data_ptr(),
            *self._position_bias(encoder),
            self._norm(tables.LayerNorm),
            (_Layer * len(layers))(*layers),
            len(scorers),
            (_Scorer * len(scorers))(*scorers),
        )

    @classmethod
    def supports(cls, encoder: nn.Module) -> bool:
        """Whether the library can compute an encoder of this architecture and these sizes."""
        if not PackedEncoder.supports(encoder):
            return False
        config: Any = encoder.config
        size, size_of_head = cls.sizes
        layers: Any = encoder.encoder
        activations = [layer.intermediate.intermediate_act_fn for layer in layers.layer]
        return (
            all(width % size == 0 for width in (config.hidden_size, config.intermediate_size))
            and config.hidden_size // config.num_attention_heads % size_of_head == 0
            and all(map(is_gelu, activations))
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> PackedOutput:
        is_token = attention_mask.bool().numpy()
        ids, positions = input_ids.numpy()[is_token], np.ascontiguousarray(np.nonzero(is_token)[1])
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self.words)):
            raise InferenceError(
                f"a token id is not below {len(self.words)}, the rows of the encoder's table"
            )
        if len(ids) and positions.max() >= len(self.positions):
            raise InferenceError(f"a text has more than {len(self.positions)} tokens")
        bounds = np.concatenate([[0], is_token.sum(1).cumsum()]).astype(np.int32)
        slots = max(1, -(-len(ids) // SLOT_MULTIPLE)) * SLOT_MULTIPLE
        vectors = torch.empty(slots, self.hidden, dtype=self.dtype)
        scores = torch.empty(slots, len(self.scored))
        for output in (vectors, scores):
            output[len(ids) :] = 0
        failed = self._encode(
            ctypes.byref(self._model),
            Pointer(ids.ctypes.data),
            Pointer(positions.ctypes.data),
            Pointer(bounds.ctypes.data),
            len(is_token),
            Pointer(vectors.data_ptr()),
            Pointer(scores.data_ptr()),
            torch.get_num_threads(),
            *self._extra_arguments,
        )
        if failed:
            raise MemoryError("not enough memory for the buffers of the encoder")
        slot_of_token = np.zeros(is_token.shape, np.int64)
        slot_of_token[is_token] = np.arange(len(ids))
        scores_by_task = dict(zip(self.scored, scores.unbind(1), strict=True))
        return PackedOutput(vectors, torch.from_numpy(slot_of_token), scores_by_task)

    def more_exact(self) -> Self | None:
        """A slower encoder with smaller rounding errors, sharing the weights; None if there is none."""
        return None

    @abstractmethod
    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, after_gelu: bool = False
    ) -> _Product:
        """The product x W' + bias, laid out for the library.

        x is the output of `norm`, if given, or with `after_gelu` that of the GELU.
        """

    def _layer(self, layer: Any, norm: nn.LayerNorm) -> _Layer:
        attention, intermediate, output = attention_parts(layer), layer.intermediate, layer.output
        return _Layer(
            self._product(*projection(attention), norm),
            self._product(attention.output.weight, attention.output.bias),
            self._product(intermediate.dense.weight, intermediate.dense.bias, attention.norm),
            self._product(output.dense.weight, output.dense.bias, after_gelu=True),
            self._norm(attention.norm),
            self._norm(output.LayerNorm),
        )

    def _scorer(self, pooling: AdditivePooling, norm: nn.LayerNorm) -> _Scorer:
        key = self._product(pooling.key.weight, pooling.key.bias, norm)
        return _Scorer(key, self._keep(pooling.query.weight, torch.float32).data_ptr())

    def _position_bias(self, encoder: Any) -> tuple[int | None, int]:
        """The address of the first head's bias for the distance 0, and the number of values of a head."""
        reach = len(self.positions) + BIAS_MARGIN
        bias = position_bias(encoder, reach)
        if bias is None:
            return None, 0
        # The library computes powers of two.
        kept = self._keep(bias.detach().float() * math.log2(math.e), torch.float32)
        return kept[0, reach - 1 :].data_ptr(), kept.stride(0)

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(*(self._keep(part, torch.float32).data_ptr() for part in (norm.weight, norm.bias)))

    def _keep(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """The tensor in `dtype`, contiguous, and kept in memory as long as the encoder."""
        kept = tensor.detach().to(dtype).contiguous()
        self._kept.append(kept)
        return kept


class AmxEncoder(NativeEncoder):
    """The encoder in bfloat16 on the matrix unit (AMX)."""

    backend = "amx"
    needs = "AMX for bfloat16"
    dtype = torch.bfloat16
    sizes = (32, 32)

    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, after_gelu: bool = False
    ) -> _Product:
        tiles, biases = self._keep(to_tiles(weight), torch.bfloat16), self._keep(bias, torch.float32)
        return _Product(tiles.data_ptr(), biases.data_ptr(), None, None, *weight.shape)


def to_tiles(weight: Tensor) -> Tensor:
    """A weight [n, k] in the layout of the right-hand side of a tile product: see amx.cpp."""
    n, k = weight.shape
    # 32 rows of n are two tiles.  A row of a tile holds two values of k for each of its 16 rows of n.
    return weight.view(n // 32, 2, 16, k // 32, 16, 2).permute(0, 3, 1, 4, 2, 5)


class Int8Encoder(NativeEncoder):
    """The encoder with matrix products in 8-bit integers and everything else in float32."""

    backend = "int8"
    needs = "AVX-512 with VNNI"
    dtype = torch.float32
    sizes = (64, 32)
    # Columns of the GELU output that are quantised together: PART of int8.cpp.
    PART: ClassVar[int] = 256
    MAX_WEIGHT: ClassVar[int] = 127
    # Bytes of each activation in a product.
    _extra_arguments = (1,)

    def more_exact(self) -> Self:
        """The same encoder with activations of 16 bits.

        It takes twice as long.  With weights that were stored in 8 bits, as the shipped ones are, its output
        hardly differs from full precision.
        """
        exact = copy.copy(self)
        exact._extra_arguments = (2,)
        return exact

    def _product(
        self, weight: Tensor, bias: Tensor, norm: nn.LayerNorm | None = None, after_gelu: bool = False
    ) -> _Product:
        weight, bias = weight.detach().float(), bias.detach().double()
        n, k = weight.shape
        low, high = weight.aminmax(dim=1)
        scale = torch.maximum(-low, high).clamp_min(torch.finfo(torch.float32).tiny) / self.MAX_WEIGHT
        quantised = (weight / scale.unsqueeze(1)).round_()
        parts = torch.split(quantised, self.PART if after_gelu else k, dim=1)
        # Sums of a row's integers are exact in float32.
        sums = torch.stack([part.sum(1).double() * scale for part in parts])
        if norm is not None:
            bias = bias + (quantised.double() @ norm.bias.detach().double()) * scale
        panels = quantised.nan_to_num_().to(torch.int8).view(n // 64, 64, k // 4, 4).transpose(1, 2)
        return _Product(
            self._keep(panels, torch.int8).data_ptr(),
            *(self._keep(part, torch.float32).data_ptr() for part in (bias, scale, sums)),
            n,
            k,
        )
