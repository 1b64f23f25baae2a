"""The benchmark: that it measures what it says, not how fast this machine is."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from sqlalchemy import create_engine, insert

from models.entities.loading import load_linker
from models.inference.engine import Engine
from models.settings import ModelSettings
from monitor.bench import classifier
from monitor.bench.pipeline import steady_rate
from monitor.cli.bench import CLASSIFIER_ALONE, invented, stream_ratios
from stream.storage import schema
from tests.conftest import Scene
from tests.unit.models.test_second_opinion import copy_model

TEXTS = invented()[:48]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(ModelSettings(dtype="float32"))


def test_all_compared_programs_give_the_same_labels(engine: Engine) -> None:
    wanted = [(answer.topic, answer.sentiment) for answer in engine.classify(TEXTS, ["en"] * len(TEXTS))]
    plain = classifier.PlainTorch(engine.tokenizer.part("en"), engine.device, "float32", 4096)(TEXTS)
    labels = engine.info.labels
    assert [
        (labels["topic"][results["topic"]], labels["sentiment"][results["sentiment"]]) for results in plain
    ] == wanted
    piped = [pipeline(TEXTS, 16) for pipeline in classifier.load_pipelines(engine.settings)]
    topics, moods = (
        [one["label"] for one in answers]
        for answers in sorted(piped, key=lambda answers: answers[0]["label"] in labels["sentiment"])
    )
    assert list(zip(topics, moods, strict=True)) == wanted


def test_the_operations_of_a_text_are_those_of_its_matrices(engine: Engine) -> None:
    network = engine.tokenizer.part("en").network.classifier
    config = network.encoder.config
    h, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    # Each head has a matrix of scores, their query, and the labels.
    heads = sum(h * h + h + h * len(names) for names in engine.info.labels.values())
    one = 10 * (layers * (8 * h * h + 4 * h * f + 4 * h * 10) + 2 * heads)
    assert (
        classifier.count_flops(network, [10]) == one and classifier.count_flops(network, [10, 10]) == 2 * one
    )


@pytest.mark.parametrize("number_type", ["float32", "bfloat16", "int8"])
def test_the_matrix_peak_is_measured_in_every_number_type_of_the_engine(number_type: str) -> None:
    workload = classifier.matmul_workload(torch.device("cpu"), number_type, 64)
    workload.run()
    assert workload.documents == classifier.MATMUL_PRODUCTS


def test_workloads_are_interleaved_and_the_median_counts() -> None:
    called: list[str] = []
    workloads = {
        "a": classifier.Workload(10, lambda: called.append("a")),
        "b": classifier.Workload(5, lambda: called.append("b")),
    }
    results = classifier.time_interleaved(workloads, 3)
    assert called == ["a", "b"] * 4
    assert len(results["a"].seconds) == 3
    timing = classifier.Timing(100, (1.0, 4.0, 2.0))
    assert (timing.per_second, timing.rates) == (50.0, [100.0, 25.0, 50.0])


def test_entities_cost_a_small_share_of_the_classifier(engine: Engine) -> None:
    linker = load_linker(engine.settings)
    assert (
        0
        < classifier.linking_share(engine, linker, [[f"{n} {text}" for text in TEXTS] for n in range(3)])
        < 0.5
    )


def test_a_second_opinion_is_measured_in_both_modes_if_there_is_one(engine: Engine, tmp_path: Path) -> None:
    """The small model stands in for the larger one."""
    large = copy_model(tmp_path / "large", "large")
    samples = classifier.sample_texts(TEXTS, 2)
    settings = engine.settings.model_copy(update={"second_opinion": large, "backend": "packed"})
    workloads = classifier.second_opinion_workloads(settings, engine, samples)
    assert list(workloads) == ["with a second opinion, auto", "with a second opinion, all"]
    for workload in workloads.values():
        workload.run()
        assert workload.documents == len(samples[0])
    off = settings.model_copy(update={"second_opinion": "off"})
    assert classifier.second_opinion_workloads(off, engine, samples) == {}


@pytest.mark.timeout(400)
def test_the_stream_a_worker_and_a_user_loop_are_measured_on_the_embedded_broker(
    scene: Scene, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    for name in ("MONITOR_DATABASE__URL", "MONITOR_KAFKA__BOOTSTRAP_SERVERS"):
        del scene.environ[name]
    parts = [word for part in ("stream", "worker", "loop", "store") for word in ("--only", part)]
    done = scene.command(
        "bench", "--file", str(texts), "--documents", "500", "--rounds", "1", "--json", *parts
    )
    assert done.returncode == 0, done.stderr.decode()
    results = json.loads(done.stdout)
    assert results["figures"].keys() == {"stream", "loop"}
    assert results["figures"]["stream"]["documents"] == 2500
    assert min(figure["documents_per_second"] for figure in results["figures"].values()) > 0
    assert results["queries_ms"].keys() >= {"sums of a day", "all rules on all topics"}
    worker = results["worker"]
    assert worker["start_to_first_document_seconds"] > 0
    assert len(worker["memory_megabytes"]) == 4 and worker["memory_at_most_megabytes"] > 100
    assert 0 < worker["latency_p50_milliseconds"] <= worker["latency_p99_milliseconds"]


def test_every_round_has_another_sample_of_the_texts_and_samples_are_reproducible() -> None:
    samples = classifier.sample_texts(TEXTS, 4)
    assert len(samples) == 4 and len({len(sample) for sample in samples}) == 1
    assert samples[0] != samples[1] and set(samples[0]) < set(TEXTS)
    assert samples == classifier.sample_texts(TEXTS, 4)


SAMPLES = [
    ("between a tenth and nine tenths", [(0.0, 0), (5.0, 50), (6.0, 100), (8.0, 500), (10.0, 900), (20.0, 1000)], 200.0),
    ("from the start where one sample saw everything", [(0.0, 0), (5.0, 1000)], 200.0),
    ("from the sample before the last", [(0.0, 0), (4.0, 90), (6.0, 1000)], 455.0),
]  # fmt: skip


@pytest.mark.parametrize(("case", "samples", "rate"), SAMPLES, ids=[case[0] for case in SAMPLES])
def test_the_rate_of_the_stream_is_its_steady_rate(
    case: str, samples: list[tuple[float, int]], rate: float
) -> None:
    assert steady_rate(samples) == rate


def test_ratios_are_computed_from_the_figures() -> None:
    rates = {CLASSIFIER_ALONE: 400.0, "whole": 300.0, "loop": 10.0, "stream": 3000.0}
    figures = {name: {"documents_per_second": rate} for name, rate in rates.items()}
    assert stream_ratios(figures) == {
        "whole_way_over_classifier": 0.75,
        "whole_way_over_user_loop": 30.0,
        "stream_over_whole_way": 10.0,
    }
    assert stream_ratios({"whole": {"documents_per_second": 1.0}}) == {}


def test_the_benchmark_refuses_a_database_with_documents(scene: Scene, tmp_path: Path) -> None:
    scene.prepare()
    engine = create_engine(scene.database_url)
    now = datetime.now(UTC)
    row = {
        "key": "news:s:1",
        "source": "s",
        "id": "1",
        "kind": "news",
        "published_at": now,
        "received_at": now,
        "title": "t",
        "text": "",
        "symbols": [],
        "status": "unsupported",
        "evidence": [],
        "model": "m",
        "kafka_topic": "news",
        "kafka_partition": 0,
        "kafka_offset": 0,
    }
    with engine.begin() as connection:
        connection.execute(insert(schema.documents), row)
    engine.dispose()
    (tmp_path / "monitor.toml").write_text("")
    words = ("-c", str(tmp_path / "monitor.toml"), "--only", "stream")
    done = scene.command("bench", *words)
    assert done.returncode == 1
    assert "give the benchmark an empty one" in done.stderr.decode()
