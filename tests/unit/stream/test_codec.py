import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream.codec import Codec
from stream.domain.documents import Kind
from stream.domain.errors import DeadLetterReason, Rejected
from stream.settings import StreamSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODEC = Codec(timedelta(minutes=5), 10_000)
GOOD = {"id": "1", "published_at": "2026-03-01T11:59:00Z", "text": "Shares rise"}


def encode(**changes: Any) -> bytes:
    fields = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    return json.dumps(fields).encode()


BROKEN: list[tuple[str, bytes | None, str]] = [
    ("a message without a value", None, "empty"),
    ("an empty value", b"", "empty"),
    ("more bytes than allowed", encode(text="x" * 10_000), "too_large"),
    ("bytes that are not text", b"\xff\xfe\x00", "not_utf8"),
    ("a string in Latin-1", b'{"id": "caf\xe9", "text": "x"}', "not_utf8"),
    ("a truncated object", b'{"id": "1"', "not_json"),
    ("two objects", encode() + encode(), "not_json"),
    ("deep nesting in an unknown field", b'{"x": ' + b"[" * 5000, "not_json"),
    ("a list", b"[]", "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("no id", encode(id=...), "missing_field"),
    ("no timestamp", encode(published_at=...), "missing_field"),
    ("a fraction for an id", encode(id=5.5), "invalid_field"),
    ("a truth value for an id", encode(id=True), "invalid_field"),
    ("NaN for an id", encode(id=float("nan")), "invalid_field"),
    ("an empty id", encode(id=""), "invalid_field"),
    ("an object for a text", encode(text={}), "invalid_field"),
    ("a timestamp without a time zone", encode(published_at="2026-03-01T11:59:00"), "invalid_time"),
    ("a timestamp in seconds", encode(published_at=1_772_366_340), "invalid_time"),
    ("a timestamp before year 1 in UTC", encode(published_at="0001-01-01T00:00:00+14:00"), "invalid_time"),
    ("a timestamp in the next year", encode(published_at="2027-01-01T00:00:00Z"), "far_future"),
    ("no title and no text", encode(text=...), "no_text"),
    ("blank title and text", encode(title="\t", text=" \n"), "no_text"),
    ("a NUL alone for a text", encode(text="\0"), "no_text"),
    ("a NUL in the id", encode(id="a\0b"), "nul"),
    ("a shortened number for an id", encode(id="1.52e+18"), "invalid_field"),
    ("a word for nothing for an id", encode(id=" nan "), "invalid_field"),
    ("a blank id", encode(id=" "), "invalid_field"),
    ("an id that has lost characters", encode(id="1\ufffd"), "invalid_field"),
    ("half a surrogate pair in the id", encode(id="1\ud800"), "invalid_field"),
    ("half a surrogate pair as bytes in the id", b'{"id": "1\xed\xa0\xbd", "text": "x"}', "invalid_field"),
    ("half a surrogate pair in the source", encode(source="wire\udbff"), "invalid_field"),
    ("half a pair in the id, an author that is no text", encode(id="1\ud800", author=["A"]), "invalid_field"),
    ("no id, and an author that is no text", encode(id=..., author=["Ann"]), "missing_field"),
    (
        "deep nesting in the text",
        b'{"id": "1", "published_at": "2026-03-01T11:59:00Z", "text": ' + b"[" * 4000 + b"]" * 4000 + b"}",
        "invalid_field",
    ),
]


@pytest.mark.parametrize(("what", "value", "reason"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_message_is_rejected_with_its_reason(what: str, value: bytes | None, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        CODEC.decode(value, Kind.NEWS, NOW)
    assert caught.value.reason == reason
    assert reason in list(DeadLetterReason)
    assert caught.value.detail


def test_a_message_with_only_required_fields_gets_defaults() -> None:
    document = CODEC.decode(encode(), Kind.COMMENT, NOW)
    assert (document.id, document.source, document.kind) == ("1", "unknown", Kind.COMMENT)
    assert document.content == "Shares rise"
    assert document.published_at == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)


def test_every_field_is_decoded_and_unknown_fields_are_ignored() -> None:
    value = encode(
        title=" Up ",
        source="wire",
        author="Ann",
        url="https://example.org",
        symbols=["AA", "BB"],
        lang="en",
        published_at="2026-03-01T13:59:00.5+02:00",
        mood="odd",
    )
    document = CODEC.decode(value, Kind.NEWS, NOW)
    assert (document.title, document.author, document.symbols) == ("Up", "Ann", ("AA", "BB"))
    assert document.published_at == datetime(2026, 3, 1, 11, 59, 0, 500_000, tzinfo=UTC)
    assert document.content == "Up\nShares rise"


def test_a_source_or_id_beyond_its_limit_is_cut_and_the_document_lives() -> None:
    document = CODEC.decode(encode(source="s" * 129, id="x" * 513), Kind.NEWS, NOW)
    assert (len(document.source), len(document.id)) == (128, 512)
    assert document.source.startswith("sss") and "…#" in document.source
    assert document.shortened == ("id", "source")
    again = CODEC.decode(encode(source="s" * 129, id="x" * 513), Kind.NEWS, NOW)
    other = CODEC.decode(encode(source="s" * 129, id="x" * 514), Kind.NEWS, NOW)
    assert document.key == again.key != other.key
    assert CODEC.decode(encode(source="s" * 128, id="x" * 512), Kind.NEWS, NOW).shortened == ()


def test_a_message_is_refused_with_the_key_of_the_document_that_it_was_to_become() -> None:
    for value, key in (
        (encode(text=" "), "news:unknown:1"),
        (encode(source="a/b", text="\0"), "news:a~2Fb:1"),
    ):
        with pytest.raises(Rejected) as caught:
            CODEC.decode(value, Kind.NEWS, NOW)
        assert caught.value.key == key


@pytest.mark.parametrize(
    ("source", "kind", "allowed"),
    [
        ("reuters", Kind.NEWS, True),
        ("wire-1", Kind.NEWS, True),
        ("wire-" + "x" * 200, Kind.NEWS, True),
        ("Reuters", Kind.NEWS, False),
        ("reuters\n", Kind.NEWS, False),
        ("xreuters", Kind.NEWS, False),
        ("wire", Kind.NEWS, False),
        (None, Kind.NEWS, False),
        ("monitor-heartbeat2", Kind.NEWS, False),
        ("reuters", Kind.COMMENT, False),
        ("forum", Kind.COMMENT, True),
        (None, Kind.COMMENT, True),
    ],
)
def test_a_topic_is_read_from_allowed_sources_only(source: str | None, kind: Kind, allowed: bool) -> None:
    settings = StreamSettings(
        allowed_news_sources=("reuters", "wire-*"), allowed_comment_sources=["forum", "unknown"]
    )
    codec, value = Codec.from_settings(settings), encode(source=source)
    if allowed:
        assert codec.decode(value, kind, NOW).kind == kind
        return
    with pytest.raises(Rejected, match=f"stream.allowed_{kind}_sources") as caught:
        codec.decode(value, kind, NOW)
    assert caught.value.reason == "source_not_allowed"


def test_without_allowed_sources_every_source_is_read() -> None:
    codec = Codec.from_settings(StreamSettings(allowed_news_sources=["reuters"]))
    assert codec.decode(encode(source="anyone"), Kind.COMMENT, NOW).source == "anyone"


def test_a_timestamp_slightly_in_the_future_is_accepted() -> None:
    assert CODEC.decode(encode(published_at="2026-03-01T12:04:59Z"), Kind.NEWS, NOW)


ADVERSARIAL: dict[str, Callable[[int], bytes]] = {
    "an unclosed string full of escaped quotes": lambda n: b'["' + b'\\"' * (n // 2),
    "an unclosed string full of backslashes": lambda n: b'["' + b"\\" * (n // 2 * 2),
    "quotes that open and never close": lambda n: b"[" + b'"\\",' * (n // 4),
    "brackets that never close": lambda n: b"[" * n,
    "braces that never close": lambda n: b"[" + b'{"a":' * (n // 5),
    "nesting that closes, and then something": lambda n: b"[" * (n // 2) + b"]" * (n // 2) + b"x",
    "deep nesting beside a value that is not JSON": lambda n: (
        b"[" + b"[" * (n // 2) + b"]" * (n // 2) + b",NaN]"
    ),
    "escapes beside a value that is not JSON": lambda n: b'["' + b"\\u0041" * (n // 6) + b'",NaN]',
    "a number without end": lambda n: b"[" + b"1" * n + b",NaN]",
    "a number without end for an id": lambda n: b'[{"id":' + b"1" * n + b"}]",
    "empty elements": lambda n: b"[" + b"," * n + b"]",
    "blanks": lambda n: b" " * (n // 2) + b"[" + b" " * (n // 2),
}


@pytest.mark.parametrize("shape", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_the_cost_of_a_message_grows_with_its_size_and_not_with_its_square(
    shape: Callable[[int], bytes],
) -> None:
    codec = Codec(timedelta(minutes=5), 10_000_000, max_documents=10_000)

    def seconds(size: int) -> float:
        value, least = shape(size), float("inf")
        for _ in range(3):
            started = time.thread_time()
            with suppress(Rejected):
                for element in codec.split(value) or []:
                    with suppress(Rejected):
                        codec.decode(element, Kind.NEWS, NOW)
            least = min(least, time.thread_time() - started)
        return least

    small, large = seconds(40_000), seconds(320_000)
    assert large < 24 * small + 0.005, "eight times the size costs about eight times, not 64 times"


@pytest.mark.parametrize(
    ("what", "value", "elements"),
    [
        ("an element that is not JSON", b'[{"a": 1}, NaN, {"b": 2}]', [b'{"a": 1}', b"NaN", b'{"b": 2}']),
        ("an escaped quote before a comma", b'["a\\",", NaN]', [b'"a\\","', b"NaN"]),
        ("a backslash at the end of a string", b'["a\\\\", NaN, "b"]', [b'"a\\\\"', b"NaN", b'"b"']),
        ("brackets in a string", b'["[{", NaN, [1, "]"]]', [b'"[{"', b"NaN", b'[1, "]"]']),
        ("nothing between two commas", b"[1,,2]", [b"1", b"", b"2"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_array_is_cut_where_its_elements_end(
    what: str, value: bytes, elements: list[bytes]
) -> None:
    assert Codec(timedelta(minutes=5), 10_000, max_documents=9).split(value) == elements


@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        ("an unclosed string", b'[{"a": 1}, "b]', "not_json"),
        ("an unclosed bracket", b'[{"a": 1}, [2]', "not_json"),
        ("something after the array", b"[NaN] 1", "not_json"),
        ("more elements than allowed, one of them not JSON", b"[NaN" + b",1" * 9 + b"]", "too_large"),
        ("more elements than allowed", b"[1" + b",1" * 9 + b"]", "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_array_that_cannot_be_cut_is_rejected_whole(what: str, value: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        Codec(timedelta(minutes=5), 10_000, max_documents=9).split(value)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("changes", "kept", "shortened"),
    [
        ({"author": "a" * 300}, {"author": "a" * 255 + "\u2026"}, ("author",)),
        ({"author": ["Ann", {"name": "Bo"}]}, {"author": "Ann, Bo"}, ()),
        ({"author": ["Ann", 5]}, {"author": None}, ("author",)),
        ({"author": "An\0n"}, {"author": "Ann"}, ("author",)),
        ({"url": "https://a.example/" + "x" * 2031}, {"url": None}, ("url",)),
        ({"url": "https://a.example/" + "x" * 2030}, {"url": "https://a.example/" + "x" * 2030}, ()),
        ({"url": 5}, {"url": None}, ("url",)),
        ({"symbols": [f"S{n}" for n in range(148)]}, {"symbols": tuple(f"S{n}" for n in range(100))}, ("symbols",)),
        ({"symbols": ["AA", "B" * 65, "CC\0", "DD"]}, {"symbols": ("AA", "DD")}, ("symbols",)),
        ({"symbols": ["AA", {"name": "BB"}, 600519, None]}, {"symbols": ("AA", "BB", "600519")}, ()),
        ({"symbols": ["AA", {"weight": 1}, True, 1.5]}, {"symbols": ("AA",)}, ("symbols",)),
        ({"symbols": "AA,BB"}, {"symbols": ("AA", "BB")}, ()),
        ({"symbols": {"AA": 1}}, {"symbols": ()}, ("symbols",)),
        ({"lang": "l" * 40}, {"lang": None}, ("lang",)),
        ({"lang": True, "url": 1.5, "author": {}, "symbols": 7.5}, {"lang": None, "url": None, "author": None}, ("author", "lang", "symbols", "url")),
        ({"author": None, "url": None, "symbols": None, "lang": None}, {"author": None, "symbols": ()}, ()),
        ({"author": "", "url": "", "symbols": [], "lang": ""}, {"author": "", "url": "", "symbols": ()}, ()),
        ({"author": ["x"], "symbols": ["AA"], "lang": "en"}, {"author": "x", "symbols": ("AA",), "lang": "en"}, ()),
    ],
)  # fmt: skip
def test_an_optional_field_never_costs_the_document(
    changes: dict[str, Any], kept: dict[str, Any], shortened: tuple[str, ...]
) -> None:
    document = Codec(timedelta(minutes=5), 100_000).decode(encode(**changes), Kind.NEWS, NOW)
    assert document.content == "Shares rise"
    assert {name: getattr(document, name) for name in kept} == kept
    assert sorted(document.shortened) == sorted(shortened)


@pytest.mark.parametrize("depth", [50, 500, 1100, 100_000])
@pytest.mark.parametrize("field", ["mood", "symbols", "author"])
def test_nesting_without_end_in_an_optional_field_never_costs_the_document(field: str, depth: int) -> None:
    deep = b"[" * depth + b'"]\\""' + b"]" * depth
    value = encode(symbols=["AA"])[:-1] + b', "' + field.encode() + b'": ' + deep + b', "lang": "en"}'
    document = Codec(timedelta(minutes=5), 10**6).decode(value, Kind.NEWS, NOW)
    assert document.content == "Shares rise" and document.lang == "en"
    assert document.symbols == (() if field == "symbols" else ("AA",))
    assert ("nested" in document.shortened) is (depth > 1000)


def test_the_limits_of_optional_fields_are_settings() -> None:
    settings = StreamSettings(author_characters=16, url_characters=64, symbol_count=2, symbol_characters=8)
    value = encode(author="a" * 17, url="u" * 65, symbols=["A", "B" * 9, "C", "D"])
    document = Codec.from_settings(settings).decode(value, Kind.NEWS, NOW)
    assert (document.author, document.url, document.symbols) == ("a" * 15 + "\u2026", None, ("A", "C"))
    assert document.shortened == ("author", "symbols", "url")


@pytest.mark.parametrize(
    ("changes", "name", "kept"),
    [
        ({"id": 17}, "id", "17"),
        ({"id": 17.0}, "id", "17"),
        ({"id": 1520000000000000001}, "id", "1520000000000000001"),
        ({"source": {"id": None, "name": "Harbour Wire"}}, "source", "Harbour Wire"),
    ],
)
def test_an_id_and_a_source_are_read_as_files_have_them(
    changes: dict[str, Any], name: str, kept: str
) -> None:
    document = Codec(timedelta(minutes=5), 100_000).decode(encode(**changes), Kind.NEWS, NOW)
    assert getattr(document, name) == kept


@pytest.mark.parametrize("value", [True, 1520000000000000001.0, 1.5, [], {}])
def test_an_id_that_several_documents_may_share_is_refused(value: object) -> None:
    with pytest.raises(Rejected) as refused:
        Codec(timedelta(minutes=5), 100_000).decode(encode(id=value), Kind.NEWS, NOW)
    assert refused.value.reason == DeadLetterReason.INVALID_FIELD


@pytest.mark.parametrize("id_", ["1\ud800", "1\udbff", "1\ufffd"])
def test_an_id_that_lost_characters_says_so(id_: str) -> None:
    with pytest.raises(Rejected, match=r"half a surrogate pair.*several documents may share it"):
        CODEC.decode(encode(id=id_), Kind.NEWS, NOW)


@pytest.mark.parametrize(
    "id_", ["c++", "2026-03-01T09:30:00+08:00", "北辰-1", "nano", "+", "e+5", "1\U0001f600"]
)
def test_odd_ids_that_are_whole_are_read(id_: str) -> None:
    assert CODEC.decode(encode(id=id_), Kind.NEWS, NOW).id == id_
