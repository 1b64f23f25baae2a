"""Makes the message of a page from its incident, its alerts, and what the store knows at that moment."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from alerts.delivery.messages import incident_message
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.incidents.page_facts import page_facts
from alerts.incidents.page_inputs import ShownAlert
from alerts.ports import AggregateReader, EpisodeStore, WordCheck
from stream.domain.incidents import Incident, PageKind

# Makes the message of a page that shows these alerts.
PageMaker = Callable[[Incident, PageKind, Sequence[ShownAlert], datetime], Mapping[str, Any]]


def page_maker(
    router: PageRouter,
    reader: AggregateReader,
    episodes: EpisodeStore,
    rules: Callable[[], Sequence[Rule]],
    check_words: WordCheck,
) -> PageMaker:
    """The messages of pages, with links to the pages of this router; `rules` are the present ones."""

    def make(
        incident: Incident, kind: PageKind, shown: Sequence[ShownAlert], now: datetime
    ) -> Mapping[str, Any]:
        last = None if kind is PageKind.BEGIN else episodes.last_pages([incident.id]).get(incident.id)
        facts = page_facts(
            incident,
            kind,
            incident.paged_number,
            shown,
            reader,
            at=now,
            rules={rule.name: rule for rule in rules()},
            before=None if last is None else last.message,
            link=router.incident_link(incident.id),
            runbook=router.runbook,
            check_words=check_words,
        )
        return incident_message(facts)

    return make
