"""A light language check: good enough to refuse what the classifier was never trained for."""

import re
import unicodedata
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

# Latin-script texts are taken for English unless another language is at least this probable: on
# short headlines full of names a lower bar refuses more English than it finds of anything else.
SURE = 0.9
LOOKED_AT = 2000
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
KANA = re.compile(r"[\u3040-\u30ff]")
HANGUL = re.compile(r"[\uac00-\ud7af]")
HAN_LETTERS = 3
CANDIDATES = (
    "ar", "cs", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
LETTER = re.compile(r"[A-Za-z]")
# Links, handles and tickers say nothing about the language they stand in.
NOISE = re.compile(r"https?://\S+|[@$#]\w+")


def detect(text: str, claimed: str | None = None) -> str | None:
    """The ISO 639-1 code of the text's language, or None where it has no letters at all.

    `claimed` is the feed's own word (such as "en" or "en-GB").  It is believed for text in Latin
    script, where short texts are hard to tell apart, and not against another script.
    """
    text = text[:LOOKED_AT]
    if claimed and text.isascii():
        return _code(claimed) if LETTER.search(text) else None
    letters = [char for char in NOISE.sub(" ", text) if char.isalpha()]
    if not letters:
        letters = [char for char in text if char.isalpha()]
    if not letters:
        return None
    eastern = _eastern("".join(letters))
    if eastern is not None:
        return eastern
    latin = sum(_is_latin(char) for char in letters) * 2 > len(letters)
    if claimed and latin:
        return _code(claimed)
    code, probability = _identifier().classify(NOISE.sub(" ", text))
    return str(code) if probability >= SURE or not latin else "en"


def _code(claimed: str) -> str:
    return claimed.lower().replace("_", "-").split("-")[0]


def load() -> None:
    """Read the statistics now; else the first text does that is in need of them."""
    _identifier()


def _eastern(letters: str) -> str | None:
    """zh, ja or ko by script alone: short texts leave a statistical check to chance.

    A Han character says as much as HAN_LETTERS Latin letters, so that a Chinese sentence full of
    product names stays Chinese, and an English one with a Chinese name in it English.
    """
    han = len(HAN.findall(letters))
    kana, hangul = len(KANA.findall(letters)), len(HANGUL.findall(letters))
    rest = len(letters) - han - kana - hangul
    if (han + kana + hangul) * HAN_LETTERS <= rest:
        return None
    if kana * 10 > han:
        return "ja"
    return "ko" if hangul > han else "zh"


@cache
def _is_latin(char: str) -> bool:
    return char.isascii() or unicodedata.name(char, "").startswith("LATIN")


@cache
def _identifier() -> LanguageIdentifier:
    whole = LanguageIdentifier.from_model_file(MODEL_FILE)
    whole.set_languages(list(CANDIDATES))
    # One without the table of all languages, which is six times as large.
    return LanguageIdentifier(
        whole.nb_ptc, whole.nb_pc, whole.nb_classes, whole.tk_nextmove, whole.tk_output,
        norm_probs=True, tk_row=whole.tk_row,
    )  # fmt: skip
