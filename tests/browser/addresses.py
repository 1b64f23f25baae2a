"""The addresses of every page of a newsroom."""

from urllib.parse import quote

from sqlalchemy import select

from stream.storage import database, schema
from tests.browser.newsroom import Newsroom

# The pages that need nothing in the database.
EMPTY = {
    "overview": "/",
    "topic": "/topics/Earnings",
    "incidents": "/incidents",
    "entities": "/entities",
    "rules": "/rules",
    "rule": "/rules/negative-surge",
    "watchlists": "/watchlists",
    "health": "/health",
    "alerts": "/alerts",
    "runbooks": "/runbooks",
}


def addresses(newsroom: Newsroom, incident: str | None = None) -> dict[str, str]:
    """By the name of the page, about what an incident is about: the first open one, unless another is given."""
    id_ = incident or newsroom.open_incident()
    entity = newsroom.episodes.incidents_of([id_])[id_].lead_entities[-1]
    mentions, stories = schema.mentions, schema.document_stories
    latest = (
        select(mentions.c.key, stories.c.story)
        .join(stories, stories.c.key == mentions.c.key)
        .where(mentions.c.entity == entity)
        .order_by(mentions.c.published_at.desc())
        .limit(1)
    )
    with database.reading(newsroom.store.engine) as connection:
        key, story = connection.execute(latest).one()
    return EMPTY | {
        "topic": f"/topics/{quote('Company | Product News', safe='')}",
        "entity": f"/entities/{quote(entity, safe='')}",
        "story": f"/stories/{story}",
        "text": f"/texts/{quote(key, safe='')}",
        "incident": f"/incidents/{id_}",
    }
