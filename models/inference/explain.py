"""Why a text got its label: a weight for every word, by one of three methods.

attention    attention times the token's vote for the label, with a sign: free, the same numbers as the
             evidence of every prediction
gradient     gradient x input, with a sign: one backward pass; how the label reacts to small changes
integrated   integrated gradients, with a sign: STEPS backward passes; the weights add up to the change in
             log-probability against a text of padding tokens

Whatever the method, the words with the largest weights are checked by removal (`models.inference.removal`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.inference import evidence
from models.inference.engine import Engine, clean_input
from models.inference.evidence import Name, Word
from models.inference.forward import batch_inputs
from models.inference.long_texts import LEAST_NEWS, weigh
from models.inference.outputs import split_windows
from models.inference.predictions import sent_as, sent_word, without_news
from models.inference.removal import MOST_WORDS, remove_each
from models.inference.tokenize import TokenizedText
from stream.domain.documents import Prediction, Span
from stream.domain.text.cleaning import clean

Method = Literal["attention", "gradient", "integrated"]
STEPS = 24


# Words with less than this share of the largest weight are not tried by removal, and get no weight.
FAINT = 0.15


@dataclass(frozen=True)
class WordEffect:
    """What happens to the label without a word: its probability falls by `fall`, from 1 down to -1.

    `start` and `end` are the word's place in the text as it was sent.
    """

    text: str
    start: int
    end: int
    fall: float


@dataclass(frozen=True)
class Explanation:
    """A prediction and, for one task, a signed weight for each word, in the order of the text.

    Only the strongest words have a weight.  Names, numbers and function words have none, and neither has a
    word whose removal does not change the label's probability in the direction of its weight.  `removed` are
    the words with a weight and what happens without them, largest fall first.
    """

    text: str
    task: str
    method: Method
    prediction: Prediction
    words: tuple[Span, ...]
    removed: tuple[WordEffect, ...] = ()


def explain(
    engine: Engine,
    text: str,
    task: str = "sentiment",
    method: Method = "attention",
    declared: str | None = None,
    names: Sequence[Name] = (),
) -> Explanation:
    """Weigh the words of one text.  An unsupported text has no words, and boilerplate has none either.

    `names` are the entities that the text names, in its own characters.

    Raises ModelError if the backend has no gradients and `method` needs them.
    """
    cleaned = clean(text)
    news = cleaned.news
    tokenized = engine.tokenizer.tokenize([clean_input(cleaned, declared, names=names)])
    if not tokenized.texts:
        prediction = engine.builder.unsupported(tokenized.unsupported[0])
        return Explanation(text, task, method, prediction, ())
    ((item, output),) = engine.forward.outputs(tokenized.texts)
    prediction = engine.builder.build(item, output.probabilities, output.contributions)
    if output.news < LEAST_NEWS:
        return Explanation(text, task, method, sent_as(without_news(prediction), cleaned), ())
    label = engine.info.labels[task].index(getattr(prediction, task))
    if method == "attention":
        values = output.contributions[task]
    else:
        values = gradients(engine, item, task, label=label, steps=STEPS if method == "integrated" else 1)
    words = evidence.Words(item.text, item.windows, item.names)
    weights = words.sums(values)
    speaking = strongest(weights, words.can_speak(task, weights))
    probability = float(output.probabilities[task][label])
    removals = remove_each(engine, item, task=task, label=label, probability=probability, words=speaking)
    kept = {
        removal.word: removal
        for removal in removals
        if (removal.speaks_for if weights[removal.word] > 0 else removal.speaks_against)
    }
    spans = [
        sent_word(words.span(task, word, round(weights[word], 4) if word in kept else 0.0), news)
        for word in sorted(weights)
    ]
    effects = [
        WordEffect(span.text, span.start, span.end, round(kept[word].before - kept[word].after, 4))
        for word, span in zip(sorted(weights), spans, strict=True)
        if word in kept
    ]
    effects.sort(key=lambda effect: (-effect.fall, effect.start))
    return Explanation(text, task, method, sent_as(prediction, cleaned), tuple(spans), tuple(effects))


def strongest(weights: Mapping[Word, float], words: Sequence[Word]) -> list[Word]:
    """Those of the words with the largest weights, of either sign, that are worth a pass each."""
    ranked = sorted(words, key=lambda word: (-abs(weights[word]), word))[:MOST_WORDS]
    return [word for word in ranked if abs(weights[word]) >= FAINT * abs(weights[ranked[0]])]


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
    with torch.no_grad():
        log_weights = weigh(classifier.encode(inputs), [item])[0].log_weights
    total = torch.zeros_like(vectors, dtype=torch.float32)
    fractions = [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]
    with torch.enable_grad():
        for fraction in fractions:
            point = (baseline + fraction * (vectors - baseline)).requires_grad_(True)
            logits, _ = classifier.apply_heads(
                replace(classifier.encode(inputs, point), log_weights=log_weights)
            )[task]
            log_probability = torch.log_softmax(logits, dim=-1)[0, label]
            (gradient,) = torch.autograd.grad(log_probability, point)
            total += gradient.float() / len(fractions)
    weights = (total * (vectors - baseline).float()).sum(-1).cpu().numpy()
    return split_windows(weights.reshape(-1), item, weights.shape[1])
