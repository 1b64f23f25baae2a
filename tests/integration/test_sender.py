"""What leaves for Kafka while the broker goes away and comes back."""

import multiprocessing
import shutil
import threading

from stream import broker
from stream.broker import KafkaSender
from stream.nouns import EPOCH
from stream.outbox import Entry, to_kafka
from stream.settings import KafkaSettings
from tests.conftest import need, read_topic
from tests.parts import Kafka, java, kafka_jars, temporary_folder


def entry(id_: int) -> Entry:
    body = to_kafka("alerts", [(f"k{id_}", {"id": id_})]).body
    return Entry(id_, "kafka:alerts", "", None, body, 0, EPOCH)


def scenario() -> None:
    folder = temporary_folder("kafka-")
    with Kafka(folder) as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
        broker.create_topics(settings)
        sender = KafkaSender(settings)
        assert sender.send([entry(1)]) == {1: None}
        threads = threading.active_count()
        kafka.stop()
        told = sender.send([entry(2)])[2]
        assert told and "Timeout" in told
        assert "no broker answers" in (sender.send([entry(2)])[2] or "")
        assert threading.active_count() < threads, "the producer's own thread goes with it"
        kafka.start()
        assert sender.send([entry(2)]) == {2: None}
        sender.close()
        keys = [key for key, _ in read_topic(kafka.bootstrap, "alerts", 2)]
        assert keys == ["k1", "k2"]
    shutil.rmtree(folder, ignore_errors=True)


def test_a_broker_that_goes_away_is_an_answer_and_no_end_and_leaves_no_thread_behind() -> None:
    """In a process of its own: kafka-python leaves the sockets of failed connections to the collector."""
    need(lambda: (java(), kafka_jars()))
    process = multiprocessing.get_context("spawn").Process(target=scenario)
    process.start()
    process.join(150)
    assert process.exitcode == 0
