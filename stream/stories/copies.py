"""Finds what a text is a copy of, among the last texts, by signatures: in bounded memory and time."""

from collections.abc import Sequence

import numpy as np

from stream.stories.signature import SIGNATURE_SIZE

# Texts that are remembered: 2 ** 18, about three a second for a day.
MOST_TEXTS = 1 << 18
# A signature is cut into bands: two texts are compared if all bytes of one band are equal.  Of texts with 0.7
# of their shingles in common 87 % share one, of texts with 0.8 more than 99 %.
BAND = 6
BANDS = SIGNATURE_SIZE // BAND
SLOT_BITS = 19
# Equal bytes of two signatures of copies, of SIGNATURE_SIZE: about 0.76 of their shingles.
LEAST_EQUAL = 98
NOTHING = -1

_POWERS = np.array([257**i for i in range(BAND)], np.uint64)
_SEEDS = np.arange(1, BANDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


class RecentTexts:
    """The signatures of the last texts, and what they are about (specifics), by a running number.

    Each band of a signature has a table of slots with the last text that has these bytes; another text with
    other bytes may take the slot.  What is found depends on the texts and their order alone, not on when a
    process began: a text that is no longer remembered is never found.
    """

    def __init__(self, size: int = MOST_TEXTS) -> None:
        self.size = size
        self._signatures = np.zeros((size, SIGNATURE_SIZE), np.uint8)
        self._specifics: list[tuple[int, ...]] = [()] * size
        self._tables = np.full((BANDS, 1 << SLOT_BITS), NOTHING, np.int32)
        self._bands = np.arange(BANDS)

    def find(self, signature: bytes, specifics: Sequence[int], oldest: int) -> int | None:
        """The number of the most similar text from number `oldest` on that this one is a copy of.

        Copies are about the same, or one of them lacks something, since it was cut.
        """
        if not signature:
            return None
        own = np.frombuffer(signature, np.uint8)
        found = np.unique(self._tables[self._bands, _slots(own)])
        found = found[found >= oldest]
        if not len(found):
            return None
        equal = (self._signatures[found % self.size] == own).sum(axis=1)
        # The most similar first, among equals the oldest: what was copied.
        for place in np.lexsort((found, -equal)):
            if equal[place] < LEAST_EQUAL:
                return None
            number = int(found[place])
            if _agree(set(specifics), set(self._specifics[number % self.size])):
                return number
        return None

    def add(self, number: int, signature: bytes, specifics: tuple[int, ...]) -> None:
        """Remember a text by its number, which is one more than that of the text before."""
        place = number % self.size
        self._specifics[place] = specifics
        if not signature:
            self._signatures[place] = 0
            return
        own = np.frombuffer(signature, np.uint8)
        self._signatures[place] = own
        self._tables[self._bands, _slots(own)] = number


def _slots(signature: np.ndarray) -> np.ndarray:
    """The slot of each band of a signature: int64 [BANDS]."""
    bands = signature[: BANDS * BAND].reshape(BANDS, BAND).astype(np.uint64)
    hashes = ((bands * _POWERS).sum(axis=1, dtype=np.uint64) + _SEEDS) * np.uint64(0xBF58476D1CE4E5B9)
    slots: np.ndarray = (hashes >> np.uint64(64 - SLOT_BITS)).astype(np.int64)
    return slots


def _agree(specifics: set[int], others: set[int]) -> bool:
    return specifics <= others or others <= specifics
