"""The whole way on real parts: Apache Kafka, the shipped model, PostgreSQL, processes of their own."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer
from sqlalchemy import create_engine, select

from models.inference.engine import Engine
from models.network.info import Routing, read_info
from models.settings import ModelSettings
from monitor.demo.sample import SampleFeed
from stream.domain.documents import SCORE_SCALE, Kind, document_key, join_content
from stream.domain.sums import window_start
from stream.storage import schema
from tests.conftest import Running, Scene, read_topic
from tests.parts import wait_until
from tests.unit.models.test_second_opinion import copy_model

NOW = datetime.now(UTC)
STAMP = "2024-03-01T12:00:00Z"

BROKEN: dict[str, Any] = {
    "empty": b"",
    "not_utf8": b'{"id": "\xff"}',
    "not_json": b'{"id": "1", ',
    "not_an_object": b"[1, 2]",
    "missing_field": {"text": "no id", "published_at": STAMP},
    "invalid_field": {"id": 1.7, "text": "a fraction for an id", "published_at": STAMP},
    "invalid_time": {"id": "1", "text": "a time without a zone", "published_at": "2024-03-01T09:30:00"},
    "far_future": {"id": "1", "text": "from 2090", "published_at": "2090-01-01T00:00:00Z"},
    "no_text": {"id": "1", "title": " ", "published_at": STAMP},
    "nul": {"id": "1\0", "text": "a b", "published_at": STAMP},
}


def rows(scene: Scene, table: Any) -> list[Any]:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        all_rows = connection.execute(select(table)).all()
    engine.dispose()
    return list(all_rows)


def send_compressed(servers: str, codec: str, topic: str, values: list[str]) -> None:
    producer = Producer({"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 500})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(20) == 0


def stream_of_documents(count: int) -> dict[Kind, list[dict[str, Any]]]:
    """`count` documents with timestamps in the last three hours, every tenth sent twice."""
    feed, draw = SampleFeed("e2e"), random.Random(3)
    messages: dict[Kind, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(count):
        sample = feed.calm(NOW - timedelta(seconds=draw.randrange(3 * 3600)))
        messages[sample.kind].append(sample.message)
        if draw.random() < 0.1:
            messages[sample.kind].append(sample.message)
    return messages


def straight_computation(documents: list[tuple[Kind, dict[str, Any]]]) -> dict[Any, tuple[Any, ...]]:
    """What SQL must hold, computed by a plain loop: one document at a time, without batches."""
    engine = Engine.load(ModelSettings(dtype="float32"))
    expected = {}
    for kind, message in documents:
        content = join_content(message.get("title", ""), message.get("text", ""))
        (prediction,) = engine.classify([content], [message["lang"]])
        assert prediction.score is not None
        expected[message["source"], message["id"]] = (
            kind.value,
            datetime.fromisoformat(str(message["published_at"])),
            prediction.topic,
            prediction.counted_sentiment,
            round(prediction.score * SCORE_SCALE),
        )
    return expected


def stored_aggregates(scene: Scene) -> dict[Any, list[int]]:
    sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 7)
    for row in rows(scene, schema.aggregates):
        numbers = (row.n, row.positive, row.neutral, row.negative, row.uncertain)
        numbers += (row.score_sum, row.score_squares)
        for i, amount in enumerate(numbers):
            sums[row.window_start, row.topic, row.kind][i] += amount
    return sums


def counted(monitor: Running) -> float:
    """How many documents the monitor has counted, according to its metrics."""
    return sum(monitor.metric("sentiment_documents_total", outcome=o) or 0 for o in ("ok", "uncertain"))


def recount(scene: Scene) -> dict[Any, list[int]]:
    """The aggregates, recomputed from the documents table."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 7)
    for row in rows(scene, schema.documents):
        if row.status != "unsupported":
            cell = sums[window_start(row.published_at, timedelta(minutes=1)), row.topic, row.kind]
            moods = [int(row.sentiment == m) for m in ("positive", "neutral", "negative", None)]
            for i, amount in enumerate([1, *moods, row.score, row.score**2]):
                cell[i] += amount
    return sums


def test_a_stream_with_repeats_and_broken_messages_gives_exactly_the_direct_computation(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    messages = stream_of_documents(1000)
    mixed = list(messages[Kind.NEWS])
    for position, broken in enumerate(BROKEN.values()):
        mixed.insert(37 * position, broken)
    sent(scene.kafka.news, [*mixed, None])
    sent(scene.kafka.comments, messages[Kind.COMMENT])

    monitor = scene.start(MONITOR_MODELS__DTYPE="float32")
    unique = {(m["source"], m["id"]): (kind, m) for kind, sent_ in messages.items() for m in sent_}
    wait_until(lambda: len(rows(scene, schema.documents)) == len(unique), 90, "all documents in SQL")
    total = sum(map(len, messages.values())) + len(BROKEN) + 1
    wait_until(
        lambda: sum(row.next_offset for row in rows(scene, schema.offsets)) == total, 30, "all offsets"
    )

    expected = straight_computation(list(unique.values()))
    for row in rows(scene, schema.documents):
        *labels, score = expected.pop((row.source, row.id))
        assert [row.kind, row.published_at, row.topic, row.sentiment] == labels
        assert abs(row.score - score) <= 1, "the last digit may round the other way"
    assert expected == {}
    stored = stored_aggregates(scene)
    assert stored == recount(scene)
    assert sum(cell[0] for cell in stored.values()) == 1000

    reasons = Counter(row.reason for row in rows(scene, schema.dead_letters))
    assert reasons == Counter(dict.fromkeys(BROKEN, 1))
    assert monitor.metric("sentiment_documents_total", outcome="tombstone") == 1
    assert counted(monitor) == 1000
    assert monitor.metric("sentiment_dead_letters_total", reason="nul") == 1
    repeats = total - len(BROKEN) - 1 - 1000
    assert monitor.metric("sentiment_documents_total", outcome="repeat") == repeats

    letters = read_topic(scene.kafka.bootstrap_servers, scene.kafka.dead_letters, len(BROKEN))
    assert Counter(value["reason"] for _, value in letters) == reasons
    predictions = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, 1000)
    assert {key for key, _ in predictions} == {
        document_key(kind, source, id_) for (source, id_), (kind, _) in unique.items()
    }
    assert {"topic", "sentiment", "score", "evidence", "model"} <= predictions[0][1].keys()
    assert monitor.stop() == 0


def test_entities_are_the_same_on_kafka_and_in_sql(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    bodies: list[dict[str, Any]] = [
        {"title": " Microsoft soars on record profit ", "text": "Rival Nokia plunges on a fraud probe. "},
        {"text": "<p>Nokia &amp; Microsoft: <b>Nokia</b> plunges on a fraud probe</p>"},
        {"title": "Profit doubles", "symbols": ["MSFT"]},
        {"text": "贵州茅台净利润大增，创历史新高"},
        {"text": "Nokia en forte baisse apr\u00e8s une enqu\u00eate pour fraude", "lang": "fr"},
        {"text": "The weather was calm"},
    ]
    common = {"source": "s", "published_at": NOW.isoformat()}
    sent(scene.kafka.news, [{"id": str(n), **common, **body} for n, body in enumerate(bodies)])
    monitor = scene.start(MONITOR_MODELS__DTYPE="float32")
    wait_until(lambda: len(rows(scene, schema.documents)) == len(bodies), 90, "all documents in SQL")
    found = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, len(bodies))
    on_kafka = {value["id"]: value for _, value in found}
    names = {n: [entity["id"] for entity in on_kafka[n]["entities"]] for n in on_kafka}
    assert names == {
        "0": ["XNAS:MSFT", "XNYS:NOK"], "1": ["XNYS:NOK", "XNAS:MSFT"], "2": ["XNAS:MSFT"],
        "3": ["XSHG:600519"], "4": ["XNYS:NOK"], "5": [],
    }  # fmt: skip
    stored = {(row.key, row.entity): row for row in rows(scene, schema.mentions)}
    documents = {row.key: row for row in rows(scene, schema.documents)}
    for prediction in on_kafka.values():
        document = documents[prediction["key"]]
        assert prediction["gazetteer"] == document.gazetteer != ""
        content = join_content(document.title, document.text)
        for entity in prediction["entities"]:
            places = [(place["start"], place["end"]) for place in entity["mentions"]]
            assert {content[start:end] for start, end in places} <= {entity["name"]}
            row = stored.pop((document.key, entity["id"]))
            assert ([*map(tuple, row.spans)], row.relevance) == (places, entity["relevance"])
            score = entity["score"]
            assert row.score == (None if score is None else round(score * SCORE_SCALE))
            assert (score is None) is (document.score is None)
            label = entity["sentiment"] and entity["sentiment"]["label"]
            assert row.sentiment == (label if entity["certain"] else None)
    assert stored == {}
    towards = {entity["id"]: entity["sentiment"]["label"] for entity in on_kafka["0"]["entities"]}
    assert towards == {"XNAS:MSFT": "positive", "XNYS:NOK": "negative"}
    assert monitor.stop() == 0


def test_documents_and_predictions_say_which_of_two_models_labelled_them(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    """Two small models stand in for a pair; the larger one calls positive what the other calls negative."""
    scene.prepare()
    large = copy_model(scene.folder / "large", "large", contrary=True)
    small = copy_model(scene.folder / "small", "small", routing=Routing({"unreal": 1.0}, 0.5))
    own, other = read_info(small).version, read_info(large).version
    common = {"source": "s", "published_at": NOW.isoformat()}
    texts = ["Shares plunge after huge loss", "Shares did not plunge after huge loss", "!!"]
    sent(scene.kafka.news, [{"id": str(n), **common, "text": text} for n, text in enumerate(texts)])
    pair = {"MONITOR_MODELS__WEIGHTS": str(small), "MONITOR_MODELS__BACKEND": "packed"}
    monitor = scene.start(**pair, MONITOR_MODELS__SECOND_OPINION=f"auto:{large}")
    wait_until(lambda: len(rows(scene, schema.documents)) == 3, 90, "all documents in SQL")
    documents = {row.id: row for row in rows(scene, schema.documents)}
    assert {id_: row.judged_by for id_, row in documents.items()} == {"0": own, "1": other, "2": None}
    assert [documents[id_].score > 0 for id_ in "01"] == [False, True]
    (version,) = {row.model for row in documents.values()}
    assert version.startswith(f"{own}+{other}+auto-")
    found = read_topic(scene.kafka.bootstrap_servers, scene.kafka.predictions, 3)
    judged = {value["id"]: (value["model"], value["judged_by"]) for _, value in found}
    assert judged == {"0": (version, own), "1": (version, other), "2": (version, version)}
    assert monitor.metric("sentiment_inference_opinions_total", by="second") == 1
    assert monitor.metric("sentiment_model_info", version=version, second_opinion="auto") == 1
    assert monitor.stop() == 0

    # The mode is left open, and the machine would be fast enough for all: the database keeps its mode.
    open_mode = pair | {"MONITOR_MODELS__SECOND_OPINION_RATE": "0.1"}
    monitor = scene.start(**open_mode, MONITOR_MODELS__SECOND_OPINION=str(large))
    sent(scene.kafka.news, [{"id": "3", **common, "text": "Profit doubles"}])
    wait_until(lambda: len(rows(scene, schema.documents)) == 4, 60, "the last document in SQL")
    assert {row.model for row in rows(scene, schema.documents)} == {version}
    assert monitor.stop() == 0


def test_several_documents_in_one_message_count_like_single_ones(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed = SampleFeed("arrays")
    news = [feed.calm(NOW - timedelta(seconds=i)).message for i in range(700)]
    arrays: list[Any] = [news[at : at + 50] for at in range(0, 700, 50)]
    # One with a document that nobody can read, one sent twice, one that is no JSON, and a document alone.
    arrays[3] = [*news[150:170], BROKEN["no_text"], *news[170:200]]
    sent(scene.kafka.news, [*arrays, arrays[5], b"[{]", news[0]])

    monitor = scene.start(MONITOR_STREAM__MESSAGE_DOCUMENTS="60", MONITOR_STREAM__BATCH_DOCUMENTS="120")
    wait_until(lambda: sum(row.next_offset for row in rows(scene, schema.offsets)) == 17, 90, "all offsets")
    assert len(rows(scene, schema.documents)) == counted(monitor) == 700
    assert stored_aggregates(scene) == recount(scene)
    assert monitor.metric("sentiment_documents_total", outcome="repeat") == 51
    letters = read_topic(scene.kafka.bootstrap_servers, scene.kafka.dead_letters, 2)
    assert {value["reason"]: value["item"] for _, value in letters} == {"no_text": 20, "not_json": None}
    (own,) = [value for _, value in letters if value["reason"] == "no_text"]
    assert json.loads(own["payload"]) == BROKEN["no_text"]
    (letter_key,) = [key for key, _ in letters if "#" in key]
    assert letter_key.startswith(f"{scene.kafka.news}[{own['partition']}]@{own['offset']}#20:")
    assert monitor.stop() == 0


def test_messages_of_every_compression_codec_are_read(scene: Scene) -> None:
    scene.prepare()
    feed, codecs = SampleFeed("codecs"), ("gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        values = [json.dumps(feed.calm(NOW - timedelta(seconds=i)).message) for i in range(50)]
        send_compressed(scene.kafka.bootstrap_servers, codec, scene.kafka.news, values)
    monitor = scene.start()
    wait_until(lambda: len(rows(scene, schema.documents)) == 50 * len(codecs), 60, "all documents in SQL")
    assert counted(monitor) == 50 * len(codecs)
    assert monitor.stop() == 0


def test_sending_the_same_feed_twice_changes_nothing(scene: Scene) -> None:
    scene.prepare()
    feed = SampleFeed("twice")
    lines = [feed.calm(NOW - timedelta(minutes=i)).message for i in range(300)]
    file = scene.folder / "feed.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    monitor = scene.start()
    for expected in (300, 600):
        done = scene.command("feed", str(file), "--speed", "max", "--json")
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout)["sent"] == 300
        wait_until(
            lambda n=expected: sum(r.next_offset for r in rows(scene, schema.offsets)) == n, 30, "offsets"
        )
        assert len(rows(scene, schema.documents)) == 300
        assert stored_aggregates(scene) == recount(scene)
    assert monitor.metric("sentiment_documents_total", outcome="repeat") == 300
    assert monitor.stop() == 0


def test_a_kill_during_the_feed_loses_nothing_and_counts_nothing_twice(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed = SampleFeed("kill")
    messages = [feed.calm(NOW - timedelta(seconds=i)).message for i in range(1500)]
    sent(scene.kafka.news, messages)
    killed_at = []
    for already in (1, 400):
        monitor = scene.start(MONITOR_STREAM__BATCH_DOCUMENTS="64")
        wait_until(lambda n=already: len(rows(scene, schema.documents)) >= n, 60, "some documents")
        monitor.process.kill()
        monitor.process.wait(10)
        killed_at.append(len(rows(scene, schema.documents)))
    assert killed_at[0] < 1500, "the first kill came too late to mean anything"
    monitor = scene.start()
    wait_until(lambda: len(rows(scene, schema.documents)) == 1500, 90, "all documents")
    wait_until(lambda: sum(row.next_offset for row in rows(scene, schema.offsets)) == 1500, 30, "all offsets")
    assert stored_aggregates(scene) == recount(scene)
    assert sum(cell[0] for cell in stored_aggregates(scene).values()) == 1500
    assert monitor.stop() == 0
