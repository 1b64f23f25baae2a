"""The JSON form of records that leave the monitor."""

from typing import Any

from stream.domain.documents import Prediction


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON shows it, on Kafka and on the command line."""
    return {
        "lang": prediction.lang,
        "topic": _label(prediction, "topic", prediction.topic),
        "sentiment": _label(prediction, "sentiment", prediction.sentiment),
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "evidence": prediction.evidence,
        "status": prediction.status,
        "certain": prediction.certain,
        "windows": prediction.windows,
        "model": prediction.model,
    }


def _label(prediction: Prediction, task: str, label: str | None) -> dict[str, Any] | None:
    if label is None:
        return None
    return {"label": label, "probability": prediction.probabilities[task][label]}
