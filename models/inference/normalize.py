"""Text normalisation before tokenising: no links, lower case, plain forms of letters, words for emoji."""

import json
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers

from models.inference.evidence import LINK

# Replacements for emoji in vocabularies that have none.
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
# Modifiers of the emoji before them: skin tone, gender, joiners and presentation.
MODIFIERS = "[\U0001f3fb-\U0001f3ff\u200d\ufe0e\ufe0f\u2640\u2642]"


def normal_form(tokenizer: Tokenizer) -> normalizers.Normalizer:
    """The tokenizer's own normalizer, after steps that remove what does not matter for mood or topic.

    Links are removed, letters become lower case, and compatibility forms (full-width letters and digits)
    become plain ones.  For a vocabulary without emoji, each common emoji becomes a word.
    """
    steps: list[normalizers.Normalizer] = [normalizers.Replace(Regex(LINK.pattern), "")]
    if tokenizer.token_to_id("🚀") is None:
        steps += [normalizers.Replace(Regex(MODIFIERS), "")]
        steps += [normalizers.Replace(sign, f" {word} ") for sign, word in EMOJI.items()]
    steps += [normalizers.NFKC(), normalizers.Lowercase()]
    return normalizers.Sequence([*steps, *([tokenizer.normalizer] if tokenizer.normalizer else [])])


def is_plain(text: str) -> bool:
    """Whether normalisation changes nothing but the case."""
    return text.isascii() and "http" not in text


def for_plain_texts(tokenizer: Tokenizer) -> Tokenizer:
    """A faster tokenizer with the same output for plain texts: without the steps that do not change them."""
    config = json.loads(tokenizer.to_str())
    normalizer = config["normalizer"] or {}
    if normalizer.get("type") == "Sequence":
        normalizer["normalizers"] = [
            step for step in normalizer["normalizers"] if not _keeps_plain_text(step)
        ]
    return Tokenizer.from_str(json.dumps(config))


def _keeps_plain_text(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        pattern = step["pattern"]
        return not pattern.get("String", "a").isascii() or pattern.get("Regex") in (LINK.pattern, MODIFIERS)
    return bool(step["type"] == "NFKC")
