"""Texts of the sample feed before they are sent: who writes them, copies of them, and their figures."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from monitor.demo.world import CHINESE, ENGLISH, Company, Publisher, World
from stream.domain.documents import Kind

# A value in English and in Chinese.
Pair = tuple[str, str]
LANGUAGES = (ENGLISH, CHINESE)


@dataclass(frozen=True, slots=True)
class Draft:
    """A text without a time.  `number` tells it from all others of a feed; `copy_of` is the number of its
    original.  An author who stays anonymous is empty."""

    number: str
    kind: Kind
    lang: str
    publisher: Publisher
    author: str = ""
    title: str = ""
    text: str = ""
    symbols: tuple[str, ...] = ()
    copy_of: str | None = None


class Writers:
    """Draws who writes, and numbers the texts: `prefix`, then 1, 2, 3 and so on."""

    def __init__(self, world: World, rng: random.Random, prefix: str) -> None:
        self._people, self._rng, self._prefix, self._count = world.publishers, rng, prefix, 0
        # Each language's wires in an order of their own: so many texts in a row are by different ones.
        self._wires = {lang: rng.sample(wires, len(wires)) for lang, wires in self._people.wires.items()}
        self._turns = dict.fromkeys(self._wires, 0)

    def wire(self, lang: str) -> Publisher:
        """The next wire in turn."""
        self._turns[lang] += 1
        return self._wires[lang][self._turns[lang] % len(self._wires[lang])]

    def reporter(self, wire: Publisher, lang: str) -> str:
        """One of those who write for a wire and for no other; empty for a report without a byline."""
        wires, names = self._people.wires[lang], self._people.reporters[lang]
        own = names[wires.index(wire) :: len(wires)]
        return self._rng.choice(own) if own and self._rng.random() < 0.75 else ""

    def commenter(self, lang: str) -> str:
        """Somebody who writes on a board."""
        return "".join(map(self._rng.choice, self._people.commenters[lang])) + str(
            self._rng.randrange(2, 999)
        )

    def news(self, lang: str, title: str, text: str, company: Company | None) -> Draft:
        """A report by the next wire in turn."""
        wire = self.wire(lang)
        symbols = (company.symbol,) if company and wire.symbols else ()
        title = title[:1].upper() + title[1:]
        author = self.reporter(wire, lang)
        return Draft(self._number(), Kind.NEWS, lang, wire, author, title, text, symbols)

    def comment(self, lang: str, text: str, company: Company | None, author: str) -> Draft:
        """A comment; boards in English send the tickers that a comment marks with a dollar sign."""
        board = self._rng.choice(self._people.boards[lang])
        symbols = (company.symbol,) if company and f"${company.symbol}" in text else ()
        return Draft(self._number(), Kind.COMMENT, lang, board, author, text=text, symbols=symbols)

    def copy(self, draft: Draft) -> Draft:
        """The same text from somebody else: a syndicated report, or a comment that is posted again."""
        if draft.kind is Kind.COMMENT:
            return self._repost(draft)
        site = self._rng.choice(self._people.syndicators[draft.lang])
        changed = self._rng.choice(COPIES[draft.lang])(draft)
        return replace(
            changed,
            number=self._number(),
            publisher=site,
            symbols=draft.symbols if site.symbols else (),
            copy_of=draft.number,
        )

    def _repost(self, draft: Draft) -> Draft:
        author, board = self.commenter(draft.lang), self._rng.choice(self._people.boards[draft.lang])
        text = f"RT @{draft.author}: {draft.text}" if draft.author else f"RT: {draft.text}"
        return replace(
            draft, number=self._number(), publisher=board, author=author, text=text, copy_of=draft.number
        )

    def _number(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"


def _with_credit(draft: Draft, credit: str) -> Draft:
    """The name of the original's publisher at the end of the text, or of the headline that is alone."""
    if draft.text:
        return replace(draft, text=f"{draft.text} {credit}")
    return replace(draft, title=f"{draft.title} {credit}")


# How a site changes what it sends on.
COPIES: Mapping[str, tuple[Callable[[Draft], Draft], ...]] = {
    ENGLISH: (
        lambda draft: draft,
        lambda draft: replace(draft, title=f"UPDATE 1-{draft.title}"),
        lambda draft: replace(draft, title=f"UPDATE 2-{draft.title}", author=""),
        lambda draft: replace(draft, title=f"{draft.title} - {draft.publisher.name}", author=""),
        lambda draft: replace(draft, title=draft.title.upper(), author=""),
        lambda draft: _with_credit(draft, f"(via {draft.publisher.name})"),
    ),
    CHINESE: (
        lambda draft: draft,
        lambda draft: replace(draft, title=f"更新：{draft.title}"),
        lambda draft: replace(draft, title=f"{draft.title}_{draft.publisher.name}", author=""),
        lambda draft: _with_credit(draft, f"（来源：{draft.publisher.name}）"),
    ),
}


def numbers(rng: random.Random, currency: str) -> dict[str, Pair]:
    """Figures of one event, the same in both languages; `currency` is that of its company's country."""
    percent, count = str(rng.randrange(3, 40)), str(rng.randrange(3, 15))
    tenth, cents = f"{rng.randrange(2, 49) / 10:.1f}", f"{rng.randrange(10, 95) / 100:.2f}"
    price, thousands = rng.randrange(12, 400), 100 * rng.randrange(12, 300)
    return {
        "percent": (percent, percent),
        "count": (count, count),
        "tenth": (tenth, tenth),
        "dividend": money(cents, "", f"{cents}", currency),
        "price": money(str(price), "", str(price), currency),
        "thousands": (
            f"{thousands:,}",
            f"{thousands / 10_000:g}万" if thousands >= 10_000 else str(thousands),
        ),
        "money": millions(rng.randrange(20, 980), currency),
        "deal": billions(rng.randrange(11, 240), currency),
    }


def millions(amount: int, currency: str) -> Pair:
    """An amount of so many millions."""
    return money(
        str(amount), " million", f"{amount / 100:g}亿" if amount >= 100 else f"{amount * 100}万", currency
    )


def billions(tenths: int, currency: str) -> Pair:
    """An amount of so many tenths of a billion."""
    return money(f"{tenths / 10:.1f}", " billion", f"{tenths}亿", currency)


def money(amount: str, unit: str, chinese_amount: str, currency: str) -> Pair:
    """An amount in dollars or yuan."""
    if currency == CHINESE:
        return f"{amount}{unit} yuan", f"{chinese_amount}元"
    return f"${amount}{unit}", f"{chinese_amount}美元"


def facts(
    world: World, rng: random.Random, company: Company, choices: Mapping[str, tuple[Pair, ...]]
) -> dict[str, dict[str, str]]:
    """The values of all slots for one event, by language."""
    drawn = numbers(rng, company.home)
    drawn |= {slot: rng.choice(pairs) for slot, pairs in world.texts.slots.items()}
    drawn["person"] = rng.choice(world.publishers.people)
    other = _other(world, rng, company)
    roles = {
        "name": company,
        "other": other,
        "broker": rng.choice([each for each in world.sector("broker") if each.home == company.home]),
        "rater": rng.choice(world.sector("rating_agency")),
        "auditor": rng.choice(world.sector("auditor")),
    }
    drawn |= {slot: (each.name, each.chinese_name) for slot, each in roles.items()}
    drawn |= {"short": (company.short, company.chinese_name)}
    drawn |= {"ticker": (company.symbol,) * 2, "ticker2": (other.symbol,) * 2}
    values = {lang: {slot: pair[i] for slot, pair in drawn.items()} for i, lang in enumerate(LANGUAGES)}
    for slot, pairs in choices.items():
        for lang, value in zip(LANGUAGES, rng.choice(pairs), strict=True):
            values[lang][slot] = value.format_map(values[lang])
    return values


def _other(world: World, rng: random.Random, company: Company) -> Company:
    """A second company: in half of the cases one of the same sector, if there is one."""
    alike = [each for each in world.sector(company.sector) if each != company]
    if alike and rng.random() < 0.5:
        return rng.choice(alike)
    return rng.choice([each for each in world.listed if each != company])
