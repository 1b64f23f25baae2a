"""The head that tells news from boilerplate, sentence by sentence (`models.inference.long_texts`).

It is learned from written paragraphs (`models/data/boilerplate/<language>.csv`): boilerplate of every sort,
and news that speak of the same things.  The paragraphs stand before and behind news, since the encoder
reads a sentence in its context.  The encoder stays as it is: a logistic regression over the mean
vectors of sentences, with a penalty on the weights.
"""

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from models.inference.tokenize import OVERLAP
from models.network.network import Network
from stream.domain.text.boilerplate import sentences

FOLDER = Path(__file__).parents[1] / "data" / "boilerplate"
# Characters of a text of news that boilerplate is put to, and how many texts stand without any.
LONGEST_NEWS, PLAIN_TEXTS = 500, 160
# Documents of one pass of the encoder.
BATCH = 8
PENALTY = 3e-3
STEPS = 200
DIGITS = 6


class Piece(NamedTuple):
    """A part of a document, and whether it is boilerplate."""

    text: str
    is_boilerplate: bool


def written(language: str) -> tuple[list[str], list[str]]:
    """The written paragraphs of boilerplate and of news; none if there is no file for the language."""
    path = FOLDER / f"{language}.csv"
    if not path.is_file():
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return (
        [row["text"] for row in rows if row["kind"] == "boilerplate"],
        [row["text"] for row in rows if row["kind"] == "news"],
    )


def fit_news_head(
    network: Network, language: str, texts: Sequence[str], *, max_tokens: int, seed: int = 0
) -> tuple[float, ...]:
    """The weights of the head and its bias last; empty without written paragraphs of the language.

    `texts` are news of the language, the longer the better; written ones are used without any.
    """
    boilerplate, news = written(language)
    if not boilerplate:
        return ()
    documents = list(_documents(boilerplate, news, list(texts) or news, random.Random(seed)))
    vectors, labels = sentence_vectors(network, documents, max_tokens)
    return _regression(vectors, labels)


def _documents(
    boilerplate: Sequence[str], news: Sequence[str], texts: list[str], rng: random.Random
) -> Iterator[list[Piece]]:
    """Boilerplate behind and before news, and news without boilerplate."""
    rng.shuffle(texts)
    own = [Piece(text[:LONGEST_NEWS], False) for text in texts]
    near = [Piece(text, False) for text in news]
    for index, paragraph in enumerate(boilerplate):
        piece = Piece(paragraph, True)
        yield [own[index % len(own)], piece] if index % 2 else [piece, own[index % len(own)]]
        yield [near[index % len(near)], piece]
    for piece in (*near, *own[:PLAIN_TEXTS]):
        yield [piece]


@torch.inference_mode()
def sentence_vectors(
    network: Network, documents: Sequence[Sequence[Piece]], max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean vector of the tokens of each sentence [sentences, width], and whether it is boilerplate."""
    network.classifier.eval()
    tokenizer = network.tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, stride=max_tokens // OVERLAP)
    texts = ["\n".join(piece.text for piece in pieces) for pieces in documents]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    vectors: list[np.ndarray] = []
    labels: list[bool] = []
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        encodings = tokenizer.encode_batch([texts[index] for index in chosen])
        windows = [[encoding, *encoding.overflowing] for encoding in encodings]
        flat = [window for of_text in windows for window in of_text]
        hidden = network.classifier.encode(network.inputs(flat)).vectors.float().numpy()
        row = 0
        for index, of_text in zip(chosen, windows, strict=True):
            found = list(sentences(texts[index]))
            starts, ends = (
                [begin for begin, _ in found],
                np.cumsum([len(p.text) + 1 for p in documents[index]]),
            )
            sums, counts = np.zeros((len(starts), hidden.shape[-1])), np.zeros(len(starts))
            for window in of_text:
                is_word = np.asarray(window.special_tokens_mask) == 0
                last = np.asarray(window.offsets)[:, 1] - 1
                own = (np.searchsorted(starts, last, side="right") - 1)[is_word]
                np.add.at(sums, own, hidden[row, : len(window)][is_word])
                np.add.at(counts, own, 1)
                row += 1
            for place, begin in enumerate(starts):
                if counts[place]:
                    vectors.append(sums[place] / counts[place])
                    labels.append(
                        documents[index][int(np.searchsorted(ends, begin, side="right"))].is_boilerplate
                    )
    return np.array(vectors), np.array(labels)


def _regression(vectors: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Logistic regression over standardised vectors, as weights for vectors as they are."""
    mean, deviation = vectors.mean(0), vectors.std(0) + 1e-6
    inputs = torch.from_numpy((vectors - mean) / deviation)
    wanted = torch.from_numpy(labels.astype(float))
    weights = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = inputs @ weights[:-1] + weights[-1]
        value = functional.binary_cross_entropy_with_logits(logits, wanted)
        value = value + PENALTY * weights[:-1].square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    learned = weights.detach().numpy()
    own = learned[:-1] / deviation
    bias = learned[-1] - (own * mean).sum()
    return tuple(round(float(value), DIGITS) for value in (*own, bias))
