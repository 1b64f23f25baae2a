"""What a receiver's answer means.  Some services answer HTTP 200 and refuse the page in the body.

DingTalk and WeCom give an `errcode`, Feishu and Lark a `code` or `StatusCode`, Telegram and Slack `ok`,
Rocket.Chat `success`, and Teams a sentence.
"""

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
FAILED_WORDS = {"error", "fail", "failed", "failure"}
SUCCESS_WORDS = re.compile(r"\b(ok|success\w*|done|accepted)\b|成功", re.IGNORECASE)


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
    def of_answer(cls, answer: Answer, url: str) -> "Attempt":
        failure = failure_of(answer, url)
        said = f"HTTP {answer.status}{explanation(answer.body, url)}"
        return cls(failure, failure.reason if failure else said)

    @classmethod
    def failed(cls, reason: str) -> "Attempt":
        """One that a retry may mend."""
        return cls(Failure(reason, True), reason)


def failure_of(answer: Answer, url: str) -> Failure | None:
    """The failure that an answer reports, in its status or its body; None if the page was accepted.

    The reason never contains any part of the URL, which may hold a secret.
    """
    status, detail = answer.status, ""
    if answer.is_success:
        text = answer.body.decode("utf-8-sig", errors="replace").strip()
        found = _refusal_in(text)
        if found is None:
            return None
        detail, status = found
    reason = f"HTTP {answer.status}{detail and f' with {detail}'}{explanation(answer.body, url)}"
    return Failure(reason, status not in REFUSALS, status == TOO_LARGE)


def explanation(body: bytes, url: str) -> str:
    """What the receiver says about a failure, without any part of the URL, which may hold a secret."""
    text = printable(body.decode(errors="replace")).strip()
    parts = [part for part in re.split(r"[/?&=:@#]+", url) if len(part) >= SHORTEST_SECRET]
    if not text or any(part in text or unquote(part) in text for part in parts):
        return ""
    return f": {text[:LONGEST_EXPLANATION]}"


def _refusal_in(text: str) -> tuple[str, int] | None:
    """What in the body of a successful answer refuses the page, and the status that it amounts to."""
    if match := TEAMS_FAILURE.match(text):
        return "an error", int(match[1] or UNKNOWN)
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    return next(_refusals({name.lower(): value for name, value in fields.items()}, text), None)


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
    said = isinstance(words, str) and not SUCCESS_WORDS.search(words)
    return _is_error(code) and said and not _succeeded(fields)


def _succeeded(fields: Mapping[str, Any]) -> bool:
    return fields.get("success") is True or fields.get("ok") is True


def _failing_words(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    failing = [(name, "false") for name in ("ok", "success") if fields.get(name) is False]
    words = [(name, str(fields[name])) for name in ("status", "result") if isinstance(fields.get(name), str)]
    return failing + [(name, word) for name, word in words if word.lower() in FAILED_WORDS]


def _status(code: int | None, text: str) -> int:
    if RATE_WORDS.search(text) and CODES.get(code or 0) != TOO_LARGE:
        return RATE_LIMITED
    if code is not None and 400 <= code < 600:
        return code
    return CODES.get(code or 0, UNKNOWN)
