"""Edits that keep what a text says: other tickers, numbers, links, emoji, case, a typo."""

import random
import re

TICKER = re.compile(r"\$[A-Za-z]{1,6}\b")
LETTERS = "ABCDEFGHIKLMNOPRSTVWXZ"
LONG_WORD = re.compile(r"\b[a-z]{6,}\b")
EMOJI = ("📊", "📰", "🔔", "👀", "🧐", "🏦")


def augment(text: str, dice: random.Random, rate: float = 0.15) -> str:
    """Apply each edit with probability `rate`, independently."""
    for edit in (other_ticker, other_digits, add_emoji, add_link, change_case, typo):
        if dice.random() < rate:
            text = edit(text, dice)
    return text


def other_ticker(text: str, dice: random.Random) -> str:
    """Every cashtag becomes another, invented one."""
    return TICKER.sub(
        lambda _: "$" + "".join(dice.choices("ABCDEFGHIKLMNOPRSTVWXZ", k=dice.randint(2, 4))), text
    )


def other_digits(text: str, dice: random.Random) -> str:
    """One digit that does not lead its number changes."""
    inner = [match.start() for match in re.finditer(r"(?<=\d)\d", text)]
    if not inner:
        return text
    at = dice.choice(inner)
    return text[:at] + str(dice.randint(0, 9)) + text[at + 1 :]


def add_emoji(text: str, dice: random.Random) -> str:
    return f"{text} {dice.choice(EMOJI)}"


def add_link(text: str, dice: random.Random) -> str:
    return f"{text} https://example.com/{dice.randrange(1 << 24):x}"


def change_case(text: str, dice: random.Random) -> str:
    return dice.choice((str.upper, str.lower, str.title))(text)


def typo(text: str, dice: random.Random) -> str:
    """One long word loses a letter, doubles one or swaps two."""
    words = list(LONG_WORD.finditer(text))
    if not words:
        return text
    word = dice.choice(words)
    at = dice.randrange(word.start() + 1, word.end() - 1)
    middle = dice.choice((text[at + 1] + text[at], text[at + 1], text[at] * 2 + text[at + 1]))
    return text[:at] + middle + text[at + 2 :]
