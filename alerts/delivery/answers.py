"""What a receiver's answer means.  Some services answer HTTP 200 and refuse the page in the body.

DingTalk and WeCom give an `errcode`, Feishu and Lark a `code` or `StatusCode`, Telegram and Slack `ok`,
Rocket.Chat `success`, and Teams a sentence.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from alerts.delivery.post import Answer
from stream.domain.documents import printable

# These statuses reject the page itself; any other failure may be temporary.
REFUSALS = {400, 413, 422}
TOO_LARGE, RATE_LIMITED, UNKNOWN = 413, 429, 500
LONGEST_EXPLANATION, SHORTEST_SECRET = 200, 6
# The statuses that documented error codes amount to.  Any other code is retried, such as a wrong keyword or
# signature: the page is delivered once the settings of the bot are right.
CODES = {
    45002: TOO_LARGE,  # WeCom: the content is too long
    460101: TOO_LARGE,  # DingTalk: the message is too long
    230025: TOO_LARGE,  # Feishu: the message is too long
    9499: 400,  # Feishu: bad request
    40008: 400,  # WeCom, DingTalk: invalid type of message
    44004: 400,  # WeCom: empty content
}
RATE_WORDS = re.compile(
    r"too (many|fast|frequent)|\bfreq|rate.?limit|ratelimit|throttl|over limit|频", re.IGNORECASE
)
TEAMS_FAILURE = re.compile(r"Webhook message delivery failed\b(?:.*?HTTP error (\d{3}))?", re.DOTALL)
# Fields whose number is an error unless it is zero or an HTTP success.
CODE_FIELDS = ("errcode", "err_code", "error_code", "statuscode", "retcode")
FAILED_WORDS = {"error", "fail", "failed", "failure", "false"}
SUCCESS_WORDS = re.compile(r"\b(ok|success\w*|done|accepted)\b|成功", re.IGNORECASE)
# What makes a sentence with a word for success one of failure.
NEGATIONS = re.compile(
    r"\b(not|never|cannot|unable|(?:no|without) success|rejected|refused|denied)\b|n['\u2019]t\b"
    r"|(?<!\bno )(?<!\b0 )\bfail|[不未没沒]|失败|失敗|无法|無法|拒绝",
    re.IGNORECASE,
)
# What services call the sentence that says what is wrong.
SENTENCES = ("errmsg", "err_msg", "msg", "message", "description", "error")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a page was not delivered, whether a retry can help, and whether less of it could be accepted."""

    reason: str
    recoverable: bool
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt to send a page: its failure, if any, and what the receiver answered.

    Neither contains any part of the receiver's URL, which may hold a secret.
    """

    failure: Failure | None
    answered: str = ""

    @classmethod
    def of_answer(cls, answer: Answer, url: str, *, quotes_body: bool = True) -> "Attempt":
        """Without `quotes_body`, all it quotes is the sentence of a refusal."""
        refusal = _refusal_of(answer)
        if quotes_body:
            said = explanation(answer.body, url)
        else:
            said = explanation(_sentence(answer), url) if refusal else ""
        if refusal is None:
            return cls(None, f"HTTP {answer.status}{said}")
        detail, status = refusal
        reason = f"HTTP {answer.status}{detail and f' with {detail}'}{said}"
        return cls(Failure(reason, status not in REFUSALS, status == TOO_LARGE), reason)

    @classmethod
    def failed(cls, reason: str) -> "Attempt":
        """One that a retry may mend."""
        return cls(Failure(reason, True), reason)


def explanation(body: bytes, url: str) -> str:
    """What the receiver says about a failure, without any part of the URL, which may hold a secret."""
    text = printable(body.decode(errors="replace")).strip()
    if not text or _repeats(text, url):
        return ""
    return f": {text[:LONGEST_EXPLANATION]}"


def _repeats(text: str, url: str) -> bool:
    """Whether the text contains a part of the URL, in any case, and written as in JSON, HTML or a URL."""
    parts = [part for part in re.split(r"[/?&=:@#]+", url) if len(part) >= SHORTEST_SECRET]
    return any(
        part.casefold() in written.casefold()
        for part in {*parts, *map(unquote, parts)}
        for written in (text, _unescaped(text))
    )


def _unescaped(text: str) -> str:
    characters = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    return unquote(html.unescape(characters.replace("\\", "")))


def _refusal_of(answer: Answer) -> tuple[str, int] | None:
    """What refuses the page, in the status or in the body, and the status that it amounts to."""
    if not answer.is_success:
        return "", answer.status
    text = _text(answer)
    if match := TEAMS_FAILURE.match(text):
        return "an error", int(match[1] or UNKNOWN)
    return next(_refusals(_fields(text), text), None)


def _sentence(answer: Answer) -> bytes:
    """What a refusal says in words."""
    fields = _fields(_text(answer))
    words = (fields.get(name) for name in SENTENCES)
    return next((word for word in words if isinstance(word, str) and word), "").encode(errors="replace")


def _text(answer: Answer) -> str:
    return answer.body.decode("utf-8-sig", errors="replace").strip()


def _fields(text: str) -> dict[str, Any]:
    """The fields of an object in JSON, or of a list with one, by their names in lower case; else none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return {name.lower(): value for name, value in found.items()} if isinstance(found, dict) else {}


def _refusals(fields: Mapping[str, Any], text: str) -> Iterator[tuple[str, int]]:
    for name in CODE_FIELDS:
        code = _number(fields.get(name))
        if _is_error(code):
            yield f"{name} {code}", _status(code, text)
    code = _number(fields.get("code"))
    if _says_error(fields, code):
        yield f"code {code}", _status(code, text)
    for name, value in _failing_words(fields):
        yield f"{name} {value}", _status(None, text)
    for name in ("error", "errors"):
        if isinstance(fields.get(name), str | dict | list) and fields[name] and not _succeeded(fields):
            yield f"an {name.removesuffix('s')}", _status(None, text)


def _number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,10}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_error(code: int | None) -> bool:
    return code is not None and code != 0 and not 200 <= code < 300


def _says_error(fields: Mapping[str, Any], code: int | None) -> bool:
    """Whether `code` is an error.  Many programs have a success code of their own, so words decide too."""
    words = fields.get("msg", fields.get("message"))
    said = isinstance(words, str) and (not SUCCESS_WORDS.search(words) or _denies_success(words))
    return _is_error(code) and said and not _succeeded(fields)


def _denies_success(words: str) -> bool:
    return bool(SUCCESS_WORDS.search(words) and NEGATIONS.search(words))


def _succeeded(fields: Mapping[str, Any]) -> bool:
    return any(_word(fields.get(name)) == "true" for name in ("success", "ok"))


def _failing_words(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    failing = [(name, "false") for name in ("ok", "success") if _word(fields.get(name)) == "false"]
    for name in ("status", "result"):
        word = _word(fields.get(name))
        if word in FAILED_WORDS:
            failing.append((name, word))
        elif _denies_success(word):  # a sentence, which may hold a secret
            failing.append((name, "unsuccessful"))
    return failing


def _word(value: object) -> str:
    """A text or a truth value in lower case; empty for anything else."""
    return str(value).strip().lower() if isinstance(value, str | bool) else ""


def _status(code: int | None, text: str) -> int:
    if RATE_WORDS.search(text) and CODES.get(code or 0) != TOO_LARGE:
        return RATE_LIMITED
    if code is not None and 400 <= code < 600:
        return code
    return CODES.get(code or 0, UNKNOWN)
