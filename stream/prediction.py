"""Gets a prediction for each document of a batch, and finds the texts that the classifier fails on."""

import logging
from collections.abc import Sequence

from stream.domain.documents import Document, Prediction, TextInput
from stream.domain.errors import InferenceError, error_text
from stream.domain.records import Classify

log = logging.getLogger(__name__)

# A text that every working classifier can classify.
PROBE = TextInput("Company reports quarterly results", "en")


def predict_each(documents: Sequence[Document], classify: Classify) -> list[Prediction | InferenceError]:
    """A prediction for each document, in order, or the error of one that the classifier fails on.

    All documents are classified together.  If that fails, each half is classified separately, until the
    document that makes it fail is alone.  Raises InferenceError if the classifier then fails on a plain
    text too: the classifier is broken, and the document is not the cause.
    """
    if not documents:
        return []
    if len(documents) == 1:
        return [_predict_one(documents[0], classify)]
    try:
        return [*_classify_checked([document.text_input for document in documents], classify)]
    except InferenceError as error:
        log.warning("inference failed on %d documents, trying each half: %s", len(documents), error)
    middle = len(documents) // 2
    return predict_each(documents[:middle], classify) + predict_each(documents[middle:], classify)


def _predict_one(document: Document, classify: Classify) -> Prediction | InferenceError:
    try:
        return _classify_with_retry(document.text_input, classify)
    except InferenceError as error:
        _classify_with_retry(PROBE, classify)
        return error


def _classify_with_retry(text: TextInput, classify: Classify) -> Prediction:
    """A text is the cause only if the classifier fails on it a second time."""
    try:
        return _classify_checked([text], classify)[0]
    except InferenceError as error:
        log.warning("inference failed on a single text, retrying once: %s", error)
        return _classify_checked([text], classify)[0]


def _classify_checked(texts: Sequence[TextInput], classify: Classify) -> Sequence[Prediction]:
    """Predictions that are complete and finite.  Raises InferenceError if they are not."""
    try:
        predictions = classify(texts)
    except (RuntimeError, MemoryError) as error:  # raised by a device or its library
        raise InferenceError(error_text(error)) from error
    if len(predictions) != len(texts) or not all(prediction.is_finite for prediction in predictions):
        raise InferenceError(f"the answer for {len(texts)} texts is incomplete or not finite")
    return predictions
