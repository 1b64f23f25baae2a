from stream.domain.documents import Document


class Publishers:
    pass


SHIPPED_PUBLISHERS = Publishers()


def origin(document: Document, publishers: Publishers) -> str:
    return document.author or document.source
