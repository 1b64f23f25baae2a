"""What the tokenizer sees of a text: no links, no case, plain forms of letters, and words for emoji."""

import json
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers

from models.inference.evidence import LINK

# Said by a word that the vocabulary has, where it has no vector for the sign itself.
EMOJI = {
    "🚀": "rocket", "📈": "rising", "📉": "falling", "🐂": "bull", "🐻": "bear", "🌕": "moon", "🌙": "moon",
    "💎": "diamond", "🙌": "hands up", "🤲": "hands", "💰": "money", "🤑": "rich", "💵": "cash",
    "💸": "losing money", "🔥": "fire", "💥": "boom", "💀": "dead", "☠": "dead", "⚰": "dead", "🩸": "blood",
    "🔪": "knife", "💩": "shit", "🗑": "trash", "🤡": "clown", "🎉": "party", "🥳": "party", "🏆": "winner",
    "👍": "good", "👎": "bad", "👏": "applause", "💪": "strong", "🙏": "please", "🤞": "hope", "✅": "yes",
    "❌": "no", "❗": "!", "❓": "?", "🚨": "alert", "⚠": "warning", "😂": "laughing", "🤣": "laughing",
    "😆": "laughing", "😁": "happy", "😀": "happy", "😊": "happy", "🙂": "happy", "😍": "love", "❤": "love",
    "😎": "cool", "💯": "sure", "😭": "crying", "😢": "crying", "😡": "angry", "🤬": "angry", "😱": "scared",
    "😨": "scared", "😬": "nervous", "😳": "shocked", "🤯": "shocked", "🤮": "sick", "🤢": "sick",
    "🤔": "thinking", "🧐": "looking", "👀": "looking", "🤷": "unsure", "🤦": "stupid", "🙄": "annoyed",
    "😅": "phew", "😉": "wink", "😜": "joking", "🤪": "crazy", "🟢": "green", "🔴": "red", "🟩": "green",
    "🟥": "red", "⬆": "up", "⬇": "down", "💚": "green", "🐳": "whale", "🌈": "rainbow", "🔔": "bell",
}  # fmt: skip
# Skin, sex, joiners and presentation of the sign before.
SHADES = "[\U0001f3fb-\U0001f3ff\u200d\ufe0e\ufe0f\u2640\u2642]"


def normal_form(tokenizer: Tokenizer) -> normalizers.Normalizer:
    """The tokenizer's own normalizer behind one that drops what says nothing of mood or topic.

    Links are not read at all, letters in lower case, compatibility forms (full-width letters and digits)
    as their plain ones; a vocabulary without emoji gets a word for each common one.
    """
    steps: list[normalizers.Normalizer] = [normalizers.Replace(Regex(LINK.pattern), "")]
    if tokenizer.token_to_id("🚀") is None:
        steps += [normalizers.Replace(Regex(SHADES), "")]
        steps += [normalizers.Replace(sign, f" {word} ") for sign, word in EMOJI.items()]
    steps += [normalizers.NFKC(), normalizers.Lowercase()]
    return normalizers.Sequence([*steps, *([tokenizer.normalizer] if tokenizer.normalizer else [])])


def is_plain(text: str) -> bool:
    """Whether all that the normal form does to it is to lower its case."""
    return text.isascii() and "http" not in text


def for_plain_texts(tokenizer: Tokenizer) -> Tokenizer:
    """One that says the same of plain texts, without the steps that leave them as they are."""
    told = json.loads(tokenizer.to_str())
    normalizer = told["normalizer"] or {}
    if normalizer.get("type") == "Sequence":
        normalizer["normalizers"] = [step for step in normalizer["normalizers"] if not _spares_plain(step)]
    return Tokenizer.from_str(json.dumps(told))


def _spares_plain(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        pattern = step["pattern"]
        return not pattern.get("String", "a").isascii() or pattern.get("Regex") in (LINK.pattern, SHADES)
    return bool(step["type"] == "NFKC")
