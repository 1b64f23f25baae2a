"""A light language check, good enough to refuse languages that the classifier was not trained for."""

import re
import threading
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from models.inference.language_tags import HAN_OR_HANGUL, OTHER_SCRIPTS, language_code

# Texts in Latin script count as English unless another language is at least this probable: on short headlines
# full of names, a lower threshold refuses more English texts than it finds others.
MIN_PROBABILITY = 0.9
MAX_CHARACTERS = 2000
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
KANA = re.compile(r"[\u3040-\u30ff]")
HANGUL = re.compile(r"[\uac00-\ud7af]")
HAN_LETTERS = 3
# A text in Chinese characters alone is Japanese if one of so many has a form that only Japan uses.
JAPANESE_SHARE = 12
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

    `declared` is what the feed declares, such as "en", "eng" or "English" (`language_tags.language_code`).
    It is believed where the text does not contradict it.  Among languages in Latin script that is always: on
    short headlines full of names a feed knows better than statistics.
    """
    text = text[:MAX_CHARACTERS]
    claim = language_code(declared) if declared else None
    if claim and text.isascii() and claim not in HAN_OR_HANGUL and claim not in OTHER_SCRIPTS:
        return claim if LETTER.search(text) else None
    letters = [char for char in NOISE.sub(" ", text) if char.isalpha()]
    if not letters:
        letters = [char for char in text if char.isalpha()]
    if not letters:
        return None
    eastern = _eastern("".join(letters), claim)
    if eastern is not None:
        return eastern
    latin = sum(_is_latin(char) for char in letters) * 2 > len(letters)
    if not latin:
        return str(_identifier().classify(NOISE.sub(" ", text))[0])
    return _latin_language(NOISE.sub(" ", text), claim)


def _latin_language(text: str, claim: str | None) -> str:
    """The language of a text in Latin script, which is neither Chinese nor Japanese nor Korean."""
    if claim and claim not in HAN_OR_HANGUL and claim not in OTHER_SCRIPTS:
        return claim
    code, probability = _identifier().classify(text)
    is_clear = probability >= MIN_PROBABILITY
    if claim in OTHER_SCRIPTS:
        # Such as Hindi as commenters type it: statistics take it for anything.
        return "en" if is_clear and code == "en" else claim
    return str(code) if is_clear else "en"


def load() -> None:
    """Load the statistics now instead of with the first text that needs them."""
    _identifier()


def load_in_background() -> None:
    """Load the statistics while something else is loaded: unpacking them leaves the interpreter free."""
    threading.Thread(target=load, name="language-statistics", daemon=True).start()


def _eastern(letters: str, claim: str | None = None) -> str | None:
    """zh, ja or ko by script alone: on short texts a statistical check is unreliable.

    A Han character counts as much as HAN_LETTERS Latin letters, so that a Chinese sentence full of
    product names stays Chinese, and an English one with a Chinese name in it English.  A headline in Chinese
    characters alone may be Japanese.
    """
    han = len(HAN.findall(letters))
    kana, hangul = len(KANA.findall(letters)), len(HANGUL.findall(letters))
    rest = len(letters) - han - kana - hangul
    if (han + kana + hangul) * HAN_LETTERS <= rest:
        return None
    if kana * 10 > han:
        return "ja"
    if hangul > han:
        return "ko"
    return "ja" if not kana and claim != "zh" and _is_japanese(letters, claim == "ja") else "zh"


def _is_japanese(letters: str, claimed: bool) -> bool:
    """Whether a text in Chinese characters alone is Japanese: by those that only Japan writes so.

    If the feed says so it is, unless it has characters that Japan writes otherwise or not at all.
    """
    characters = HAN.findall(letters)
    japanese = sum(map(_is_japanese_alone, characters))
    if japanese * JAPANESE_SHARE >= len(characters):
        return True
    return claimed and (bool(japanese) or not any(map(_is_chinese_alone, characters)))


@lru_cache(16_384)
def _is_japanese_alone(char: str) -> bool:
    """Whether Japan writes a common character in a form of its own, such as the second of 價, 価 and 价."""
    return _is_common_in_japan(char) and not _is_in(char, "gb2312") and not _is_in(char, "big5")


@lru_cache(16_384)
def _is_chinese_alone(char: str) -> bool:
    """Whether Japan does not use a character, in the form that Taiwan writes either.

    A text in Japanese may have been converted to simplified characters before.
    """
    return not _is_common_in_japan(char) and not _is_common_in_japan(_to_traditional()(char))


@cache
def _to_traditional() -> Callable[[str], str]:
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("s2t").convert
    return convert


def _is_common_in_japan(char: str) -> bool:
    """Whether a character is in the first level of JIS X 0208, which has those of daily use."""
    code = char.encode("shift_jis", "ignore")
    return b"\x88\x9f" <= code <= b"\x98\x72"


def _is_in(char: str, charset: str) -> bool:
    return bool(char.encode(charset, "ignore"))


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
