"""What somebody sends who wants a reader's browser to run it."""

import hashlib
from datetime import datetime

from msgspec import structs

from stream.domain.documents import Document, Kind
from stream.domain.entities import EntityMention
from stream.domain.records import ClassifiedDocument
from stream.storage.entities import EntityRow, store_entities
from tests.browser.newsroom import MINUTE, Newsroom

ELSEWHERE = "https://elsewhere.example"
SCRIPTS = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    f'"><img src="{ELSEWHERE}/x.png" onerror="alert(3)">',
    "'><svg onload=alert(4)><animate onbegin=alert(5) attributeName=x dur=1s>",
    f'<div hx-get="{ELSEWHERE}/" hx-trigger="load" data-hx-get="/metrics" data-hx-trigger="load">x</div>',
    "<a href='javascript:alert(6)' hx-on:click='alert(7)'>Read more</a>",
    f'<style>@import "{ELSEWHERE}/x.css"; body {{ display: none }}</style>',
    f'<iframe srcdoc="<script>alert(8)</script>" src="{ELSEWHERE}"></iframe>',
    f'<base href="{ELSEWHERE}/"><form action="{ELSEWHERE}"><input autofocus onfocus=alert(9)>',
    "{{ 7 * 7 }} {% raw %} ${alert(10)} `${alert(11)}` &lt;script&gt;alert(12)&lt;/script&gt;",
    f'"}} data-chart=\'{{"url": "{ELSEWHERE}/points"}}\' <figure data-chart=\'{{"url": "{ELSEWHERE}"}}\'>',
    "\u202egnp.exe\u202c \u200b\u0000\ufffe<!-- --> ]]> -->",
)
URLS = (
    "javascript:alert(20)",
    "data:text/html,<script>alert(21)</script>",
    'https://wire.example/"onmouseover="alert(22)" style="position:fixed',
    " javascript:alert(23)",
    "https://wire.example/<script>alert(24)</script>",
    "vbscript:alert(25)",
)
ENTITY, ENTITY_NAME = "XXXX:<B>'\"/..", "<img src=x onerror=alert(30)> \"Ltd' {{ 7 * 7 }}"


def hostile_document(number: int, at: datetime) -> Document:
    """A report of which every field is hostile; the long ones have a word that fits on no line."""
    script = SCRIPTS[number % len(SCRIPTS)].replace("\0", "")
    return Document(
        id=f"{number}/{script}?a=b#c%2f",
        kind=Kind.NEWS,
        source=f"{script[:90]} wire {number}",
        published_at=at,
        title=f"{number}. {script} recalls its lanterns",
        text=f"{_long_word(number)} {script}\n{script[::-1]}",
        author=script,
        url=URLS[number % len(URLS)],
        symbols=(script[:30],),
        lang="en",
    )


def _long_word(number: int) -> str:
    """A word of 640 letters that no other report has: those with the same words would be copies."""
    return hashlib.sha256(bytes([number])).hexdigest() * 10


def attack(newsroom: Newsroom) -> str:
    """A surge of hostile reports about a hostile entity; the id of its incident."""
    store_entities(newsroom.store, "hostile", [EntityRow(ENTITY, "company", ENTITY_NAME, ENTITY_NAME)])
    for round_ in range(2):
        start = newsroom.now
        newsroom.now += MINUTE
        documents = [
            hostile_document(i, start + MINUTE * i / 24) for i in range(12 * round_, 12 * round_ + 12)
        ]
        newsroom.tell(_about_it(newsroom.report(document, topic="Earnings")) for document in documents)
        newsroom.evaluate()
    (alert,) = [alert for alert in newsroom.episodes.open_alerts() if alert.entity == ENTITY]
    assert alert.incident is not None
    return alert.incident


def _about_it(item: ClassifiedDocument) -> ClassifiedDocument:
    mention = EntityMention(ENTITY, ENTITY_NAME, ((0, 3),), 95, "negative", 0.9, -0.85, True)
    return structs.replace(item, prediction=structs.replace(item.prediction, entities=(mention,)))
