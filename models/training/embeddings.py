"""What the embedding head learns: the embeddings of a sentence encoder, in fewer dimensions.

Labels alone teach an encoder to forget what a text tells beyond its topic and mood: two companies that cut
their outlooks become one point.  A head that must keep reproducing a sentence encoder's embeddings keeps it.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from models.backends.device import compute_device
from models.errors import WeightsError
from models.network.classifier import EmbeddingHead
from models.network.network import Network
from models.training.options import Progress, TrainingOptions
from models.training.scoring import BATCH_SIZE
from models.training.teachers import save_whole

log = logging.getLogger(__name__)

# Dimensions of an embedding.  The 128 largest principal components of all-MiniLM-L6-v2 on headlines keep the
# clusters of its 384.
EMBEDDING_SIZE = 128
MAX_TOKENS = 128


def embedding_lesson(
    options: TrainingOptions, network: Network, texts: Sequence[str], progress: Progress | None
) -> np.ndarray | None:
    """What the network's embedding head must answer for each text, of length 1: [texts, size].

    The answers of `options.embeddings`, or else the network's own, before training moves them; None if it has
    no such head.  Raises WeightsError.
    """
    head = network.classifier.embedding
    if head is None:
        return None
    unique = list(dict.fromkeys(texts))
    if options.embeddings is None:
        answers = network_embeddings(network, head, unique, compute_device(options.fit.device), progress)
    else:
        answers = _cached(options.out, options.embeddings, unique, options.fit.device, progress)
    place = {text: i for i, text in enumerate(unique)}
    return answers[[place[text] for text in texts]]


def network_embeddings(
    network: Network,
    head: EmbeddingHead,
    texts: Sequence[str],
    device: torch.device,
    progress: Progress | None = None,
) -> np.ndarray:
    """What a network's head answers [texts, size]; texts are cut to the tokenizer's truncation."""
    network.classifier.eval().to(device)
    encodings = network.tokenizer.encode_batch(list(texts))
    order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
    answers = np.zeros((len(texts), head.size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            inputs = network.inputs([encodings[i] for i in positions]).to(device)
            answers[positions] = head(network.classifier.encode(inputs)).cpu().numpy()
            if progress is not None:
                progress(start + len(positions), len(order), "embeddings of the base")
    return answers


def _cached(
    out: Path, encoder: str, texts: Sequence[str], device: str, progress: Progress | None
) -> np.ndarray:
    """The sentence encoder's answers, kept in the output folder until the run is finished."""
    digest = hashlib.sha256("\0".join([encoder, *texts]).encode()).hexdigest()
    path = out / f"teacher-embeddings-{digest[:12]}.npz"
    if not path.is_file():
        embeddings = sentence_embeddings(encoder, texts, compute_device(device), progress)
        save_whole(path, {"embeddings": principal_components(embeddings, EMBEDDING_SIZE)})
    with np.load(path) as stored:
        answers: np.ndarray = stored["embeddings"]
    return answers


def sentence_embeddings(
    encoder: str, texts: Sequence[str], device: torch.device, progress: Progress | None
) -> np.ndarray:
    """The means of the token vectors of a sentence encoder, such as all-MiniLM-L6-v2: [texts, width].

    Raises WeightsError if it cannot be loaded.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
        network: Any = AutoModel.from_pretrained(encoder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WeightsError(f"sentence encoder {encoder!r} cannot be loaded: {error}") from error
    network = network.float().eval().to(device)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    answers = np.zeros((len(texts), network.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            batch = tokenizer(
                [texts[i] for i in positions],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            ).to(device)
            vectors = network(**batch).last_hidden_state
            weights = batch["attention_mask"].unsqueeze(-1).float()
            mean = (vectors * weights).sum(1) / weights.sum(1)
            answers[positions] = functional.normalize(mean, dim=-1).cpu().numpy()
            if progress is not None:
                progress(start + len(positions), len(order), "embeddings of the sentence encoder")
    return answers


def principal_components(embeddings: np.ndarray, size: int) -> np.ndarray:
    """Embeddings around their mean in the `size` directions of largest variance, of length 1.

    Zeros follow if they have fewer directions.
    """
    centred = embeddings - embeddings.mean(0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, np.argsort(values)[::-1][:size]]
    kept = np.zeros((len(centred), size), np.float32)
    kept[:, : directions.shape[1]] = centred @ directions
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    projected: np.ndarray = kept / np.maximum(lengths, 1e-9)
    return projected
