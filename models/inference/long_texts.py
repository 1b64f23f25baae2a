"""How much each sentence of a long text counts for its labels.

A page has a headline and a lead, which say what is new, then the background, and often boilerplate that no
pattern knows (`stream.domain.text.boilerplate`).  Pooled alike, what is longest would decide.  So a sentence
counts by two things:

what it is      a linear head over its tokens tells news from boilerplate (`PartInfo.news_head`).  Sentences
                of one kind stand together, which a chain of two states knows (forward and backward, Rabiner
                1989, "A Tutorial on Hidden Markov Models").
where it stands a sentence counts less the more news stands before it.

The weight is added to the scores of the pooling as its logarithm.  A short text has none: its labels are
those of its tokens alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from models.inference.tokenize import TokenizedText
from models.network.classifier import Hidden
from stream.domain.text.boilerplate import sentences

# A text is long if it has so many tokens and more than one sentence: fewer cannot outvote the news.
LONG = 48
# The probability that a sentence is of the kind of the one before it.
STAYS = 0.9
# The probability that a text begins with news.
BEGINS_WITH_NEWS = 0.9
# The log-odds of the head are made sharper, but one sentence alone decides nothing.
SHARPER, SUREST = 1.5, 6.0
# A sentence with so many tokens of news before it counts half as much as the first.  Found on 110 articles of
# a newswire, as that with which the body alone best agrees with the label of the headline: 0.76 of them, for
# 0.73 where all sentences count alike.
LEAD = 96.0
# A sentence that is boilerplate for sure still counts this much: nothing is thrown away for good.
LEAST = 1e-3
# A text with a smaller share of news says nothing.
LEAST_NEWS = 0.1


def weigh(hidden: Hidden, batch: Sequence[TokenizedText]) -> tuple[Hidden, list[float]]:
    """The vectors with the weights of the tokens of long texts, and the share of news in each text.

    The batch is of one part.  Without a head that tells news from boilerplate every text counts as it is.
    """
    head = batch[0].part.info.news_head
    ids = [token_sentences(text) if head and text.tokens >= LONG else None for text in batch]
    long = [row for row, of_windows in enumerate(ids) if of_windows is not None]
    if not long:
        return hidden, [1.0] * len(batch)
    weight = torch.tensor(head, device=hidden.vectors.device)
    logits = hidden.by_text(hidden.vectors.float() @ weight[:-1] + weight[-1]).cpu().numpy()
    width = logits.shape[1] // max(len(text.windows) for text in batch)
    log_weights, news = np.zeros(logits.shape, np.float32), [1.0] * len(batch)
    for row in long:
        of_windows = ids[row] or []
        sentence = np.full(logits.shape[1], -1)
        for place, window in enumerate(of_windows):
            sentence[place * width : place * width + len(window)] = window
        weights, news[row] = _sentence_weights(logits[row], sentence)
        log_weights[row] = np.where(sentence < 0, 0.0, np.log(weights)[sentence])
    return replace(hidden, log_weights=torch.from_numpy(log_weights).to(hidden.vectors.device)), news


def token_sentences(text: TokenizedText) -> list[np.ndarray] | None:
    """For each window the sentence of each token, -1 for special tokens; None if there is only one."""
    starts = [start for start, _ in sentences(text.text)]
    if len(starts) < 2:
        return None
    found = []
    for window in text.windows:
        offsets = np.asarray(window.offsets)
        own = np.searchsorted(starts, offsets[:, 1] - 1, side="right") - 1
        found.append(np.where(np.asarray(window.special_tokens_mask) == 1, -1, own))
    return found


def _sentence_weights(logits: np.ndarray, sentence: np.ndarray) -> tuple[np.ndarray, float]:
    """The weight of each sentence, and the share of news, from the logits and the sentence of each token."""
    is_word = sentence >= 0
    tokens = np.bincount(sentence[is_word], minlength=1)
    means = np.bincount(sentence[is_word], logits[is_word]) / np.maximum(tokens, 1)
    is_news = np.array(list(_chain(means.tolist())))
    before = np.concatenate([[0.0], np.cumsum(is_news * tokens)[:-1]])
    weights = np.maximum(is_news, LEAST) / (1 + before / LEAD)
    return weights, float((is_news * tokens).sum() / max(tokens.sum(), 1))


def _chain(logits: Sequence[float]) -> Iterator[float]:
    """The probability of news of each sentence, from the log-odds of boilerplate of each."""
    forward: list[tuple[float, float]] = []
    news, other = BEGINS_WITH_NEWS, 1 - BEGINS_WITH_NEWS
    likelihoods = [_probability(logit) for logit in logits]
    for boilerplate in likelihoods:
        news, other = news * (1 - boilerplate), other * boilerplate
        total = news + other
        news, other = news / total, other / total
        forward.append((news, other))
        news, other = STAYS * news + (1 - STAYS) * other, STAYS * other + (1 - STAYS) * news
    after: list[float] = []
    news = other = 1.0
    for (own_news, own_other), boilerplate in zip(reversed(forward), reversed(likelihoods), strict=True):
        after.append(own_news * news / (own_news * news + own_other * other))
        news, other = news * (1 - boilerplate), other * boilerplate
        total = news + other
        news, other = (
            (STAYS * news + (1 - STAYS) * other) / total,
            (STAYS * other + (1 - STAYS) * news) / total,
        )
    return reversed(after)


def _probability(logit: float) -> float:
    """The probability of a sentence's log-odds, never quite 0 or 1: one sentence alone decides nothing."""
    log_odds = min(max(SHARPER * logit, -SUREST), SUREST)
    return 1 / (1 + math.exp(-log_odds))
