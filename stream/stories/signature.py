"""Copy signatures: how alike two texts are, from some bytes of each.

A signature is a MinHash (Broder 1997, "On the resemblance and containment of documents") of the text's
shingles: runs of three words, or of three characters in Chinese.  The share of equal bytes in two signatures
estimates the share of shingles that the two texts have in common (their Jaccard similarity), with a standard
error of at most 0.045.  Case, punctuation, links and what syndicators put in front of a text do not count.
"""

import re
import unicodedata
import zlib
from itertools import islice

import numpy as np

# Bytes of a signature.
SIGNATURE_SIZE = 128
SHINGLE = 3
# Of a longer text the beginning is read.
MOST_TOKENS = 2000
HAN = r"\u3400-\u9fff\uf900-\ufaff"
TOKEN = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:[.,'][^\W_{HAN}]+)*%?")
LINK = re.compile(r"https?://\S+|www\.\S+|\b(?:pic\.twitter\.com|t\.co)/\S+", re.IGNORECASE)
# What is put in front of a text that somebody else wrote or wrote before.
PREFIX = re.compile(
    r"\s*(?:"
    r"(?:rt|mt|via|reposted?|fwd?|re)\b:?\s*@[\w.]+:?"
    r"|(?:rt|mt|repost|fwd?)\s*:"
    r"|(?:update|wrapup|refile|rpt|repeat|corrected|correction|brief|exclusive|breaking|breaking\ news"
    r"|just\ in|flash|alert|urgent|developing|watch|live)(?:\s*\d{1,2})?\s*[-:–—|]+"
    r"|(?:转发|转|回复)\s*@[^\s:：]{1,30}\s*[:：]"
    r"|(?:快讯|突发|独家|最新|速递|转发|更新|更正|重发|重磅)\s*\d{0,2}\s*[:：|｜丨—-]+"
    r"|[【\[](?:快讯|突发|独家|最新|速递|更新|更正|转发|重磅|update|breaking|exclusive)[】\]]"
    r")\s*",
    re.IGNORECASE | re.VERBOSE,
)
# What is put behind it: "- Reuters", "| Daily Ledger", "(via Reuters)", "...".
SUFFIX = re.compile(
    r"(?:\s+[-–—|｜]+\s*(?:[^\W\d_][^\W\d]*[\s.&'’-]*){1,4}|\s*[|｜丨][^\W\d]{2,12}"
    r"|\s*[(\[（【](?:[^\W\d_]|[\s.:：/@&'’-]){2,40}[)\]）】]|\s*(?:来源|来自|转自|编辑)\s*[:：]\s*[^\W\d]{2,20}"
    r"|\s*\b(?:via|source:|h/t)\s+@?[^\W\d][\w.]*(?:\s[^\W\d][\w.]*){0,2}|\s*(?:\.{2,}|…+))\s*$",
    re.IGNORECASE,
)
# The suffix is looked for in the last characters only.
LONGEST_SUFFIX = 60
MOST_PREFIXES = MOST_SUFFIXES = 4
QUOTES = str.maketrans("‘’“”", "''\"\"")

_GENERATOR = np.random.default_rng(0x5EED)
# Multiply-add hashing of 64-bit shingles; odd factors.
_FACTORS = _GENERATOR.integers(0, 2**63, SIGNATURE_SIZE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _GENERATOR.integers(0, 2**63, SIGNATURE_SIZE, dtype=np.uint64)
_PLACES = _GENERATOR.integers(0, 2**63, SHINGLE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def core(text: str) -> str:
    """A clean text (`stream.domain.text.cleaning`) without links and what syndicators put around it."""
    text = LINK.sub(" ", unicodedata.normalize("NFKC", text).translate(QUOTES))
    for _ in range(MOST_PREFIXES):
        match = PREFIX.match(text)
        if match is None:
            break
        text = text[match.end() :]
    for _ in range(MOST_SUFFIXES):
        start = max(0, len(text) - LONGEST_SUFFIX)
        match = SUFFIX.search(text, start)
        if match is None or not match.start():
            break
        text = text[: match.start()]
    return text


def tokens(text: str) -> list[str]:
    """The words of a text (`core`) as they count for its signature."""
    return [match[0].casefold() for match in islice(TOKEN.finditer(text), MOST_TOKENS)]


def signature(words: list[str]) -> bytes:
    """The signature of a text by its `tokens`; empty without tokens."""
    if not words:
        return b""
    hashes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64)
    hashes = (hashes + np.uint64(1)) * _MIX
    runs = len(hashes) - SHINGLE + 1
    if runs < 1:
        shingles = (hashes * _PLACES[: len(hashes)]).sum(keepdims=True, dtype=np.uint64)
    else:
        shingles = sum(hashes[i : i + runs] * _PLACES[i] for i in range(SHINGLE))
    shingles = np.unique(_mixed(shingles))
    smallest = (shingles[:, None] * _FACTORS + _OFFSETS).min(axis=0)
    return (_mixed(smallest) >> np.uint64(56)).astype(np.uint8).tobytes()


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit numbers (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
