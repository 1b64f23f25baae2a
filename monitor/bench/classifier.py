"""How fast the classifier is, beside what one would write instead: in one run, in turns.

Compared are documents a second for both tasks, from texts to labels; and how much of the machine's own
matrix-multiply speed that is, counted from the tokens that were really judged, padding left out.
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

from models.backend_selection import select_backend
from models.backends.device import compute_device, compute_dtype
from models.backends.onnx import ENCODER, EXPORTED
from models.errors import ModelError
from models.inference.batching import token_batches
from models.inference.engine import Engine
from models.inference.workers import TOKENIZER_THREADS
from models.network import artifact
from models.network.classifier import AttentionClassifier, Inputs
from models.network.registry import resolve
from models.settings import ModelSettings

ENGINE, PIPELINES, PIPELINES_BATCHED, PLAIN_TORCH = (
    "this classifier", "transformers pipelines", "transformers pipelines, batches of 32", "plain torch"
)  # fmt: skip
# The pipelines are slower by far, and get so many times fewer texts.
FEWER = 8
# Tokens of one pass of plain torch, padding included: more or fewer are slower on a CPU.
PLAIN_TOKENS = 4096
# What the machine can do at most, to what torch knows: so many products of such matrices a turn.
MATMUL, MATMUL_SIZE, PRODUCTS = "matrix products", 2048, 20


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each round over so many documents took, in seconds."""

    documents: int
    seconds: tuple[float, ...]

    @property
    def rates(self) -> list[float]:
        """Documents a second of each round."""
        return [self.documents / seconds for seconds in self.seconds]

    @property
    def per_second(self) -> float:
        """The median of them."""
        return statistics.median(self.rates)


Candidate = tuple[int, Callable[[], object]]
# Of the texts, before the first comes again.
ORDERS = 20


def in_turns(
    candidates: Mapping[str, Candidate], rounds: int, progress: Callable[[int], object] = lambda n: None
) -> dict[str, Timing]:
    """Each once to warm up, then all in turns, so that a machine that slows down slows all of them."""
    for _, run in candidates.values():
        run()
        progress(1)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, (_, run) in candidates.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
            progress(1)
    return {name: Timing(count, tuple(seconds[name])) for name, (count, _) in candidates.items()}


def candidates(
    settings: ModelSettings, draws: Sequence[Sequence[str]]
) -> tuple[Engine, AttentionClassifier, dict[str, Candidate]]:
    """The engine of the settings, the network, and all that can be compared here.

    Each takes the next of `draws` (all of one length) in each round.  The others run the first part of the
    model alone: the texts should be in its languages.
    """
    settings = settings.model_copy(update={"remembered_texts": 0})
    engine = Engine.load(select_backend(settings))
    model = artifact.load(resolve(settings.weights))
    part = model.parts[0]
    count = len(draws[0])
    found = {ENGINE: _judging(engine, draws)}
    for wanted in plain_types(engine.device):
        own = artifact.load(resolve(settings.weights)).parts[0]
        plain = PlainTorch(own, engine.device, wanted, PLAIN_TOKENS)
        found[f"{PLAIN_TORCH}, {wanted}"] = (count, _next(draws, plain))
    for backend in EXPORTED:
        if other := _with_backend(settings, backend, engine, part.info.folder):
            found[backend] = _judging(other, draws)
    both = pipelines(settings)
    few = max(1, count // FEWER)
    for name, size in ((PIPELINES, 1), (PIPELINES_BATCHED, 32)):
        piping = lambda t, size=size: [pipeline(list(t[:few]), size) for pipeline in both]  # noqa: E731
        found[name] = (few, _next(draws, piping))
    return engine, part.network.classifier, found


def plain_types(device: torch.device) -> list[str]:
    """Number types that torch computes in here; those that it only emulates take minutes."""
    in_half = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ["float32", "bfloat16"] if in_half else ["float32"]


def alone(settings: ModelSettings, texts: Sequence[str], documents: int) -> float:
    """Documents a second of the classifier with nothing around it, over so many at least: a long run stands
    beside a long one.  Raises ModelError.
    """
    engine = Engine.load(select_backend(settings.model_copy(update={"remembered_texts": 0})))
    count, judge = _judging(engine, drawn(texts, ORDERS))
    judge()
    rounds = -(-documents // count)
    started = time.perf_counter()
    for _ in range(rounds):
        judge()
    return rounds * count / (time.perf_counter() - started)


def figure(documents: int, rates: Sequence[float]) -> dict[str, float]:
    """The median of documents a second, each over so many of them, and the ends."""
    found = {"documents_per_second": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}
    return {"documents": documents} | {name: round(rate, 1) for name, rate in found.items()}


def _judging(engine: Engine, draws: Sequence[Sequence[str]]) -> Candidate:
    claimed = [engine.info.parts[0].languages[0]] * len(draws[0])
    return len(draws[0]), _next(draws, partial(engine.classify, languages=claimed))


def drawn(texts: Sequence[str], rounds: int) -> list[list[str]]:
    """For each round and the one before it to warm up, most of the texts in another order.

    A stream never repeats the shapes of its batches; what was prepared for one shape is of little use to it.
    """
    chance = random.Random(7)
    return [chance.sample(list(texts), max(1, len(texts) * 7 // 8)) for _ in range(rounds + 1)]


def _next(draws: Sequence[Sequence[str]], run: Callable[[Sequence[str]], object]) -> Callable[[], object]:
    """`run` over the first of the draws, at the next call over the second, and so on."""
    turn = itertools.cycle(draws)
    return lambda: run(next(turn))


def pipelines(settings: ModelSettings) -> "list[TransformersPipeline]":
    """One for each task, over the first part of the model."""
    model = artifact.load(resolve(settings.weights))
    device = compute_device(settings.device)
    return [
        TransformersPipeline(model.parts[0], task, labels, device)
        for task, labels in model.info.labels.items()
    ]


def _with_backend(settings: ModelSettings, backend: str, own: Engine, folder: str) -> Engine | None:
    """None where `own` runs there, that runtime is not installed or the encoder was never exported."""
    exported = (resolve(settings.weights) / folder / ENCODER).is_file()
    if own.settings.backend == backend or not exported:
        return None
    try:
        return Engine.load(settings.model_copy(update={"backend": backend}))
    except ModelError:
        return None


class PlainTorch:
    """The loop one would write by hand: tokenise, sort by length, one pass for both tasks, argmax."""

    def __init__(self, part: artifact.Part, device: torch.device, dtype: str, budget: int) -> None:
        self._part, self._device, self._budget = part, device, budget
        self._network = part.network.classifier.to(device, compute_dtype(dtype, device)).eval()
        part.network.tokenizer.no_padding()
        part.network.tokenizer.enable_truncation(part.info.max_tokens)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[dict[str, int]]:
        with every_thread_tokenises():
            encodings = self._part.network.tokenizer.encode_batch(list(texts))
        labels: list[dict[str, int]] = [{} for _ in texts]
        for group in token_batches([(1, len(encoding.ids)) for encoding in encodings], self._budget):
            inputs = Inputs.of([encodings[at] for at in group], self._part.network.pad_id).to(self._device)
            for task, (logits, _) in self._network(inputs).items():
                for at, label in zip(group, logits.argmax(-1).tolist(), strict=True):
                    labels[at][task] = label
        return labels


@contextmanager
def every_thread_tokenises() -> Iterator[None]:
    """As by default; our own engine switches it off."""
    before = os.environ.get(TOKENIZER_THREADS)
    os.environ[TOKENIZER_THREADS] = "true"
    try:
        yield
    finally:
        os.environ.pop(TOKENIZER_THREADS)
        if before is not None:
            os.environ[TOKENIZER_THREADS] = before


class TransformersPipeline:
    """transformers' own pipeline over the same weights, for one task."""

    def __init__(self, part: artifact.Part, task: str, labels: Sequence[str], device: torch.device) -> None:
        from transformers import PreTrainedTokenizerFast, TextClassificationPipeline

        # It would list every model that it knows besides.
        logging.getLogger("transformers.pipelines.base").setLevel(logging.CRITICAL)
        tokenizer = Tokenizer.from_str(part.network.tokenizer.to_str())
        tokenizer.no_truncation()
        pad = tokenizer.id_to_token(part.network.pad_id)
        words = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token=pad, model_max_length=part.info.max_tokens,
            model_input_names=["input_ids", "attention_mask"],
        )  # fmt: skip
        self._pipeline = TextClassificationPipeline(
            model=one_task(part, task, labels), tokenizer=words, device=device
        )

    def __call__(self, texts: list[str], size: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._pipeline(texts, batch_size=size, truncation=True)
        return found


def one_task(part: artifact.Part, task: str, labels: Sequence[str]) -> Any:
    """The part as transformers knows a classifier of sequences, in float32."""
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import SequenceClassifierOutput

    class OneTask(PreTrainedModel):  # type: ignore[misc]
        _supports_sdpa = True  # as the encoder within does

        def __init__(self, config: Any, network: Any) -> None:
            super().__init__(config)
            self.network: Any = network

        def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: object) -> Any:
            words = attention_mask.bool().clone()
            words[:, 0] = False
            last = attention_mask.sum(1) - 1
            words[torch.arange(len(last)), last] = False
            hidden = self.network.encode(Inputs(input_ids, attention_mask, words))
            return SequenceClassifierOutput(logits=self.network.heads[task](hidden)[0])

    config: Any = copy.deepcopy(part.network.classifier.encoder.config)
    config.id2label = dict(enumerate(labels))
    return OneTask(config, part.network.classifier).eval()


def flops(classifier: AttentionClassifier, lengths: Sequence[int]) -> float:
    """Multiplications and additions of the network's matrices over texts of so many tokens.

    A layer has four projections of width h, two of h x f, and attention over n tokens twice: for each token
    8 h^2 + 4 h f + 4 h n (Vaswani et al. 2017).  The heads' own matrices see each token too.
    """
    config: Any = classifier.encoder.config
    h, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = sum(part.weight.numel() for part in classifier.heads.modules() if isinstance(part, nn.Linear))
    return float(sum(n * (layers * (8 * h * h + 4 * h * f + 4 * h * n) + 2 * heads) for n in lengths))


def multiplying(device: torch.device, number_type: str, size: int) -> Candidate:
    """Products of two size x size matrices in torch: how many at a time, and the call that does them."""
    a, b = (torch.randn(size, size, device=device).mul(30).to(getattr(torch, number_type)) for _ in range(2))
    multiply = torch._int_mm if number_type == "int8" else torch.mm

    def run() -> None:
        for _ in range(PRODUCTS):
            multiply(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return PRODUCTS, run


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def repeated(settings: ModelSettings, texts: Sequence[str], rounds: int) -> float:
    """Documents a second where every second text came before, over those where none did."""
    engine = Engine.load(select_backend(settings.model_copy(update={"remembered_texts": 4 * len(texts)})))
    number = itertools.count()

    def new(count: int) -> list[str]:
        return [f"{text} {next(number)}" for text in texts[:count]]

    half = len(texts) // 2
    known = new(half)
    engine.classify(known)
    found = in_turns(
        {
            "new": (2 * half, lambda: engine.classify(new(2 * half))),
            "half": (2 * half, lambda: engine.classify(known + new(half))),
        },
        rounds,
    )
    return found["half"].per_second / found["new"].per_second


def compare(
    settings: ModelSettings, texts: Sequence[str], rounds: int, progress: Callable[[int], object]
) -> dict[str, Any]:
    """Every figure of the classifier, and its ratios to the others.  Raises ModelError."""
    draws = drawn(texts, rounds)
    engine, network, others = candidates(settings, draws)
    products = {MATMUL: multiplying(engine.device, engine.number_type, MATMUL_SIZE)}
    timings = in_turns(others | products, rounds, progress)
    # In operations a second, where of int8.
    peak = 2.0 * MATMUL_SIZE**3 * timings.pop(MATMUL).per_second
    tokenized = engine.tokenizer.tokenize(texts, [engine.info.languages[0]] * len(texts)).texts
    lengths = [len(window.ids) for text in tokenized for window in text.windows]
    own = timings[ENGINE].per_second
    used = flops(network, lengths) / len(texts) * own
    ratios = {
        "classifier_over_pipelines": own / timings[PIPELINES].per_second,
        "classifier_over_pipelines_in_batches": own / timings[PIPELINES_BATCHED].per_second,
        "classifier_over_plain_torch": own
        / max(timing.per_second for name, timing in timings.items() if name.startswith(PLAIN_TORCH)),
        "share_of_matmul_peak": used / peak,
    } | {f"classifier_over_{name}": own / timings[name].per_second for name in EXPORTED if name in timings}
    ratios["half_repeated_over_all_new"] = repeated(settings, texts, rounds)
    return {
        "machine": machine(engine.device),
        "model": {
            "version": engine.info.version, "device": engine.device.type,
            "backend": engine.settings.backend,
            "dtype": engine.number_type, "threads": torch.get_num_threads(),
        },
        "texts": {"documents": len(texts), "mean_tokens": round(sum(lengths) / len(texts), 1)},
        "figures": {name: figure(timing.documents, timing.rates) for name, timing in timings.items()},
        "matmul_peak_gflops": round(peak / 1e9, 1),
        "classifier_gflops": round(used / 1e9, 1),
        "ratios": {name: round(value, 3) for name, value in ratios.items()},
    }  # fmt: skip
