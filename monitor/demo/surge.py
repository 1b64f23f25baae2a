"""The scripted surge of the sample feed: a bank loses the trust of its customers within minutes."""

import random
from collections.abc import Iterable

from monitor.demo.drafts import LANGUAGES, Draft, Writers, billions, facts, money
from monitor.demo.world import ENGLISH, Company, Report, SurgePart, World

# The share of texts that are sent on or posted again, and within how many other texts.
COPIED, SOONEST, LATEST = 0.4, 2, 14
# An event is reported until that long after the next one began, as a share of its texts.
OVERLAP = 0.4
Values = dict[str, dict[str, str]]


class SurgeScript:
    """Writes one surge after another, each about another bank: a bank fails once."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self._writers = Writers(world, rng, "s")
        self._banks = [each for each in world.sector("bank") if each.home == ENGLISH]
        self._begun = 0

    def next(self) -> list[Draft]:
        """All texts of the next surge, in order.

        No sentence is used twice, except in copies.
        """
        bank = self._banks[self._begun % len(self._banks)]
        self._begun += 1
        peers = [each for each in self._banks if each != bank]
        values = self._amounts(bank, self._rng.choice(peers))
        originals = self._in_order(
            self._texts(part, bank, self._rng.sample(peers, len(peers)), values) for part in self._world.surge
        )
        placed = list(enumerate(originals))
        copies = [
            (place + self._rng.randint(SOONEST, LATEST) + 0.5, self._writers.copy(draft))
            for place, draft in self._rng.sample(placed, round(COPIED * len(placed)))
        ]
        return [draft for _, draft in sorted([*placed, *copies], key=lambda each: each[0])]

    def _amounts(self, bank: Company, buyer: Company) -> Values:
        """What stays the same during a surge: every text has the same figures."""
        values = facts(self._world, self._rng, bank, {})
        amounts = {
            "outflow": billions(self._rng.randrange(18, 90), bank.home),
            "hole": billions(self._rng.randrange(11, 60), bank.home),
            "cash": money(cash := str(100 * self._rng.randrange(2, 9)), "", cash, bank.home),
            "buyer": (buyer.name, buyer.chinese_name),
        }
        for i, lang in enumerate(LANGUAGES):
            values[lang] |= {slot: pair[i] for slot, pair in amounts.items()}
        return values

    def _texts(self, part: SurgePart, bank: Company, peers: list[Company], values: Values) -> list[Draft]:
        """The texts of one event, in any order."""
        drafts = []
        for lang in LANGUAGES:
            for item in part.news[lang]:
                report = Report(item) if isinstance(item, str) else item
                known = self._known(part, self._rng.choice(peers), values[lang], lang)
                title, text = report.title.format_map(known), report.text.format_map(known)
                drafts.append(self._writers.news(lang, title, text, bank))
            for sentence in part.comments[lang]:
                known = self._known(part, self._rng.choice(peers), values[lang], lang)
                author = self._writers.commenter(lang)
                drafts.append(self._writers.comment(lang, sentence.format_map(known), bank, author))
        return drafts

    def _known(self, part: SurgePart, peer: Company, values: dict[str, str], lang: str) -> dict[str, str]:
        """The slots of one text: the share falls from text to text, and each names another bank."""
        fall, percent = self._rng.randint(*part.fall), self._rng.randrange(8, 30)
        return values | {
            "fall": str(fall),
            "percent": str(percent),
            "peer": peer.named(lang),
            "peer_ticker": peer.symbol,
        }

    def _in_order(self, parts: Iterable[list[Draft]]) -> list[Draft]:
        """One event after the other; the reports of two overlap."""
        placed: list[tuple[float, Draft]] = []
        for drafts in parts:
            start, length = len(placed), len(drafts) * (1 + OVERLAP)
            placed += [(start + length * self._rng.random(), draft) for draft in drafts]
        return [draft for _, draft in sorted(placed, key=lambda each: each[0])]
