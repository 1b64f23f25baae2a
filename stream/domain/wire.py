"""The JSON form of a prediction, as the predictions topic and the command line show it."""

from typing import Any

from stream.domain.documents import DocumentStatus, Prediction


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON fields.

    The `status` of an uncertain prediction is "ok" here: its labels are given, and `certain` is false.
    """
    supported = prediction.sentiment is not None
    return {
        "lang": prediction.lang,
        "topic": _label_fields(prediction, "topic", prediction.topic),
        "sentiment": _label_fields(prediction, "sentiment", prediction.sentiment),
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "evidence": prediction.evidence,
        "status": (DocumentStatus.OK if supported else DocumentStatus.UNSUPPORTED).value,
        "certain": prediction.certain,
        "windows": prediction.windows,
        "model": prediction.model,
    }


def _label_fields(prediction: Prediction, task: str, label: str | None) -> dict[str, Any] | None:
    if label is None:
        return None
    return {"label": label, "probability": prediction.probabilities[task][label]}
