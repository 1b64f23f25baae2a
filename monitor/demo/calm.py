"""An ordinary day of the sample feed: many different events, each reported by one or a few publishers."""

import heapq
import itertools
import random

from monitor.demo.drafts import Draft, Writers, facts
from monitor.demo.world import CHINESE, ENGLISH, Company, Event, World

# Three texts in five are news, the others comments.
NEWS_SHARE = 0.6
CHINESE_NEWS, CHINESE_REMARKS = 0.22, 0.19
# How many further publishers report an event, of a hundred events each.
RETELLINGS, OF_HUNDRED = (0, 1, 2, 3), (62, 23, 11, 4)
# How often a report reaches a second language, is sent on by another site, and has a text under its headline.
OTHER_LANGUAGE, COPIED, HAS_TEXT = 0.15, 0.16, 0.45
# How often each thing that readers could say of an event is said, and a comment is posted again.
REMARKED, REPOSTED = 0.4, 0.06
# A follow-up comes within so many texts: half a minute at two a second, five minutes at one in five seconds.
SOONEST, LATEST = 2, 36
ANONYMOUS = 0.03


class CalmTexts:
    """Writes texts of an ordinary day without end; those about one event follow each other closely."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self._writers = Writers(world, rng, "c")
        self._news, self._comments = _FollowUps(), _FollowUps()
        self._decks: dict[str, list[tuple[Event, Company | None]]] = {ENGLISH: [], CHINESE: []}

    def next(self) -> Draft:
        """The next text."""
        if self._rng.random() < NEWS_SHARE:
            return self._news.pop_due() or self._report()
        return self._comments.pop_due() or self._remark()

    def _report(self) -> Draft:
        """The first report of an event; what others make of it comes later."""
        lang = CHINESE if self._rng.random() < CHINESE_NEWS else ENGLISH
        event, company = self._draw_event(lang)
        values = facts(self._world, self._rng, company or self._world.listed[0], event.choices)
        reports = self._reports(event, company, lang, values)
        for report in reports[1:]:
            self._news.add(report, self._rng.randint(SOONEST, LATEST))
        for report in reports:
            if self._rng.random() < COPIED:
                self._news.add(self._writers.copy(report), self._rng.randint(LATEST, 2 * LATEST))
        self._add_comments(event, company, values)
        return reports[0]

    def _draw_event(self, lang: str) -> tuple[Event, Company | None]:
        """An event that has not happened for a long time: a deck of all is dealt before it is shuffled."""
        deck = self._decks[lang]
        if not deck:
            deck += self._possible_events(lang)
            self._rng.shuffle(deck)
        return deck.pop()

    def _possible_events(self, lang: str) -> list[tuple[Event, Company | None]]:
        possible: list[tuple[Event, Company | None]] = []
        for event in self._world.texts.events:
            if not event.titles(lang):
                continue
            if event.market:
                possible += [(event, None)] * (6 * event.weight)
                continue
            for company in self._world.listed:
                if event.sectors and company.sector not in event.sectors:
                    continue
                # Publishers write more about companies of their own country.
                if company.home == lang or self._rng.random() < 0.2:
                    possible += [(event, company)] * event.weight
        return possible

    def _reports(
        self, event: Event, company: Company | None, lang: str, values: dict[str, dict[str, str]]
    ) -> list[Draft]:
        """The reports of an event, each in words of its own."""
        more = self._rng.choices(RETELLINGS, OF_HUNDRED)[0]
        titles = {each: self._shuffled(event.titles(each)) for each in values}
        sentences = {each: self._sentences(event, each) for each in values}
        reports = []
        for each in [lang] + [self._language_of_retelling(lang) for _ in range(more)]:
            if not titles[each]:
                continue
            title, text = titles[each].pop(), ""
            if len(sentences[each]) > 1 and self._rng.random() < HAS_TEXT:
                text = _joined(each, [sentences[each].pop() for _ in range(min(3, len(sentences[each])))])
            known = values[each]
            reports.append(self._writers.news(each, title.format_map(known), text.format_map(known), company))
        return reports

    def _sentences(self, event: Event, lang: str) -> list[str]:
        """What texts under headlines can say, the most important last."""
        background = () if event.market else self._world.texts.background[lang]
        return [*self._shuffled(background)[:4], *self._shuffled(event.sentences(lang))]

    def _language_of_retelling(self, lang: str) -> str:
        if self._rng.random() >= OTHER_LANGUAGE:
            return lang
        return ENGLISH if lang == CHINESE else CHINESE

    def _add_comments(self, event: Event, company: Company | None, values: dict[str, dict[str, str]]) -> None:
        """What readers say of the event, some time later."""
        for lang, known in values.items():
            for sentence in event.comments(lang):
                if self._rng.random() < REMARKED:
                    comment = self._comment(lang, sentence.format_map(known), company)
                    self._comments.add(comment, self._rng.randint(SOONEST, LATEST))

    def _remark(self) -> Draft:
        """A comment about a company without any news."""
        lang = CHINESE if self._rng.random() < CHINESE_REMARKS else ENGLISH
        parts = self._world.texts.comments[lang]
        companies = self._world.listed
        at_home = [company for company in companies if company.home == lang]
        company = self._rng.choice(at_home if self._rng.random() < 0.8 else companies)
        known = facts(self._world, self._rng, company, {})[lang]
        text = "".join(map(self._rng.choice, (parts.opening, parts.about, parts.ending)))
        return self._comment(lang, text.format_map(known), company)

    def _comment(self, lang: str, text: str, company: Company | None) -> Draft:
        author = "" if self._rng.random() < ANONYMOUS else self._writers.commenter(lang)
        comment = self._writers.comment(lang, text[:1].upper() + text[1:], company, author)
        if self._rng.random() < REPOSTED:
            self._comments.add(self._writers.copy(comment), self._rng.randint(LATEST, 2 * LATEST))
        return comment

    def _shuffled(self, items: tuple[str, ...]) -> list[str]:
        return self._rng.sample(items, len(items))


def _joined(lang: str, sentences: list[str]) -> str:
    """Sentences as one paragraph; Chinese puts no blanks between them."""
    return ("" if lang == CHINESE else " ").join(sentences)


class _FollowUps:
    """Texts that wait: each is due after a number of others."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Draft]] = []
        self._passed, self._order = 0, itertools.count()

    def add(self, draft: Draft, after: int) -> None:
        """Let a text wait until `after` others have passed."""
        heapq.heappush(self._waiting, (self._passed + after, next(self._order), draft))

    def pop_due(self) -> Draft | None:
        """The text that is due, if there is one; one more has passed."""
        self._passed += 1
        if self._waiting and self._waiting[0][0] <= self._passed:
            return heapq.heappop(self._waiting)[2]
        return None
