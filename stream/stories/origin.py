"""Who first said a text."""

from dataclasses import dataclass

from stream.domain.documents import Document


@dataclass(frozen=True)
class Publishers:
    """The publishers that are known, by host and by name."""


SHIPPED_PUBLISHERS = Publishers()


def origin(document: Document, _publishers: Publishers) -> str:
    """The author of a document, else its source."""
    return document.author or document.source
