"""The sample feed: headlines and comments about invented companies, and a scripted surge of bad news.

A seeded generator fills the sentences below, so two runs send the same texts, with different timestamps.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream.domain.documents import Kind

COMPANIES = (
    ("Alderbrook Foods", "ALDB"), ("Brightmoor Energy", "BRME"), ("Cobalt Ridge", "CBRG"),
    ("Dunmere Motors", "DNMR"), ("Eastvale Pharma", "EVPH"), ("Fernhill Software", "FNHL"),
    ("Granite Harbor", "GRHB"), ("Hollis Semiconductor", "HLSM"), ("Ironwood Steel", "IRWD"),
    ("Juniper Coast Airlines", "JNCA"), ("Kestrel Robotics", "KSTR"), ("Larkspur Retail", "LRKS"),
    ("Marlow Telecom", "MRLW"), ("Northgate Bank", "NGTB"), ("Oakfield Insurance", "OAKF"),
    ("Pinecrest REIT", "PNCR"), ("Quillon Biotech", "QLLN"), ("Redstone Shipping", "RDST"),
    ("Silverlake Media", "SLVM"), ("Tidewater Chemicals", "TDWC"),
)  # fmt: skip
BROKERS = ("Harcourt Securities", "Blue Anchor Research", "Stonebridge Capital", "Mercer & Vale")
PEOPLE = ("Ana Ferreira", "Tom Whitlock", "Priya Nair", "Jonas Lindqvist", "Mei Tanaka")
WIRES = ("Meridian Wire", "Ledger Daily", "Harbor Financial News", "The Closing Bell")
BOARDS = ("stockroom", "tapewatch", "valuechat")

NEWS = (
    "{broker} upgrades {name} to buy, lifts price target to ${price}",
    "{broker} cuts {name} to underperform on slowing orders",
    "{broker} keeps {name} at hold ahead of results",
    "{name} raises full-year guidance after record third quarter",
    "{name} misses profit estimates as input costs climb",
    "{name} quarterly revenue in line with expectations",
    "{name} earnings beat estimates, shares rise in early trading",
    "{name} posts surprise loss, suspends outlook",
    "{name} to report second-quarter results on Thursday",
    "{name} declares quarterly dividend of ${cents} a share",
    "{name} raises dividend by {percent}% and widens buyback",
    "{name} halves its dividend to preserve cash",
    "{name} names {person} as chief financial officer",
    "{name} chief executive {person} to step down at year end",
    "{name} agrees to buy {other} in ${billions} billion deal",
    "{name} ends merger talks with {other}",
    "{name} takes minority stake in {other}",
    "{name} files for initial public offering in New York",
    "{name} prices IPO at the top of its range",
    "{name} wins approval from regulators for its new plant",
    "Regulator opens inquiry into {name} over disclosures",
    "Court dismisses patent suit against {name}",
    "{name} to pay ${millions} million to settle lawsuit",
    "{name} unveils new product line at annual event",
    "{name} recalls thousands of units after safety reports",
    "{name} signs five-year supply agreement with {other}",
    "{name} opens research center, plans {millions} hires",
    "{name} to cut {percent}% of its workforce",
    "{name} sells ${millions} million of ten-year notes",
    "Oil climbs {percent}% as producers extend output cuts",
    "Oil slips as inventories build for a third week",
    "Crude steady ahead of producers' meeting",
    "Gold edges higher as the dollar softens",
    "Copper drops to a three-month low on weak demand",
    "Iron ore little changed in quiet trading",
    "Central bank holds rates, says inflation is easing",
    "Central bank official signals another quarter-point increase",
    "Fed minutes show officials divided over pace of cuts",
    "Ten-year Treasury yield rises after strong auction demand fades",
    "Treasury yields fall as investors seek safety",
    "Euro gains against the dollar on upbeat factory data",
    "Yen weakens past {price} per dollar",
    "Sterling flat before inflation figures",
    "Consumer prices rise {cents}% in October, in line with forecasts",
    "Unemployment claims fall to lowest since spring",
    "Manufacturing activity contracts for a second month",
    "Retail sales beat forecasts as shoppers return",
    "Stocks close higher, led by technology shares",
    "Stocks slide as bond yields jump",
    "Futures little changed before jobs report",
    "Parliament passes budget after long debate",
    "Finance minister proposes new levy on banks",
    "{name} shares jump {percent}% after contract win",
    "{name} shares tumble {percent}% on weak forecast",
    "{name} stock unchanged after analyst day",
    "Opinion: what the quiet bond market is telling us",
)
COMMENTS = (
    "${ticker} looking strong here, adding on dips",
    "${ticker} breaking out, next stop {price} 🚀",
    "Sold half my ${ticker} today, too much debt for my taste",
    "${ticker} is dead money until they fix margins",
    "Anyone else holding ${ticker} through earnings?",
    "${ticker} guidance was better than I expected, nice quarter",
    "Management at ${ticker} keeps missing, I'm out",
    "Loaded up on ${ticker} calls for next week",
    "${ticker} chart looks awful, lower lows all month",
    "What's the read on ${ticker} before the call?",
    "Watching ${ticker} at {price}, no position yet",
    "${ticker} dividend is safe, sleeping well",
    "Shorting ${ticker} into this rally",
    "Great quarter from ${ticker}, longs will be rewarded",
    "Market feels heavy today, raising cash",
    "Bond yields up again, growth names getting hit",
    "Oil bulls back in charge this week",
    "Nice green day across the board 💚",
    "Volume is light, nobody wants to commit before the Fed",
    "${ticker} 10-K is out, reading it tonight",
)
# The scripted surge: a bank loses the trust of its customers within minutes.
SURGE_NEWS = (
    "{name} shares plunge {percent}% as depositors rush to withdraw funds",
    "{name} stock crashes {percent}%, worst day on record",
    "{name} shares halted after {percent}% collapse",
    "{name} stock sinks to all-time low on insolvency fears",
    "{name} shares tumble {percent}% after bank freezes withdrawals",
    "{name} shares in free fall as lenders cut credit lines",
    "{name} stock drops another {percent}% as rescue talks fail",
    "{name} shares slump {percent}% after auditor resigns",
)
SURGE_COMMENTS = (
    "${ticker} down {percent}% and still falling, this is a disaster",
    "${ticker} stock collapsing, get out while you can",
    "${ticker} shares crashing {percent}%, terrible",
    "Lost everything on ${ticker}, shares down {percent}% today",
)
SURGE_COMPANY = ("Northgate Bank", "NGTB")


@dataclass(frozen=True, slots=True)
class Sample:
    """One message of the feed: its kind and its JSON object."""

    kind: Kind
    message: dict[str, object]


class SampleFeed:
    """Generates the feed; `run` becomes part of the ids, so that two runs have different ones."""

    def __init__(self, run: str, seed: int = 7) -> None:
        self._run, self._random, self._count = run, random.Random(seed), 0

    def history(self, until: datetime, length: timedelta, per_second: float) -> Iterator[Sample]:
        """Calm texts with timestamps spread over the `length` before `until`, in order of time."""
        count = int(length.total_seconds() * per_second)
        shares = sorted(self._random.random() for _ in range(count))
        for share in shares:
            yield self.calm(until - length + length * share)

    def calm(self, published_at: datetime) -> Sample:
        """A text of an ordinary day; three in five are news, the others comments."""
        company = self._random.choice(COMPANIES)
        if self._random.random() < 0.6:
            return self._news(self._random.choice(NEWS), company, published_at)
        return self._comment(self._random.choice(COMMENTS), company, published_at)

    def surge(self, published_at: datetime) -> Sample:
        """A text of the surge; three in five are news, the others comments."""
        if self._random.random() < 0.6:
            return self._news(self._random.choice(SURGE_NEWS), SURGE_COMPANY, published_at)
        return self._comment(self._random.choice(SURGE_COMMENTS), SURGE_COMPANY, published_at)

    def _news(self, sentence: str, company: tuple[str, str], published_at: datetime) -> Sample:
        title = self._fill(sentence, company)
        return self._sample(Kind.NEWS, self._random.choice(WIRES), company, published_at, title=title)

    def _comment(self, sentence: str, company: tuple[str, str], published_at: datetime) -> Sample:
        text = self._fill(sentence, company)
        board, author = self._random.choice(BOARDS), f"reader{self._random.randrange(400)}"
        return self._sample(Kind.COMMENT, board, company, published_at, text=text, author=author)

    def _fill(self, sentence: str, company: tuple[str, str]) -> str:
        rng = self._random
        return sentence.format(
            name=company[0],
            ticker=company[1],
            other=rng.choice([name for name, _ in COMPANIES if name != company[0]]),
            broker=rng.choice(BROKERS),
            person=rng.choice(PEOPLE),
            price=rng.randrange(20, 400),
            cents=f"0.{rng.randrange(10, 95)}",
            percent=rng.randrange(3, 40),
            billions=f"{rng.randrange(11, 240) / 10:.1f}",
            millions=rng.randrange(20, 900),
        )

    def _sample(
        self, kind: Kind, source: str, company: tuple[str, str], published_at: datetime, **fields: str
    ) -> Sample:
        self._count += 1
        message: dict[str, object] = {
            "id": f"{self._run}-{self._count}",
            "source": source,
            "published_at": published_at.isoformat(),
            "lang": "en",
            **fields,
        }
        if company[0] in "".join(fields.values()) or company[1] in "".join(fields.values()):
            message["symbols"] = [company[1]]
        return Sample(kind, message)
