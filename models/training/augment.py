"""Meaning-preserving edits of training texts: other names, tickers, digits, amounts, emoji, typos."""

import random
import re

TICKER = re.compile(r"\$[A-Za-z]{1,6}\b")
LETTERS = "ABCDEFGHIKLMNOPRSTVWXZ"
LONG_WORD = re.compile(r"\b[A-Za-z][a-z]{4,}\b")
# Chinese characters that a typo may hit: not those that decide the sentiment on their own.
CHINESE_TYPO = re.compile(r"[\u4e00-\u9fff](?<![不没无未非别勿莫涨跌升降增减盈亏利损上下高低多少好坏强弱])")
# Chinese texts with fewer characters than this get no typo.
SHORTEST = 10
EMOJI = ("📊", "📰", "🔔", "👀", "🧐", "🏦")
# Companies of one industry: swapping them changes neither the sentiment nor the topic.
PEERS = tuple(
    tuple(names.split(", "))
    for names in (
        "Apple, Microsoft, Google, Amazon, Meta, Nvidia, Intel, AMD, IBM, Oracle, Cisco, Dell, Salesforce, "
        "Adobe, Netflix, Spotify, Uber, Lyft, Airbnb, Shopify, Zoom, Snap, Twitter, Qualcomm, Broadcom",
        "Tesla, Ford, General Motors, Toyota, Honda, Volkswagen, BMW, Nio, Rivian, Nissan, Stellantis, Volvo",
        "JPMorgan, Goldman Sachs, Morgan Stanley, Citigroup, Wells Fargo, Barclays, HSBC, UBS, "
        "Deutsche Bank, BNP Paribas, Santander, Nomura",
        "Delta, United, Lufthansa, Ryanair, Southwest, Air France, EasyJet, JetBlue, Qantas",
        "Exxon, Chevron, Shell, BP, Equinor, Orsted, ConocoPhillips, Eni, Repsol, Petrobras",
        "Pfizer, Moderna, Merck, Novartis, Roche, AstraZeneca, Bayer, Sanofi, Biogen, Gilead",
        "Walmart, Target, Costco, Macy's, Nike, Adidas, H&M, Zara, Starbucks, McDonald's, PepsiCo, Nestle, "
        "Unilever, Danone, Kellogg, Home Depot, Lowe's, Best Buy",
        "Boeing, Airbus, Lockheed Martin, Siemens, Caterpillar, Honeywell, Ericsson, Nokia, ABB, 3M, "
        "FedEx, UPS",
        "Bitcoin, Ethereum, Solana, Cardano, Dogecoin",
        "腾讯, 阿里巴巴, 百度, 京东, 美团, 网易, 小米, 拼多多",
        "贵州茅台, 五粮液, 泸州老窖, 洋河股份, 山西汾酒",
        "比亚迪, 长城汽车, 吉利汽车, 长安汽车, 上汽集团, 蔚来, 理想汽车",
        "招商银行, 平安银行, 工商银行, 兴业银行, 宁波银行, 中国银行",
        "中信证券, 东方财富, 华泰证券, 国泰君安, 海通证券",
        "万科, 保利发展, 碧桂园, 龙湖集团, 金地集团",
        "宁德时代, 隆基绿能, 通威股份, 阳光电源, 亿纬锂能",
    )
)  # fmt: skip
PEER = {name: names for names in PEERS for name in names}
NAME = re.compile("|".join(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])" for name in PEER))
# Other ways to write the same amount.
AMOUNTS = (
    (re.compile(r"(?<=\d) ?%"), (" percent", " pct", "%")),
    (re.compile(r"(?<=\d) (?:percent|pct)\b"), ("%", " per cent")),
    (re.compile(r"(?<=\d) (?:bps|basis points)\b"), (" bps", " basis points", "bp")),
    (re.compile(r"(?<=\d) ?(?:bn|billion|B)\b"), ("bn", " billion", " bn", "B")),
    (re.compile(r"(?<=\d) ?(?:mn|mln|million|M)\b"), ("m", " million", " mln", "M")),
    (re.compile(r"\$(?=\d)"), ("USD ", "US$", "$")),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ("", ",")),
)


def augment(text: str, rng: random.Random, rate: float = 0.15) -> str:
    """Apply each edit with probability `rate`, independently."""
    for edit in EDITS:
        if rng.random() < rate:
            text = edit(text, rng)
    return text


def other_name(text: str, rng: random.Random) -> str:
    """Replace each well-known company by another of its industry, consistently throughout the text."""
    replacements: dict[str, str] = {}

    def replacement(match: re.Match[str]) -> str:
        name = match[0]
        return replacements.setdefault(name, rng.choice([peer for peer in PEER[name] if peer != name]))

    return NAME.sub(replacement, text)


def other_ticker(text: str, rng: random.Random) -> str:
    """Replace each cashtag by an invented one."""
    return TICKER.sub(lambda _: _cashtag(rng), text)


def add_ticker(text: str, rng: random.Random) -> str:
    """Add an invented cashtag before or after a text without one."""
    if TICKER.search(text):
        return text
    return f"{_cashtag(rng)} {text}" if rng.random() < 0.3 else f"{text} {_cashtag(rng)}"


def _cashtag(rng: random.Random) -> str:
    return "$" + "".join(rng.choices(LETTERS, k=rng.randint(2, 4)))


def other_digits(text: str, rng: random.Random) -> str:
    """Change one digit that is not the first of its number."""
    positions = [match.start() for match in re.finditer(r"(?<=\d)\d", text)]
    if not positions:
        return text
    position = rng.choice(positions)
    return text[:position] + str(rng.randint(0, 9)) + text[position + 1 :]


def other_amounts(text: str, rng: random.Random) -> str:
    """Write amounts in another common way."""
    for pattern, forms in AMOUNTS:
        text = pattern.sub(rng.choice(forms), text)
    return text


def add_emoji(text: str, rng: random.Random) -> str:
    """Add a neutral emoji before or after the text."""
    emoji = rng.choice(EMOJI)
    return f"{emoji} {text}" if rng.random() < 0.3 else f"{text} {emoji}"


def typo(text: str, rng: random.Random) -> str:
    """Drop, double or swap letters in about one word of ten; in Chinese, characters."""
    words = list(LONG_WORD.finditer(text)) or (
        list(CHINESE_TYPO.finditer(text)) if len(text) >= SHORTEST else []
    )
    for word in sorted(
        rng.sample(words, min(len(words), 1 + len(words) // 10)), key=re.Match.start, reverse=True
    ):
        # Keep the first and the last letter of a word: readers rely on them.
        at = word.start() if len(word[0]) == 1 else rng.randrange(word.start() + 1, word.end() - 1)
        after = text[at + 1 : at + 2]
        middle = rng.choice((after + text[at], after, text[at] * 2 + after))
        text = text[:at] + middle + text[at + 2 :]
    return text


EDITS = (other_name, other_ticker, add_ticker, other_digits, other_amounts, add_emoji, typo)
