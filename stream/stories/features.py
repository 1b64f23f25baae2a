"""The features of a document by which it is assigned to a story."""

from datetime import datetime

from stream.domain.documents import Document, Kind, Prediction
from stream.domain.stories import StoryFeatures, StoryInput
from stream.domain.text.cleaning import clean
from stream.stories.origin import origin
from stream.stories.publishers import Publishers
from stream.stories.signature import core, signature, tokens
from stream.stories.terms import text_terms


def story_features(document: Document, prediction: Prediction, publishers: Publishers) -> StoryFeatures:
    """What is stored of a document for the story task."""
    text = core(clean(document.content).news.text)
    entities = ((mention.entity, mention.relevance) for mention in prediction.entities)
    return StoryFeatures(
        origin(document, publishers),
        signature(tokens(text)),
        text_terms(text, entities),
        prediction.embedding,
        document.kind is Kind.NEWS and bool(document.title),
    )


def story_input(document: Document, features: StoryFeatures, received_at: datetime) -> StoryInput:
    """A document that waits for its story."""
    return StoryInput(document.key, document.kind, document.source, document.id, received_at, features)
