"""What a network's matrices are multiplied with, which tells how to round their weights."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.network.network import Network
from models.network.quantisation import Moments
from models.training.rows import written_rows
from models.training.scoring import network_logits

# So many of the project's written sentences are read.
TEXTS = 512


def input_moments(network: Network, language: str) -> Moments:
    """The moments of the inputs of each matrix of the encoder, over written sentences of a language.

    Empty for a language that has none.  The network must be on the CPU.
    """
    texts = [row.text for row in written_rows(language)]
    return _moments(network, random.Random(TEXTS).sample(texts, min(len(texts), TEXTS)))


def _moments(network: Network, texts: Sequence[str]) -> Moments:
    sums: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def add(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            vectors = inputs[0].detach().float().flatten(0, -2)
            sums[name] = sums.get(name, 0) + vectors.T @ vectors

        return add

    layers = {
        f"{name}.weight": layer
        for name, layer in network.classifier.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith("encoder.")
    }
    hooks = [layer.register_forward_hook(listen(name)) for name, layer in layers.items()]
    try:
        # One by one: so no padding is among the inputs.
        for text in texts:
            network_logits(network, [text], torch.device("cpu"))
    finally:
        for hook in hooks:
            hook.remove()
    return sums
