"""From texts to windows of tokens: which part of the model reads a text, and how much of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from models.inference import language, normalize
from models.inference.evidence import Name
from models.network.artifact import Part

# Characters of a text that are read for each token the model may read; the rest is cut before tokenising.
CHARACTERS_PER_TOKEN = 40
# Neighbouring windows of a long text share 1/OVERLAP of their tokens, so that phrases are seen whole.
OVERLAP = 4


# The places in a text that name one target: half-open ranges of its characters.
Target = tuple[tuple[int, int], ...]


class CleanInput(NamedTuple):
    """A clean text, the language that its feed declares, and the targets to find the sentiment towards.

    `names` are the entities that it names, which are no evidence.
    """

    text: str
    declared: str | None = None
    targets: tuple[Target, ...] = ()
    names: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One tokenised text: its index among the input texts, language, part, windows, targets and names.

    `truncated` is true if the windows do not cover the whole text.
    """

    index: int
    text: str
    lang: str
    part: Part
    windows: tuple[Encoding, ...]
    truncated: bool
    targets: tuple[Target, ...] = ()
    names: tuple[Name, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(window) for window in self.windows)

    @property
    def unknown(self) -> int:
        """The number of tokens that stand for text outside the vocabulary."""
        unknown_id = self.part.network.unknown_id
        return sum(window.ids.count(unknown_id) for window in self.windows)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The texts that the model can read, and the languages of those it cannot, by index in the input.

    A language is an ISO 639-1 code, or None for a text without letters.
    """

    texts: list[TokenizedText]
    unsupported: dict[int, str | None]


class TextTokenizer:
    """Tokenises texts with the tokenizer of the part that reads their language."""

    def __init__(self, parts: Sequence[Part], max_windows: int) -> None:
        self._max_windows = max_windows
        self._parts: dict[str, Part] = {}
        self._plain_tokenizers: dict[str, Tokenizer] = {}
        for part in parts:
            tokenizer, length = part.network.tokenizer, part.info.max_tokens
            tokenizer.no_padding()
            tokenizer.enable_truncation(length, stride=length // OVERLAP)
            # Only where plain texts are to be expected: not in Chinese.
            if any(normalize.is_plain(canary.text) for canary in part.info.canaries):
                self._plain_tokenizers[part.info.folder] = normalize.for_plain_texts(tokenizer)
            self._parts |= dict.fromkeys(part.info.languages, part)

    def part(self, lang: str) -> Part:
        """The part that reads a language.  Raises KeyError if none does."""
        return self._parts[lang]

    def tokenize(self, inputs: Sequence[CleanInput]) -> Tokenized:
        """Detect the language of each text (`language.detect`) and tokenise those that a part reads."""
        unsupported: dict[int, str | None] = {}
        by_language: dict[str, list[int]] = {}
        for index, (text, declared, *_) in enumerate(inputs):
            lang = language.detect(text, declared)
            if lang is None or lang not in self._parts:
                unsupported[index] = lang
            else:
                by_language.setdefault(lang, []).append(index)
        tokenized = [
            text
            for lang, indexes in by_language.items()
            for text in self._tokenize_language(lang, {index: inputs[index] for index in indexes})
        ]
        return Tokenized(tokenized, unsupported)

    def _tokenize_language(self, lang: str, inputs: Mapping[int, CleanInput]) -> Iterator[TokenizedText]:
        part = self._parts[lang]
        limit = CHARACTERS_PER_TOKEN * part.info.max_tokens * self._max_windows
        encodings = self._encode(part, [item.text[:limit] for item in inputs.values()])
        for (index, item), encoding in zip(inputs.items(), encodings, strict=True):
            windows = (encoding, *encoding.overflowing)
            truncated = len(item.text) > limit or len(windows) > self._max_windows
            read = windows[: self._max_windows]
            text = item.text[:limit]
            yield TokenizedText(index, text, lang, part, read, truncated, item.targets, item.names)

    def _encode(self, part: Part, texts: Sequence[str]) -> Iterator[Encoding]:
        tokenizer = part.network.tokenizer
        plain_tokenizer = self._plain_tokenizers.get(part.info.folder)
        if plain_tokenizer is None:
            return iter(tokenizer.encode_batch(texts))
        plain = list(map(normalize.is_plain, texts))
        plain_encodings = iter(plain_tokenizer.encode_batch(list(compress(texts, plain))))
        other_encodings = iter(tokenizer.encode_batch(list(compress(texts, map(not_, plain)))))
        return (next(plain_encodings if is_plain else other_encodings) for is_plain in plain)
