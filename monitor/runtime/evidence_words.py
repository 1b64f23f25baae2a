"""The words that are marked in the evidence of a page, checked by removal."""

import logging
from dataclasses import replace

from monitor.runtime.classifier import Classifier
from stream.domain.alerts import EvidenceItem
from stream.domain.errors import InferenceError

log = logging.getLogger(__name__)


def with_checked_words(classifier: Classifier, item: EvidenceItem) -> EvidenceItem:
    """The item with the words of what is shown of it that its negative sentiment would miss most.

    Where what is shown is not negative by itself, such as a title whose news are in the text below it, and
    where the classifier fails, the words that were stored with the document stay.
    """
    try:
        words = classifier.words_for(item.content, "negative")
    except InferenceError as error:
        log.warning("the words of evidence %s are shown unchecked: %s", item.key, error)
        words = ()
    return replace(item, words=words) if words else item
