"""Why a text got its label: a weight for every word, by three methods of rising cost.

attention    the pooling's attention times what the token says for the label: free, with a sign; the
             evidence that goes with every prediction
gradient     gradient x input: one backward pass, says what the label hangs on locally, with a sign
integrated   integrated gradients: STEPS backward passes, weights that add up to the change in
             log-probability against the text without words
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.inference import evidence
from models.inference.engine import Engine, Prepared, by_window
from stream.domain.documents import Prediction, Span

Method = Literal["attention", "gradient", "integrated"]
STEPS = 24


@dataclass(frozen=True)
class Explanation:
    """A prediction and, for one task, a signed weight for each word, in the order of the text."""

    text: str
    task: str
    method: Method
    prediction: Prediction
    words: tuple[Span, ...]


def explain(
    engine: Engine,
    text: str,
    task: str = "sentiment",
    method: Method = "attention",
    claimed: str | None = None,
) -> Explanation:
    """Weigh the words of one text.  An unsupported text has no words."""
    nothing: list[Prediction | None] = [None]
    prepared = engine.prepare([text], [claimed], nothing)
    if not prepared:
        return Explanation(text, task, method, nothing[0] or Prediction(engine.info.version, None), ())
    item = prepared[0]
    ((_, judged),) = engine.judged([item])
    prediction = engine.finish(item, judged)
    if method == "attention":
        values = judged.carried[task]
    else:
        label = engine.info.labels[task].index(getattr(prediction, task))
        values = gradients(engine, item, task, label, STEPS if method == "integrated" else 1)
    weights = evidence.words(evidence.pieces(item.text, item.windows), values)
    spans = (
        Span(task, item.text[start:end], start, end, round(weight, 4))
        for (start, end), weight in sorted(weights.items())
    )
    return Explanation(text, task, method, prediction, tuple(spans))


def gradients(engine: Engine, item: Prepared, task: str, label: int, steps: int) -> list[np.ndarray]:
    """Attribution of log p(label) to the tokens, one array [tokens] a window.

    One step is gradient x (input - baseline) at the input; more are the Riemann sum, by midpoints, of
    integrated gradients (Sundararajan et al. 2017).  The baseline is the padding token in every place
    that is a word.
    """
    inputs = engine.inputs([item])
    classifier = engine.network(item.part)
    encoder: Any = classifier.encoder
    vectors: Tensor = encoder.get_input_embeddings()(inputs.ids).detach()
    padding = encoder.get_input_embeddings()(torch.full_like(inputs.ids, item.part.pad_id)).detach()
    baseline = torch.where(inputs.words.unsqueeze(-1), padding, vectors)
    total = torch.zeros_like(vectors, dtype=torch.float32)
    points = [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    with torch.enable_grad():
        for point in points:
            at = (baseline + point * (vectors - baseline)).requires_grad_(True)
            logits, _ = classifier.judge(classifier.encode(inputs, at))[task]
            chosen = torch.log_softmax(logits, dim=-1)[0, label]
            (gradient,) = torch.autograd.grad(chosen, at)
            total += gradient.float() / len(points)
    weight = (total * (vectors - baseline).float()).sum(-1).cpu().numpy()
    return by_window(weight.reshape(-1), item, weight.shape[1])


def carrying(words: Sequence[Span], count: int) -> list[Span]:
    """The `count` words with the largest weights for the label, largest first; punctuation left out."""
    named = [span for span in words if evidence.HAS_WORD.search(span.text)]
    return sorted(named, key=lambda span: (-span.weight, span.start))[:count]
