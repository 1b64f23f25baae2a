"""A light language check, good enough to refuse languages that the classifier was not trained for."""

import re
import threading
import unicodedata
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

# Texts in Latin script count as English unless another language is at least this probable: on short headlines
# full of names, a lower threshold refuses more English texts than it finds others.
MIN_PROBABILITY = 0.9
MAX_CHARACTERS = 2000
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
KANA = re.compile(r"[\u3040-\u30ff]")
HANGUL = re.compile(r"[\uac00-\ud7af]")
HAN_LETTERS = 3
CANDIDATES = (
    "ar", "cs", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
LETTER = re.compile(r"[A-Za-z]")
# Links, handles and tickers do not tell the language of a text.
NOISE = re.compile(r"https?://\S+|[@$#]\w+")
# Held while the statistics are loaded, which must not happen twice.
_LOADING = threading.Lock()


def detect(text: str, declared: str | None = None) -> str | None:
    """The ISO 639-1 code of the text's language, or None if it has no letters.

    `declared` is what the feed declares, such as "en" or "en-GB".  It counts for text in Latin script, where
    the languages of short texts are hard to tell apart, but not against another script.
    """
    text = text[:MAX_CHARACTERS]
    if declared and text.isascii():
        return _code(declared) if LETTER.search(text) else None
    letters = [char for char in NOISE.sub(" ", text) if char.isalpha()]
    if not letters:
        letters = [char for char in text if char.isalpha()]
    if not letters:
        return None
    eastern = _eastern("".join(letters))
    if eastern is not None:
        return eastern
    latin = sum(_is_latin(char) for char in letters) * 2 > len(letters)
    if declared and latin:
        return _code(declared)
    code, probability = _identifier().classify(NOISE.sub(" ", text))
    return str(code) if probability >= MIN_PROBABILITY or not latin else "en"


def _code(declared: str) -> str:
    return declared.lower().replace("_", "-").split("-")[0]


def load() -> None:
    """Load the statistics now instead of with the first text that needs them."""
    _identifier()


def load_in_background() -> None:
    """Load the statistics while something else is loaded: unpacking them leaves the interpreter free."""
    threading.Thread(target=load, name="language-statistics", daemon=True).start()


def _eastern(letters: str) -> str | None:
    """zh, ja or ko by script alone: on short texts a statistical check is unreliable.

    A Han character counts as much as HAN_LETTERS Latin letters, so that a Chinese sentence full of
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


def _identifier() -> LanguageIdentifier:
    with _LOADING:
        return _load_identifier()


@cache
def _load_identifier() -> LanguageIdentifier:
    full = LanguageIdentifier.from_model_file(MODEL_FILE)
    full.set_languages(list(CANDIDATES))
    # A copy without the table of all languages, which is six times as large.
    return LanguageIdentifier(
        full.nb_ptc,
        full.nb_pc,
        full.nb_classes,
        full.tk_nextmove,
        full.tk_output,
        norm_probs=True,
        tk_row=full.tk_row,
    )
