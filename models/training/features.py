"""The token vectors of texts, computed once, for heads that learn on an encoder that does not change."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.backend_selection import cached_backend
from models.backends.runtime import load_runtime
from models.inference.forward import ForwardPass
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import OVERLAP, TokenizedText
from models.network.artifact import LoadedModel, Part, load_part
from models.network.classifier import Hidden
from models.network.info import PartInfo, read_info
from models.settings import ModelSettings
from models.training.options import Progress

# Windows that are read of a long text.  What rows say stands near the start of a text, and the vectors of
# whole articles would fill the memory.
MAX_WINDOWS = 4


@dataclass(frozen=True)
class Features:
    """The tokens of texts, one text after the other, as the heads see them.

    `vectors` are float16 [tokens, width], which is finer than the encoder's 8 bits.  `words` and `first` are
    bool [tokens], as in Hidden; `places` int64 [tokens, 2] are the characters (start, end) of each token in
    its text, both 0 for special tokens.  The tokens of text i are those from `starts[i]` to `starts[i + 1]`.
    """

    vectors: Tensor
    words: Tensor
    first: Tensor
    places: np.ndarray
    starts: np.ndarray

    def tokens(self, text: int) -> int:
        """The number of tokens of a text."""
        return int(self.starts[text + 1] - self.starts[text])

    def hidden(self, texts: Sequence[int], device: torch.device) -> Hidden:
        """Some texts as a padded batch, in float32."""
        slices = [slice(self.starts[text], self.starts[text + 1]) for text in texts]
        vectors, words, first = (
            torch.nn.utils.rnn.pad_sequence([values[own] for own in slices], batch_first=True)
            for values in (self.vectors, self.words, self.first)
        )
        return Hidden(vectors.to(device).float(), words.to(device), first.to(device))

    def span(self, text: int, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """Which tokens of a text overlap one of the places (start, end) in it: bool [tokens]."""
        starts, ends = self.places[self.starts[text] : self.starts[text + 1]].T
        inside = np.zeros(len(starts), bool)
        for start, end in places:
            inside |= (starts < end) & (ends > start)
        return inside


def compute_features(
    folder: Path, info: PartInfo, texts: Sequence[str], device: str = "auto", progress: Progress | None = None
) -> Features:
    """Read texts once with a part of the model in `folder`, by the backend that runs it here.

    Raises ModelError.
    """
    model = read_info(folder)
    part = load_part(folder, info, model.labels)
    settings = cached_backend(ModelSettings(weights=folder, device=device))
    runtime = load_runtime(LoadedModel(model, (part,)), settings)
    read = tokenized(part, texts, MAX_WINDOWS)
    lengths = [text.tokens for text in read]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    width = int(part.network.classifier.encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
    vectors = torch.empty((int(starts[-1]), width), dtype=torch.float16)
    done = 0
    for batch, hidden in ForwardPass(runtime, model.version, ModelMetrics()).hidden(read):
        for row, text in enumerate(batch):
            vectors[starts[text.index] : starts[text.index + 1]] = _vectors(hidden, row, text, batch)
        done += len(batch)
        if progress is not None:
            progress(done, len(texts), "reading the texts")
    windows = [window for text in read for window in text.windows]
    words = [special == 0 for window in windows for special in window.special_tokens_mask]
    first = [token == 0 for window in windows for token in range(len(window))]
    places = [place for window in windows for place in window.offsets]
    return Features(
        vectors, torch.tensor(words), torch.tensor(first), np.array(places).reshape(-1, 2), starts
    )


def tokenized(part: Part, texts: Sequence[str], max_windows: int) -> list[TokenizedText]:
    """The first windows of the texts, as inference reads them."""
    length, language = part.info.max_tokens, part.info.languages[0]
    part.network.tokenizer.no_padding()
    part.network.tokenizer.enable_truncation(length, stride=length // OVERLAP)
    encodings = part.network.tokenizer.encode_batch(list(texts))
    windows = [(encoding, *encoding.overflowing)[:max_windows] for encoding in encodings]
    return [
        TokenizedText(index, text, language, part, own, truncated=False)
        for index, (text, own) in enumerate(zip(texts, windows, strict=True))
    ]


def _vectors(hidden: Hidden, row: int, text: TokenizedText, batch: Sequence[TokenizedText]) -> Tensor:
    """The vectors of one text of a batch without the padding of its windows: [tokens, width]."""
    width = max(len(window) for other in batch for window in other.windows)
    joined = hidden.of_texts(torch.tensor([row], device=hidden.vectors.device), width * len(text.windows))[0]
    parts = [joined[i * width : i * width + len(window)] for i, window in enumerate(text.windows)]
    return torch.cat(parts).to("cpu", torch.float16)
