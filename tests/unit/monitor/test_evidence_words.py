"""Words of evidence, checked by removal before a page is sent."""

from datetime import UTC, datetime
from typing import cast

import pytest

from monitor.bench.stand_in import StandIn
from monitor.runtime.classifier import Classifier
from monitor.runtime.evidence_words import with_checked_words
from stream.domain.alerts import EvidenceItem
from stream.domain.errors import InferenceError

ITEM = EvidenceItem(
    "wire", "1", datetime(2026, 3, 1, tzinfo=UTC), "Kestrel plunges", -0.9, ("Kestrel",), key="k"
)


class Finds(StandIn):
    """Finds these words in every text, or fails."""

    def __init__(self, *words: str, fails: bool = False) -> None:
        super().__init__()
        self.words, self.fails, self.asked = words, fails, ""

    def words_for(self, text: str, sentiment: str) -> tuple[str, ...]:
        self.asked = f"{sentiment}: {text}"
        if self.fails:
            raise InferenceError("logits are not finite")
        return self.words


def test_the_words_are_those_that_the_label_misses() -> None:
    classifier = Finds("plunges")
    assert with_checked_words(cast(Classifier, classifier), ITEM).words == ("plunges",)
    assert classifier.asked == "negative: Kestrel plunges"


def test_without_an_answer_the_stored_words_stay(caplog: pytest.LogCaptureFixture) -> None:
    assert with_checked_words(cast(Classifier, Finds()), ITEM) == ITEM
    assert not caplog.records
    assert with_checked_words(cast(Classifier, Finds(fails=True)), ITEM) == ITEM
    assert "evidence k are shown unchecked: logits are not finite" in caplog.text
