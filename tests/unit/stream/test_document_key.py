"""The identity of a document: kind, source and id, and one key made of them."""

import json
import re
from urllib.parse import quote, unquote, urlsplit

import pytest
from msgspec import structs
from sqlalchemy import select

from stream.domain.documents import Document, Kind, document_key, shorten_name
from stream.domain.errors import DeadLetterReason
from stream.domain.records import Batch, ClassifiedDocument, DeadLetter, MessagePosition, Partition
from stream.domain.sums import EPOCH, Scope
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import database, relabel, retention, schema
from stream.storage.batches import Store
from stream.storage.outbox import Outbox, decode_messages
from tests.unit.stream.samples import ALL_TIMES, NOW, classified, classify_with_two, no_messages, write

COMMENTS_0 = Partition("cluster/c", "comments", 0)


def as_comment(item: ClassifiedDocument, offset: int = 0) -> ClassifiedDocument:
    """The same document as a comment, with the same source and id."""
    position = MessagePosition(Kind.COMMENT, COMMENTS_0, offset, b"{}")
    document = structs.replace(item.document, kind=Kind.COMMENT)
    return structs.replace(item, position=position, document=document)


def with_source(item: ClassifiedDocument, source: str) -> ClassifiedDocument:
    return structs.replace(item, document=structs.replace(item.document, source=source))


@pytest.mark.parametrize(
    ("source", "id_", "key"),
    [
        ("wire", "17", "news:wire:17"),
        ("a/b", "c", "news:a~2Fb:c"),
        ("a", "b/c", "news:a:b~2Fc"),
        ("a:b", "c", "news:a~3Ab:c"),
        ("a~2Fb", "c", "news:a~7E2Fb:c"),
        ("", "1", "news::1"),
        ("财经", "1", "news:~E8~B4~A2~E7~BB~8F:1"),
        ("Wire One", "..", "news:Wire~20One:.."),
        ("a\n\x1b", "%2F#?", "news:a~0A~1B:~252F~23~3F"),
    ],
)
def test_a_key_escapes_whatever_could_be_taken_for_a_separator(source: str, id_: str, key: str) -> None:
    assert document_key(Kind.NEWS, source, id_) == key
    assert document_key(Kind.COMMENT, source, id_) == key.replace("news", "comment", 1)


def test_texts_that_only_look_alike_have_keys_of_their_own() -> None:
    sources = [
        "caf\u00e9",
        "cafe\u0301",
        "Wire",
        "wire",
        "wire ",
        "w\u0131re",
        "\ud800",
        "\ufffd",
        "a\u200b",
        "a",
    ]
    assert len({document_key(Kind.NEWS, source, "1") for source in sources}) == len(sources)


def test_long_parts_keep_their_beginning_and_a_hash_of_the_whole() -> None:
    first, second = "x" * 400 + "1", "x" * 400 + "2"
    keys = [document_key(Kind.NEWS, "wire", id_) for id_ in (first, second)]
    assert keys[0] != keys[1]
    assert all(re.fullmatch(r"news:wire:x{326}~~[0-9a-f]{32}", key) for key in keys)
    longest = document_key(Kind.COMMENT, "新" * 128, "🚀" * 512)
    assert len(longest) <= 512 and longest.isascii()


def test_a_key_is_part_of_an_address_without_being_encoded_again() -> None:
    key = document_key(Kind.NEWS, "a/b?#%\\", "../ü é")
    assert quote(key, safe=":") == key == unquote(key)
    assert urlsplit(f"http://monitor/documents/{key}").path == f"/documents/{key}"


def test_a_source_or_id_beyond_its_limit_is_its_beginning_and_a_hash() -> None:
    long = ["wire/" + "x" * 124, "wire/" + "x" * 123 + "y"]
    short = [shorten_name(name, 128) for name in long]
    assert short[0] != short[1]
    assert all(len(name) == 128 and name.startswith("wire/xxx") and "…#" in name for name in short)
    assert shorten_name(short[0], 128) == short[0], (
        "a name from the database keeps its meaning when it is sent again"
    )
    assert shorten_name("x" * 128, 128) == "x" * 128


def test_a_comment_with_the_source_and_id_of_a_news_item_counts_beside_it(store: Store) -> None:
    news = classified("a", 0)
    first = store.write(Batch([as_comment(news)]), no_messages, NOW)
    together = store.write(
        Batch([news, as_comment(news, 1), as_comment(classified("b", 0), 2)]), no_messages, NOW
    )
    assert [item.key for item in first.documents] == ["comment:wire:a"]
    assert [item.key for item in together.documents] == ["news:wire:a", "comment:wire:b"]
    assert together.skipped == {("comment", "repeat"): 1}
    sums = {total.kind: total.n for total in store.reads.sums(EPOCH, NOW)}
    assert sums == {"news": 1, "comment": 2}
    assert store.stored_versions(["news:wire:a", "news:wire:b"]) == {"news:wire:a": None}


def test_the_key_is_the_same_in_sql_predictions_and_evidence(store: Store) -> None:
    one, other = with_source(classified("c", 0), "a/b"), with_source(classified("b/c", 1), "a")
    store.write(Batch([one, other]), BatchOutbound(KafkaSettings()), NOW)
    (entry,) = Outbox(store.engine).due(["kafka:predictions"], NOW, 9)
    messages = decode_messages(entry.body)
    keys = ["news:a~2Fb:c", "news:a:b~2Fc"]
    assert [message.key for message in messages] == keys
    assert [json.loads(message.value)["key"] for message in messages] == keys
    assert [(m["source"], m["id"]) for m in (json.loads(each.value) for each in messages)] == [
        ("a/b", "c"),
        ("a", "b/c"),
    ]
    with database.reading(store.engine) as connection:
        assert set(connection.scalars(select(schema.documents.c.key))) == set(keys)
    evidence = store.reads.most_negative(Scope(None, ("news",), EPOCH, NOW.replace(hour=13)), 9)
    assert {item.key for item in evidence} == set(keys)


def test_relabel_and_purge_reach_both_of_two_documents_with_one_source_and_id(store: Store) -> None:
    news = classified("a", 0, title="rate cut")
    write(store, news, as_comment(news))
    outbound = BatchOutbound(KafkaSettings())
    changed = relabel.relabel(
        store, ALL_TIMES, "two", classify=classify_with_two, outbound=outbound, clock=lambda: NOW
    )
    assert changed == 2
    (entry,) = Outbox(store.engine).due(["kafka:predictions"], NOW, 9)
    assert {message.key for message in decode_messages(entry.body)} == {"news:wire:a", "comment:wire:a"}
    assert {(total.kind, total.n) for total in store.reads.sums(EPOCH, NOW)} == {("news", 1), ("comment", 1)}
    assert retention.purge(store, NOW.replace(hour=13), NOW).documents == 2


def test_a_dead_letter_names_the_document_where_the_message_could_be_read(store: Store) -> None:
    position = MessagePosition(Kind.NEWS, Partition("cluster/a", "news", 0), 7, b"{}")
    document = Document("a/b", Kind.NEWS, "wire", NOW, title="Shares fall")
    letter = DeadLetter(position, DeadLetterReason.INFERENCE, "not finite", document.key)
    store.write(Batch([letter]), BatchOutbound(KafkaSettings()), NOW)
    with database.reading(store.engine) as connection:
        assert connection.scalar(select(schema.dead_letters.c.key)) == "news:wire:a~2Fb"
    (entry,) = Outbox(store.engine).due(["kafka:dead-letters"], NOW, 9)
    (message,) = decode_messages(entry.body)
    assert json.loads(message.value)["key"] == "news:wire:a~2Fb"
