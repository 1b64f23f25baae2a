"""The embedding of a text: learned from a sentence encoder, kept by later training, stored with the model."""

from dataclasses import replace

import numpy as np
import torch

from models.network.classifier import EmbeddingHead, Hidden
from models.training.embeddings import principal_components


def test_an_embedding_is_the_mean_of_the_projected_words_and_of_length_1() -> None:
    head, vectors = EmbeddingHead(6, 4), torch.randn(2, 5, 6)
    words = torch.tensor([[False, True, True, False, False], [False, True, True, True, False]])
    expected = torch.stack([head.output(vectors[i][words[i]].mean(0)) for i in range(2)])
    hidden = Hidden(vectors, words, torch.zeros_like(words))
    assert torch.allclose(head(hidden), expected / expected.norm(dim=-1, keepdim=True), atol=1e-6)
    # Tokens count by their weight.
    weighed = replace(hidden, log_weights=torch.log(torch.tensor([[1.0, 3, 1, 1, 1], [1, 1, 1, 1, 1]])))
    share = head.output((3 * vectors[0, 1] + vectors[0, 2]) / 4)
    assert torch.allclose(head(weighed)[0], share / share.norm(), atol=1e-6)


def test_principal_components_keep_what_varies_most() -> None:
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(300, 2)) * [5, 3]
    noise = rng.normal(size=(300, 6)) * 0.01
    kept = principal_components(np.hstack([noise, spread]) + 7, 2)
    centred = spread - spread.mean(0)
    cosines = (centred @ centred.T) / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    assert np.allclose(kept @ kept.T, cosines, atol=0.02)
    assert np.allclose(
        principal_components(spread, 5) @ principal_components(spread, 5).T, cosines, atol=0.02
    )
