"""The JSON form of a prediction, as the predictions topic and the command line show it."""

from typing import Any

from stream.domain.documents import DocumentStatus, Prediction
from stream.domain.entities import EntityMention, TargetSentiment


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
        "certain": prediction.certain and supported,
        "windows": prediction.windows,
        "model": prediction.model,
        "judged_by": prediction.judged_by or prediction.model,
        "events": prediction.events,
        "entities": list(map(entity_fields, prediction.entities)),
        "gazetteer": prediction.gazetteer,
    }


def entity_fields(mention: EntityMention) -> dict[str, Any]:
    """One entity of a text as JSON fields.  An uncertain sentiment has its label here, as in a prediction."""
    if mention.sentiment is not None:
        sentiment: dict[str, Any] | None = {"label": mention.sentiment, "probability": mention.probability}
    elif mention.uncertain is not None:
        sentiment = dict(zip(("label", "probability"), mention.uncertain, strict=True))
    else:
        sentiment = None
    return {
        "id": mention.entity,
        "name": mention.name,
        "mentions": [{"start": start, "end": end} for start, end in mention.spans],
        "relevance": mention.relevance,
        "sentiment": sentiment,
        "score": mention.score,
        "certain": mention.sentiment is not None,
        "of_target": mention.of_target,
    }


def target_fields(span: tuple[int, int], answer: TargetSentiment) -> dict[str, Any]:
    """The sentiment towards a part of a text that was asked for, as JSON fields."""
    label = answer.sentiment
    return {
        "start": span[0],
        "end": span[1],
        "sentiment": None if label is None else {"label": label, "probability": answer.probability},
        "score": answer.score,
        "certain": answer.certain and label is not None,
        "of_target": answer.of_target,
    }


def _label_fields(prediction: Prediction, task: str, label: str | None) -> dict[str, Any] | None:
    if label is None:
        return None
    return {"label": label, "probability": prediction.probabilities[task][label]}
