"""Who said something first: the text of a story that was published first."""

from sqlalchemy import Engine

from stream.storage.desk.documents import TextLine, Texts
from stream.storage.desk.stories import Stories


def first_text(engine: Engine, story: int) -> TextLine | None:
    """The text that was published first, as far as that is known; None if it was deleted.

    Raises StoreUnavailable.
    """
    stories = Stories(engine)
    facts = stories.facts([story]).get(story)
    if facts is None:
        return None
    key = stories.earliest(story) or facts.first_key
    return Texts(engine).lines([key]).get(key)
