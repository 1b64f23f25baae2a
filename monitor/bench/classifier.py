"""Measures how fast the classifier is, compared with what one would write instead.

All programs classify the same texts for both tasks.  The result is documents per second, and the share of the
machine's own matrix-multiply rate, counted from the tokens that were classified, without padding.
"""

import copy
import itertools
import logging
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models import loading
from models.backend_selection import select_backend
from models.backends.device import compute_device, compute_dtype
from models.backends.onnx import ENCODER, EXPORTED
from models.document_classifier import DocumentClassifier, EntityFinder
from models.entities.linker import Linker
from models.entities.loading import load_linker
from models.errors import ModelError
from models.inference.batching import token_batches
from models.inference.engine import Engine
from models.inference.second_opinion import SecondOpinion, TextClassifier
from models.inference.tokenize import CleanInput
from models.inference.whole import Mode, whole_info
from models.inference.workers import TOKENIZER_THREADS
from models.network import artifact
from models.network.classifier import AttentionClassifier, Inputs
from models.network.registry import resolve
from models.plan import Plan
from models.settings import ModelSettings
from stream.domain.documents import TextInput
from stream.domain.text.cleaning import clean

ENGINE = "this classifier"
WITH_ENTITIES = "this classifier, with entities"
SECOND_OPINION = {mode: f"with a second opinion, {mode}" for mode in (Mode.AUTO, Mode.ALL)}
PIPELINES = "transformers pipelines"
PIPELINES_BATCHED = "transformers pipelines, batches of 32"
PLAIN_TORCH = "plain torch"
MATMUL = "matrix products"

# The pipelines are far slower, so they get this fraction of the texts.
PIPELINE_FRACTION = 8
# Tokens in a pass of plain torch, with padding.  More or fewer are slower on a CPU.
PLAIN_TORCH_TOKENS = 4096
# The machine's matrix-multiply rate is measured with torch: size of the matrices, and products in a round.
MATMUL_SIZE, MATMUL_PRODUCTS = 2048, 20
# Different samples of the texts in a long run, after which the first one is used again.
LONG_RUN_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Timing:
    """The seconds that each round over `documents` documents took."""

    documents: int
    seconds: tuple[float, ...]

    @property
    def rates(self) -> list[float]:
        """Documents per second in each round."""
        return [self.documents / seconds for seconds in self.seconds]

    @property
    def per_second(self) -> float:
        """The median of the rates."""
        return statistics.median(self.rates)


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to time: `run` processes `documents` documents."""

    documents: int
    run: Callable[[], object]


def time_interleaved(
    workloads: Mapping[str, Workload], rounds: int, progress: Callable[[int], object] = lambda n: None
) -> dict[str, Timing]:
    """Run each workload once to warm up, then all of them in each round.

    Interleaved, a machine that becomes slower affects all of them equally.
    """
    for workload in workloads.values():
        workload.run()
        progress(1)
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(rounds):
        for name, workload in workloads.items():
            started = time.perf_counter()
            workload.run()
            seconds[name].append(time.perf_counter() - started)
            progress(1)
    return {name: Timing(workload.documents, tuple(seconds[name])) for name, workload in workloads.items()}


def measure_classifier(
    settings: ModelSettings, texts: Sequence[str], rounds: int, progress: Callable[[int], object]
) -> dict[str, Any]:
    """All figures of the classifier, and its ratios to the other programs.  Raises ModelError."""
    samples = sample_texts(texts, rounds + 1)
    engine = _load_engine(settings)
    matmul = {MATMUL: matmul_workload(engine.device, engine.number_type, MATMUL_SIZE)}
    linker = load_linker(settings)
    workloads = classifier_workloads(settings, engine, samples)
    workloads[WITH_ENTITIES] = _document_workload(DocumentClassifier(engine, linker), samples)
    workloads |= second_opinion_workloads(settings, engine, samples)
    timings = time_interleaved(workloads | matmul, rounds, progress)
    # Operations per second: with int8, of integers.
    peak = 2.0 * MATMUL_SIZE**3 * timings.pop(MATMUL).per_second
    language = engine.info.languages[0]
    tokenized = engine.tokenizer.tokenize([CleanInput(text, language) for text in texts]).texts
    lengths = [len(window.ids) for text in tokenized for window in text.windows]
    network = artifact.load(resolve(settings.weights)).parts[0].network.classifier
    used = count_flops(network, lengths) / len(texts) * timings[ENGINE].per_second
    ratios = _speed_ratios(timings) | {
        "share_of_matmul_peak": used / peak,
        "half_repeated_over_all_new": repeated_text_speedup(settings, texts, rounds),
        "linking_cpu_over_classifier_cpu": linking_share(engine, linker, samples),
    }
    return {
        "machine": describe_machine(engine.device),
        "model": _describe_model(engine),
        "texts": {"documents": len(texts), "mean_tokens": round(sum(lengths) / len(texts), 1)},
        "figures": {
            name: summarise_rates(timing.documents, timing.rates) for name, timing in timings.items()
        },
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "classifier_gflops": round(used / 1e9, 1),
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }


def _speed_ratios(timings: Mapping[str, Timing]) -> dict[str, float]:
    rates = {name: timing.per_second for name, timing in timings.items()}
    own = rates[ENGINE]
    plain_torch = max(rate for name, rate in rates.items() if name.startswith(PLAIN_TORCH))
    return {
        "classifier_over_pipelines": own / rates[PIPELINES],
        "classifier_over_pipelines_in_batches": own / rates[PIPELINES_BATCHED],
        "classifier_over_plain_torch": own / plain_torch,
        "with_entities_over_without": rates[WITH_ENTITIES] / own,
        **{f"classifier_over_{name}": own / rates[name] for name in EXPORTED if name in rates},
        **{
            f"second_opinion_{mode}_over_none": rates[name] / own
            for mode, name in SECOND_OPINION.items()
            if name in rates
        },
    }


def classifier_workloads(
    settings: ModelSettings, engine: Engine, samples: Sequence[Sequence[str]]
) -> dict[str, Workload]:
    """The engine and all programs that this machine can compare it with.  Raises ModelError.

    Each round takes the next of `samples`, which have equal lengths.  The other programs run only the first
    part of the model, so the texts should be in its languages.
    """
    count = len(samples[0])
    workloads = {ENGINE: _engine_workload(engine, samples)}
    for dtype in supported_dtypes(engine.device):
        part = artifact.load(resolve(settings.weights), hugging_face=True).parts[0]
        plain_torch = PlainTorch(part, engine.device, dtype, PLAIN_TORCH_TOKENS)
        workloads[f"{PLAIN_TORCH}, {dtype}"] = Workload(count, _with_next_sample(samples, plain_torch))
    folder = engine.info.parts[0].folder
    for backend in EXPORTED:
        if other := _load_exported(settings, backend, engine, folder):
            workloads[backend] = _engine_workload(other, samples)
    pipelines = load_pipelines(settings)
    few = max(1, count // PIPELINE_FRACTION)
    for name, batch_size in ((PIPELINES, 1), (PIPELINES_BATCHED, 32)):
        run = partial(_run_pipelines, pipelines, few, batch_size)
        workloads[name] = Workload(few, _with_next_sample(samples, run))
    return workloads


def supported_dtypes(device: torch.device) -> list[str]:
    """The number types that torch computes in on this machine.  Those that it only emulates take minutes."""
    has_bfloat16 = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ["float32", "bfloat16"] if has_bfloat16 else ["float32"]


def classifier_rate(settings: ModelSettings, texts: Sequence[str], documents: int) -> float:
    """Documents per second of the classifier alone, over at least `documents`.  Raises ModelError.

    It is for comparison with a run of the whole stream, which is as long.
    """
    settings = settings.model_copy(update={"remembered_texts": 0})
    classifier = loading.load(settings, select_backend)
    workload = _engine_workload(classifier, sample_texts(texts, LONG_RUN_SAMPLES + 1))
    workload.run()
    rounds = -(-documents // workload.documents)
    started = time.perf_counter()
    for _ in range(rounds):
        workload.run()
    return rounds * workload.documents / (time.perf_counter() - started)


def summarise_rates(documents: int, rates: Sequence[float]) -> dict[str, float]:
    """The median, lowest and highest of several rates in documents per second, each over `documents`."""
    summary = {"documents_per_second": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}
    return {"documents": documents} | {name: round(rate, 1) for name, rate in summary.items()}


def sample_texts(texts: Sequence[str], count: int) -> list[list[str]]:
    """`count` samples, each with most of the texts in another order.

    A stream never repeats the shapes of its batches, so it gains little from anything cached for one shape.
    """
    rng = random.Random(7)
    return [rng.sample(list(texts), max(1, len(texts) * 7 // 8)) for _ in range(count)]


def _load_engine(settings: ModelSettings) -> Engine:
    return Engine.load(select_backend(settings.model_copy(update={"remembered_texts": 0})))


def second_opinion_workloads(
    settings: ModelSettings, engine: Engine, samples: Sequence[Sequence[str]]
) -> dict[str, Workload]:
    """The engine with the larger model of the settings, in each mode; nothing if there is none."""
    plan = Plan.of(settings)
    if plan.larger is None:
        return {}
    second = _load_engine(settings.model_copy(update={"weights": plan.larger.folder}))
    workloads = {}
    for mode, name in SECOND_OPINION.items():
        info = whole_info(engine.info, second.info, mode)
        workloads[name] = _engine_workload(SecondOpinion(engine, second, info, mode), samples)
    return workloads


def _engine_workload(engine: TextClassifier, samples: Sequence[Sequence[str]]) -> Workload:
    languages = [engine.info.parts[0].languages[0]] * len(samples[0])
    return Workload(
        len(samples[0]), _with_next_sample(samples, partial(engine.classify, languages=languages))
    )


def _document_workload(classifier: DocumentClassifier, samples: Sequence[Sequence[str]]) -> Workload:
    lang = classifier.engine.info.parts[0].languages[0]
    inputs = [[TextInput(text, lang) for text in sample] for sample in samples]
    remaining = itertools.cycle(inputs)
    return Workload(len(inputs[0]), lambda: classifier.classify(next(remaining)))


def linking_share(engine: Engine, linker: Linker, samples: Sequence[Sequence[str]]) -> float:
    """The CPU time of finding entities and their relevance, over that of classifying the same texts.

    The median over the samples.
    """
    lang = engine.info.parts[0].languages[0]
    finder, shares = EntityFinder(linker, engine.settings), []
    for sample in samples:
        inputs = [TextInput(text, lang) for text in sample]
        started = time.process_time()
        cleaned = [clean(text) for text in sample]
        engine.classify_clean(cleaned, [lang] * len(sample))
        classified = time.process_time()
        finder.find(inputs, cleaned)
        shares.append((time.process_time() - classified) / (classified - started))
    return statistics.median(shares)


def _with_next_sample(
    samples: Sequence[Sequence[str]], run: Callable[[Sequence[str]], object]
) -> Callable[[], object]:
    """A function that calls `run` with the first sample, at the next call with the second, and so on."""
    remaining = itertools.cycle(samples)
    return lambda: run(next(remaining))


def load_pipelines(settings: ModelSettings) -> "list[TransformersPipeline]":
    """A pipeline for each task, over the first part of the model."""
    model = artifact.load(resolve(settings.weights), hugging_face=True)
    device = compute_device(settings.device)
    return [
        TransformersPipeline(model.parts[0], task, labels, device)
        for task, labels in model.info.labels.items()
    ]


def _run_pipelines(
    pipelines: "Sequence[TransformersPipeline]", count: int, batch_size: int, texts: Sequence[str]
) -> None:
    for pipeline in pipelines:
        pipeline(list(texts[:count]), batch_size)


def _load_exported(settings: ModelSettings, backend: str, engine: Engine, folder: str) -> Engine | None:
    """An engine on an exported encoder.

    None if `engine` is one itself, the runtime is not installed, or the encoder was not exported.
    """
    exported = (resolve(settings.weights) / folder / ENCODER).is_file()
    if engine.settings.backend == backend or not exported:
        return None
    try:
        return Engine.load(settings.model_copy(update={"backend": backend, "remembered_texts": 0}))
    except ModelError:
        return None


class PlainTorch:
    """The loop one would write by hand: tokenize, sort by length, one pass for both tasks, argmax."""

    def __init__(self, part: artifact.Part, device: torch.device, dtype: str, token_budget: int) -> None:
        self._tokenizer, self._pad_id = part.network.tokenizer, part.network.pad_id
        self._device, self._token_budget = device, token_budget
        self._network = part.network.classifier.to(device, compute_dtype(dtype, device)).eval()
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(part.info.max_tokens)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[dict[str, int]]:
        """For each text, the index of the label of each task."""
        with parallel_tokenizer():
            encodings = self._tokenizer.encode_batch(list(texts))
        labels: list[dict[str, int]] = [{} for _ in texts]
        shapes = [(1, len(encoding.ids)) for encoding in encodings]
        for batch in token_batches(shapes, self._token_budget):
            inputs = Inputs.of([encodings[index] for index in batch], self._pad_id).to(self._device)
            for task, (logits, _) in self._network(inputs).items():
                for index, label in zip(batch, logits.argmax(-1).tolist(), strict=True):
                    labels[index][task] = label
        return labels


@contextmanager
def parallel_tokenizer() -> Iterator[None]:
    """Let the tokenizer use all threads, which is its default.  Our engine switches that off."""
    before = os.environ.get(TOKENIZER_THREADS)
    os.environ[TOKENIZER_THREADS] = "true"
    try:
        yield
    finally:
        os.environ.pop(TOKENIZER_THREADS)
        if before is not None:
            os.environ[TOKENIZER_THREADS] = before


class TransformersPipeline:
    """The pipeline of transformers with the same weights, for one task."""

    def __init__(self, part: artifact.Part, task: str, labels: Sequence[str], device: torch.device) -> None:
        from transformers import PreTrainedTokenizerFast, TextClassificationPipeline

        # It would warn that it does not know this class, with a list of all those that it knows.
        logging.getLogger("transformers.pipelines.base").setLevel(logging.CRITICAL)
        tokenizer = Tokenizer.from_str(part.network.tokenizer.to_str())
        tokenizer.no_truncation()
        self._pipeline = TextClassificationPipeline(
            model=sequence_classifier(part, task, labels),
            tokenizer=PreTrainedTokenizerFast(
                tokenizer_object=tokenizer,
                pad_token=tokenizer.id_to_token(part.network.pad_id),
                model_max_length=part.info.max_tokens,
                model_input_names=["input_ids", "attention_mask"],
            ),
            device=device,
        )

    def __call__(self, texts: list[str], batch_size: int) -> list[dict[str, Any]]:
        """The label and its score for each text, as transformers returns them."""
        results: list[dict[str, Any]] = self._pipeline(texts, batch_size=batch_size, truncation=True)
        return results


def sequence_classifier(part: artifact.Part, task: str, labels: Sequence[str]) -> Any:
    """The part as a sequence classifier of transformers for one task, in float32."""
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput

    class SequenceClassifier(PreTrainedModel):  # type: ignore[misc]
        _supports_sdpa = True  # like the encoder

        def __init__(self, config: Any, classifier: Any) -> None:
            super().__init__(config)
            self.classifier: Any = classifier

        def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: object) -> Any:
            # All tokens but the first and the last, which are special tokens.
            words = attention_mask.bool().clone()
            words[:, 0] = False
            last = attention_mask.sum(1) - 1
            words[torch.arange(len(last)), last] = False
            hidden = self.classifier.encode(Inputs(input_ids, attention_mask, words))
            return SequenceClassifierOutput(logits=self.classifier.heads[task](hidden)[0])

    classifier = part.network.classifier
    config: Any = copy.deepcopy(classifier.encoder.config)
    config.id2label = dict(enumerate(labels))
    return SequenceClassifier(config, classifier).eval()


def count_flops(classifier: AttentionClassifier, lengths: Sequence[int]) -> float:
    """Multiplications and additions of the network's matrices over texts of the given lengths in tokens.

    A layer has four projections of width h, two of h x f, and attention over n tokens twice: for each token
    8 h^2 + 4 h f + 4 h n (Vaswani et al. 2017).  The heads' own matrices see each token too.
    """
    config: Any = classifier.encoder.config
    h, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = sum(
        module.weight.numel() for module in classifier.heads.modules() if isinstance(module, nn.Linear)
    )
    return float(sum(n * (layers * (8 * h * h + 4 * h * f + 4 * h * n) + 2 * heads) for n in lengths))


def matmul_workload(device: torch.device, number_type: str, size: int) -> Workload:
    """`MATMUL_PRODUCTS` products of two size x size matrices in torch."""
    a, b = (torch.randn(size, size, device=device).mul(30).to(getattr(torch, number_type)) for _ in range(2))
    multiply = torch._int_mm if number_type == "int8" else torch.mm

    def run() -> None:
        for _ in range(MATMUL_PRODUCTS):
            multiply(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Workload(MATMUL_PRODUCTS, run)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The hardware and the versions that the figures depend on."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _describe_model(engine: Engine) -> dict[str, Any]:
    return {
        "version": engine.info.version,
        "device": engine.device.type,
        "backend": engine.settings.backend,
        "dtype": engine.number_type,
        "threads": torch.get_num_threads(),
    }


def repeated_text_speedup(settings: ModelSettings, texts: Sequence[str], rounds: int) -> float:
    """The rate if every second text is a repeat, divided by the rate if all texts are new."""
    engine = Engine.load(select_backend(settings.model_copy(update={"remembered_texts": 4 * len(texts)})))
    serial_number = itertools.count()

    def new_texts(count: int) -> list[str]:
        return [f"{text} {next(serial_number)}" for text in texts[:count]]

    half = len(texts) // 2
    repeated_texts = new_texts(half)
    engine.classify(repeated_texts)
    timings = time_interleaved(
        {
            "new": Workload(2 * half, lambda: engine.classify(new_texts(2 * half))),
            "half": Workload(2 * half, lambda: engine.classify(repeated_texts + new_texts(half))),
        },
        rounds,
    )
    return timings["half"].per_second / timings["new"].per_second
