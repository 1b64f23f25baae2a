"""What was found for recent texts: a wire story that arrives by several feeds is classified once."""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from threading import Lock
from typing import Generic, TypeVar

from models.inference.tokenize import CleanInput
from stream.domain.documents import Prediction

Key = tuple[bytes, str | None]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentCache(Generic[K, V]):
    """The values of the `size` most recently used keys.  Any thread may use it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, keys: Iterable[K]) -> dict[K, V]:
        """The values that are in the cache, which become the most recently used."""
        hits: dict[K, V] = {}
        with self._lock:
            for key in keys:
                value = self._values.get(key)
                if value is not None:
                    self._values.move_to_end(key)
                    hits[key] = value
        return hits

    def add(self, values: Mapping[K, V]) -> None:
        """Add values; the least recently used ones make room."""
        if not self._size:
            return
        with self._lock:
            for key, value in values.items():
                self._values[key] = value
                if len(self._values) > self._size:
                    self._values.popitem(last=False)


class PredictionCache(RecentCache[Key, Prediction]):
    """The predictions of recent texts."""

    @staticmethod
    def key(text: CleanInput) -> Key:
        """What tells texts apart: a hash of text, targets and names, and the language that is declared."""
        digest = hashlib.blake2b(text.text.encode("utf-8", "surrogatepass"), digest_size=16)
        if text.targets or text.names:
            # The first byte is in no text.
            digest.update(b"\xff" + repr((text.targets, text.names)).encode())
        return digest.digest(), text.declared
