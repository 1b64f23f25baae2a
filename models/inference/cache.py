"""Texts that were judged lately: a wire story that comes by many feeds is read once."""

import hashlib
from collections import OrderedDict

from stream.domain.documents import Prediction

Key = tuple[bytes, str | None]


class Repeats:
    """The predictions of the last `size` different texts.  One thread at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._known: OrderedDict[Key, Prediction] = OrderedDict()

    @staticmethod
    def key(text: str, claimed: str | None) -> Key:
        """What tells texts apart; of one length however long they are."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), claimed

    def get(self, key: Key) -> Prediction | None:
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def put(self, key: Key, prediction: Prediction) -> None:
        if not self.size:
            return
        self._known[key] = prediction
        if len(self._known) > self.size:
            self._known.popitem(last=False)
