"""Predictions of recent texts: a wire story that arrives by several feeds is classified once."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock

from models.inference.tokenize import CleanInput
from stream.domain.documents import Prediction

Key = tuple[bytes, str | None]


class PredictionCache:
    """The predictions of the `size` most recently used texts.  Any thread may use it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._predictions: OrderedDict[Key, Prediction] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def key(text: CleanInput) -> Key:
        """What tells texts apart: a hash of text and targets, and the language that the feed declares."""
        digest = hashlib.blake2b(text.text.encode("utf-8", "surrogatepass"), digest_size=16)
        if text.targets:
            # The first byte is in no text.
            digest.update(b"\xff" + repr(text.targets).encode())
        return digest.digest(), text.declared

    def get(self, keys: Iterable[Key]) -> dict[Key, Prediction]:
        """The predictions that are in the cache, which become the most recently used."""
        hits: dict[Key, Prediction] = {}
        with self._lock:
            for key in keys:
                prediction = self._predictions.get(key)
                if prediction is not None:
                    self._predictions.move_to_end(key)
                    hits[key] = prediction
        return hits

    def add(self, predictions: Mapping[Key, Prediction]) -> None:
        """Add predictions; the least recently used ones make room."""
        if not self._size:
            return
        with self._lock:
            for key, prediction in predictions.items():
                self._predictions[key] = prediction
                if len(self._predictions) > self._size:
                    self._predictions.popitem(last=False)
