"""Pages as text: for chats, e-mail, telephones and incident services.

A page says what a person asks, in that order: who, what happened, how much and how unusual, since when; then
what it is made of, how sure it is and what to do; and last what each rule saw, with its numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2

from alerts.delivery.messages import is_of_incident, subject_of
from alerts.delivery.quoting import inert, inert_markdown
from alerts.wording import event_text, sentence
from stream.domain.alerts import AlertState
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, printable
from stream.domain.incidents import LONGEST_TITLE

# A page shows the beginning of an article, and so much of what another page says that goes with it.
LONGEST_CONTENT, LONGEST_OTHER = 200, 300
# What a page that is not the first of its incident begins with.
BEGINS_WITH = {"update": "Worse: ", "end": "Over: "}


@dataclass(frozen=True)
class PageTexts:
    """Writes pages as plain text, with what comes from others made harmless by `quote`."""

    templates: jinja2.Environment

    @classmethod
    def quoted_by(cls, quote: Callable[[str], str]) -> "PageTexts":
        texts = jinja2.Environment(
            loader=jinja2.DictLoader(TEMPLATES),
            autoescape=False,  # noqa: S701  plain text, no HTML
            undefined=jinja2.StrictUndefined,
            # What is inserted comes from outside: control characters become spaces, line ends too.
            finalize=lambda value: (
                printable(value) if isinstance(value, _Address) else quote(printable(str(value)))
            ),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        texts.filters |= {
            "cut": cut,
            "address": _Address,
            "subject": subject_of,
            "event": event_text,
            "sentence": sentence,
            "clock": _clock,
        }
        texts.globals |= {
            "longest_content": LONGEST_CONTENT,
            "longest_word": LONGEST_WORD,
            "longest_other": LONGEST_OTHER,
        }
        return cls(texts)

    def __call__(self, page: Mapping[str, Any]) -> tuple[str, str]:
        """A merged page as (title, body).  The title of an incident has at most LONGEST_TITLE characters."""
        if is_of_incident(page):
            return self._render("title", page={"text": short_title(page)}), self._body("incident", page)
        return self._render("alert title", page=page), self._body("alert", page)

    def _body(self, template: str, page: Mapping[str, Any]) -> str:
        resolved = page["state"] == AlertState.RESOLVED
        return self._render(template, page=page, resolved=resolved).rstrip("\n")

    def _render(self, template: str, **fields: object) -> str:
        return self.templates.get_template(template).render(fields)


def short_title(page: Mapping[str, Any]) -> str:
    """Who and what, and whether it became worse or is over, within LONGEST_TITLE characters."""
    begins = BEGINS_WITH.get(page["page"], "")
    more = f" and {len(page['others'])} more" if page["others"] else ""
    return begins + cut(page["title"], LONGEST_TITLE - len(begins) - len(more)) + more


class _Address(str):
    """An address of the operator's own: it stays a link."""


def _clock(time: datetime | str) -> str:
    """A time of a message, which JSON makes a text."""
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{at.day} {at:%b %H:%M} UTC"


TEMPLATES = {
    "title": "{{ page.text }}",
    "alert title": (
        "{{ page.rule }} on {{ page | subject }}"
        "{% if page.others %} and {{ page.others | length }} more{% endif %} [{{ page.severity }}]"
    ),
    "incident": """\
{% set begins = {"update": "WORSE: ", "end": "OVER: "} %}
{{ begins[page.page] if page.page in begins else "" }}{{ page.subject }} (severity {{ page.severity }})
{{ page.what | cut(longest_content) }}
{% if page.changes %}
Since the last page: {{ page.changes | join("; ") | sentence }}
{% endif %}
{% for text in (page.lasted_text, page.how_much, page.since_text, page.counts_text) if text %}
{{ text | sentence }}
{% endfor %}
{% if not resolved and page.message != page.summary %}
{{ page.message }}
{% endif %}
{% if page.topics %}
Topics: {% for name, n in page.topics.items() %}
{{ name }} {{ n }}{{ "" if loop.last else ", " }}
{%- endfor +%}
{% endif %}
{% if page.evidence and not resolved %}
The worst text of{{ " " }}
{%- if (page.stories or 0) > page.evidence | length %}
{{ page.evidence | length }} of its {{ page.stories }} stories
{%- else %}
each story
{%- endif %}, and the words that carry it:
{% for item in page.evidence %}
- {{ item.source }}, {{ item.published_at | clock }}: {{ item.content | cut(longest_content) }}
{%- if item.words %} [{{ item.words | map("cut", longest_word) | join(", ") }}]{% endif %}
{%- if item.events %} ({{ item.events | map("event") | join(", ") }}){% endif %}
{%- if item.copies %} (+{{ item.copies }} {{ "copy" if item.copies == 1 else "copies" }}){% endif +%}
{% endfor %}
{% endif %}
{% if page.sources %}
Sources: {% for name, n in page.sources.items() %}
{{ name }} {{ n }}{{ "" if loop.last else ", " }}
{%- endfor +%}
{% endif %}
{% if page.robustness_text %}
{{ page.robustness_text | sentence }}
{% endif %}
{% if page.acknowledged_by %}
{{ page.acknowledged_by }} takes care of it.
{% endif %}
{% if not resolved %}
What to do:{{ " " }}
{%- if page.runbook %}
{{ page.runbook | address }}
{%- elif page.evidence %}
read these texts at their sources, and decide whether they are true and concern you
{%- else %}
run monitor status, which says what arrives and what does not
{%- endif +%}
{% endif %}
{% if page.link %}
All of it: {{ page.link | address }}
{% endif %}
{% if page.alerts %}
What each rule {{ "saw last" if resolved else "saw" }}:
{% for seen in page.alerts %}
- {{ seen.rule }} ({{ seen.severity }}, {{ seen.state }}): {{ seen.summary }}
{%- if seen.uncertainty %}; {{ seen.uncertainty }}{% endif +%}
{% endfor %}
{% endif %}
{% if page.shortened is defined %}
(shortened; the rest is on the page of the incident)
{% endif %}
{% for other in page.others %}
Also {{ other | subject }}: {{ other.what if other.what is defined else other.message | cut(longest_other) }}
{%- if other.how_much is defined and other.how_much %} ({{ other.how_much }}){% endif +%}
{% endfor %}
""",
    "alert": """\
{{ page.state | upper }}: {{ page.message }}
{% if resolved %}
resolved at {{ page.resolved_at }}
{% else %}
{% if page.stories_text is defined and page.stories_text %}
{{ page.stories_text }}
{% endif %}
{% if page.uncertainty %}
{{ page.uncertainty }}
{% endif %}
{% for item in page.evidence %}
{{ "%+.2f" | format(item.score) }} {{ item.source }}: {{ item.content | cut(longest_content) }}
{%- if item.words %} [{{ item.words | map("cut", longest_word) | join(", ") }}]{% endif %}
{%- if item.events is defined and item.events %} ({{ item.events | map("event") | join(", ") }}){% endif +%}
{% endfor %}
{% if page.shortened is defined %}
(shortened; the rest is on the page of the alert)
{% endif %}
{% if page.runbook %}
runbook: {{ page.runbook | address }}
{% endif %}
{% endif %}
{% if page.link %}
{{ page.link | address }}
{% endif %}
{% for other in page.others %}
also {% if other.rule != page.rule %}{{ other.rule }} on {% endif %}{{ other | subject }}: {{ other.message }}
{% endfor %}
""",
}
plain_text = PageTexts.quoted_by(inert)
markdown_text = PageTexts.quoted_by(inert_markdown)
