"""Why a text got its label: a weight for every word, by one of three methods.

attention    attention times the token's vote for the label, with a sign: free, the same numbers as the
             evidence of every prediction
gradient     gradient x input, with a sign: one backward pass; how the label reacts to small changes
integrated   integrated gradients, with a sign: STEPS backward passes; the weights add up to the change in
             log-probability against a text of padding tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.inference import evidence
from models.inference.engine import Engine
from models.inference.forward import batch_inputs
from models.inference.outputs import split_windows
from models.inference.predictions import sent_as, sent_word
from models.inference.tokenize import CleanInput, TokenizedText
from stream.domain.cleaning import clean
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
    declared: str | None = None,
) -> Explanation:
    """Weigh the words of one text.  An unsupported text has no words, and boilerplate has none either.

    Raises ModelError if the backend has no gradients and `method` needs them.
    """
    cleaned = clean(text)
    news = cleaned.news
    tokenized = engine.tokenizer.tokenize([CleanInput(news.text, declared)])
    if not tokenized.texts:
        prediction = engine.builder.unsupported(tokenized.unsupported[0])
        return Explanation(text, task, method, prediction, ())
    ((item, output),) = engine.forward.outputs(tokenized.texts)
    prediction = engine.builder.build(item, output.probabilities, output.contributions)
    if method == "attention":
        weights = output.contributions[task]
    else:
        label = engine.info.labels[task].index(getattr(prediction, task))
        steps = STEPS if method == "integrated" else 1
        weights = gradients(engine, item, task, label=label, steps=steps)
    by_word = evidence.sum_by_word(evidence.pieces(item.text, item.windows), weights)
    spans = (
        sent_word(Span(task, item.text[start:end], start, end, round(weight, 4)), news)
        for (start, end), weight in sorted(by_word.items())
    )
    return Explanation(text, task, method, sent_as(prediction, cleaned), tuple(spans))


def gradients(engine: Engine, item: TokenizedText, task: str, *, label: int, steps: int) -> list[np.ndarray]:
    """Attribution of log p(label) to the tokens, one array [tokens] a window.

    One step is gradient x (input - baseline) at the input.  More steps are the midpoint Riemann sum of
    integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks").  In the
    baseline every token of the text is the padding token.
    """
    classifier = engine.runtime.torch_classifier(item.part)
    inputs = batch_inputs([item]).to(engine.device)
    encoder: Any = classifier.encoder
    vectors: Tensor = encoder.get_input_embeddings()(inputs.ids).detach()
    padding_ids = torch.full_like(inputs.ids, item.part.network.pad_id)
    padding = encoder.get_input_embeddings()(padding_ids).detach()
    baseline = torch.where(inputs.words.unsqueeze(-1), padding, vectors)
    total = torch.zeros_like(vectors, dtype=torch.float32)
    fractions = [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    with torch.enable_grad():
        for fraction in fractions:
            point = (baseline + fraction * (vectors - baseline)).requires_grad_(True)
            logits, _ = classifier.apply_heads(classifier.encode(inputs, point))[task]
            log_probability = torch.log_softmax(logits, dim=-1)[0, label]
            (gradient,) = torch.autograd.grad(log_probability, point)
            total += gradient.float() / len(fractions)
    weights = (total * (vectors - baseline).float()).sum(-1).cpu().numpy()
    return split_windows(weights.reshape(-1), item, weights.shape[1])


def carrying(words: Sequence[Span], count: int) -> list[Span]:
    """The `count` words with the largest weights for the label, largest first, without punctuation."""
    named = [span for span in words if evidence.HAS_WORD.search(span.text)]
    return sorted(named, key=lambda span: (-span.weight, span.start))[:count]
