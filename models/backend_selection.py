"""Selects the fastest backend and number type that give the right labels on this machine.

Candidates classify the same texts, every one of them through the network.  Those whose labels differ from
those of plain torch in float32 are refused.  The others meet one after another: each runs in turns with the
fastest one so far, so that a busy moment slows both, and no more than two are in memory.  The choice is
cached in a file (models/backend_cache.py), so that only the first start measures.
"""

import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from models.backend_cache import Choice, ChoiceCache, RateCache
from models.backends.device import bfloat16_speedup, compute_device, compute_dtype
from models.backends.native import encoders
from models.backends.onnx import ENCODER, EXPORTED
from models.errors import ModelError
from models.inference import heap
from models.inference.engine import Engine
from models.inference.tokenize import CleanInput
from models.network.info import read_info
from models.network.registry import resolve
from models.settings import ModelSettings
from stream.domain.documents import Prediction

log = logging.getLogger(__name__)

# Rounds in which two candidates take turns.
ROUNDS = 3
# A later candidate must be this many times as fast as an earlier one, so that a busy moment does not decide.
CLEARLY_FASTER = 1.1
# A candidate this many times as slow gets no further rounds.
HOPELESS = 2.0
# bfloat16 is no candidate on a CPU where a matrix product is slower in it by this much: on some it takes
# minutes.
WORTH_TRYING = 0.8
# The sample is what plain torch classifies in this time, in steps of so many texts.
PASS_SECONDS, STEP_TEXTS = 0.25, 32
# A label may differ if its probability in full precision is within this of the largest.
TIE = 0.05
# Texts and words of texts for a part without canaries.
RANDOM_TEXTS, RANDOM_WORDS = 64, (8, 40)


def select_backend(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """The settings with a backend and a number type in place of "auto".  Raises ModelError.

    Measures all candidates unless the cache has a choice for this model and machine.  `cache` is a folder;
    None is the user's own.
    """
    if settings.backend != "auto":
        return settings
    stored = ChoiceCache(settings, cache)
    choice, how = stored.read(possible(settings)), "as measured before"
    if choice is None:
        choice, how = measure(settings), "measured now"
        stored.write(choice)
    log.info(
        "the model runs as %s %s; texts a second, %s: %s", choice.backend, choice.dtype, how, choice.figures
    )
    return _with(settings, choice)


def cached_backend(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """Like `select_backend`, for short commands: "auto" stays if there is no choice in the cache."""
    if settings.backend != "auto":
        return settings
    choice = ChoiceCache(settings, cache).read(possible(settings))
    return settings if choice is None else _with(settings, choice)


def headlines_per_second(engine: Engine, cache: Path | None = None) -> float | None:
    """How many headlines a second a model labels here with the backend that it runs on.

    Measured once for a model, machine and settings, then cached.  None while its backend is "auto": a short
    command, before the first start has measured, does not run the fastest one.
    """
    if engine.settings.backend == "auto":
        return None
    stored = RateCache(engine.settings, cache)
    rate = stored.read()
    if rate is None:
        texts, languages = sample(engine)
        inputs = list(map(CleanInput, texts, languages))
        rate = max(len(inputs) / _seconds(lambda: engine.run(inputs)) for _ in range(ROUNDS))
        stored.write(round(rate, 1))
    log.info("%s labels %.0f headlines a second here", engine.version, rate)
    return rate


def measured_rate(settings: ModelSettings, cache: Path | None = None) -> float | None:
    """What `headlines_per_second` measured; None before it has."""
    return None if settings.backend == "auto" else RateCache(settings, cache).read()


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(settings: ModelSettings) -> Choice:
    """Measure all candidates.  Raises ModelError if none gives the labels of plain torch."""
    trial = Trial.prepare(settings)
    if not trial.is_labelled:
        log.warning("the model has no canaries to measure with, so it runs in plain torch")
        return Choice("torch", "float32", {})
    rates = dict.fromkeys(candidates(settings), 0.0)
    best: Contender | None = None
    for backend, dtype in rates:
        if backend == "torch" and rates.get(("packed", dtype)):
            continue  # it makes the same steps, with padding
        best = _better(best, trial.contender(settings, backend, dtype), rates)
    if best is None:
        raise ModelError(
            "no backend gives the model's own labels on this machine: set models.backend to torch"
        )
    return Choice(*best.name, {" ".join(name): round(rate, 1) for name, rate in rates.items()})


def _better(
    best: "Contender | None", challenger: "Contender | None", rates: dict[tuple[str, str], float]
) -> "Contender | None":
    """The faster one; the rates of both are noted.  When it returns, nothing holds the slower one."""
    winner = faster(best, challenger) if best and challenger else best or challenger
    for contender in (best, challenger):
        if contender is not None:
            rates[contender.name] = contender.rate
    return winner


@dataclass
class Contender:
    """A candidate that gives the right labels, and the highest rate of its passes over the texts."""

    name: tuple[str, str]
    engine: Engine
    trial: "Trial"
    rate: float = 0.0

    def run(self) -> None:
        seconds = _seconds(lambda: self.engine.classify(self.trial.texts, self.trial.languages))
        self.rate = max(self.rate, len(self.trial.texts) / seconds)


def faster(best: Contender, challenger: Contender) -> Contender:
    """Time both in turns; the challenger must be clearly faster."""
    for _ in range(ROUNDS):
        if challenger.rate * HOPELESS < best.rate:
            break
        for contender in (best, challenger):
            contender.run()
    return challenger if challenger.rate > best.rate * CLEARLY_FASTER else best


@dataclass(frozen=True)
class Trial:
    """The texts that every candidate classifies, and what plain torch in float32 predicts for them."""

    texts: list[str]
    languages: list[str]
    expected: list[Prediction]

    @classmethod
    def prepare(cls, settings: ModelSettings) -> Self:
        """Take as many texts as plain torch classifies in PASS_SECONDS."""
        reference = _load(settings, "torch", "float32")
        texts, languages = sample(reference)
        expected: list[Prediction] = []
        started = time.perf_counter()
        while len(expected) < len(texts) and time.perf_counter() - started < PASS_SECONDS:
            step = slice(len(expected), len(expected) + STEP_TEXTS)
            expected += reference.classify(texts[step], languages[step])
        return cls(texts[: len(expected)], languages[: len(expected)], expected)

    @property
    def is_labelled(self) -> bool:
        """Whether the model gives any of the texts a label."""
        return any(prediction.sentiment for prediction in self.expected)

    def contender(self, settings: ModelSettings, backend: str, dtype: str) -> Contender | None:
        """None, with a line in the log, if the candidate cannot run here or gives other labels."""
        heap.give_back()  # what the candidate before left behind
        try:
            engine = _load(settings, backend, dtype)
        except ModelError as error:
            log.info("%s %s cannot run here: %s", backend, dtype, error)
            return None
        predictions = engine.classify(self.texts, self.languages)  # prepares the products
        if not all(map(same_labels, self.expected, predictions)):
            log.warning("%s %s is not used: its labels differ from full precision's", backend, dtype)
            return None
        contender = Contender((backend, dtype), engine, self)
        contender.run()
        return contender


def _load(settings: ModelSettings, backend: str, dtype: str) -> Engine:
    """Without the cache of repeated texts, which would answer from the second pass on."""
    tried = {"backend": backend, "dtype": dtype, "remembered_texts": 0}
    return Engine.load(settings.model_copy(update=tried))


def candidates(settings: ModelSettings) -> list[tuple[str, str]]:
    """The pairs (backend, number type) to try on this machine, the likely fastest first."""
    return _pairs(settings, _dtypes(settings, compute_device(settings.device)))


def possible(settings: ModelSettings) -> list[tuple[str, str]]:
    """The pairs that may have been selected here: without measuring which number types are worth trying."""
    device = compute_device(settings.device)
    if settings.dtype == "auto" and device.type == "cpu":
        return _pairs(settings, ["float32", "bfloat16"])
    return _pairs(settings, _dtypes(settings, device))


def _pairs(settings: ModelSettings, dtypes: Sequence[str]) -> list[tuple[str, str]]:
    """The backends of this machine, with these number types in torch."""
    on_cpu = compute_device(settings.device).type == "cpu"
    pairs = []
    if on_cpu and settings.dtype in ("auto", "bfloat16") and encoders.library("amx"):
        pairs.append(("amx", "bfloat16"))
    if on_cpu and settings.dtype == "auto" and encoders.library("int8"):
        pairs.append(("int8", "float32"))
    pairs += [(backend, dtype) for backend in ("packed", "torch") for dtype in dtypes]
    if on_cpu and settings.dtype in ("auto", "float32") and _is_exported(settings):
        pairs += [(backend, "float32") for backend in EXPORTED]
    return pairs


def _dtypes(settings: ModelSettings, device: torch.device) -> list[str]:
    """The number types to try in torch, the likely faster first."""
    likely = str(compute_dtype(settings.dtype, device)).removeprefix("torch.")
    if settings.dtype != "auto" or device.type != "cpu" or bfloat16_speedup() < WORTH_TRYING:
        return [likely]
    return sorted(("float32", "bfloat16"), key=lambda dtype: dtype != likely)


def _is_exported(settings: ModelSettings) -> bool:
    folder = resolve(settings.weights)
    return all((folder / part.folder / ENCODER).is_file() for part in read_info(folder).parts)


def sample(engine: Engine) -> tuple[list[str], list[str]]:
    """Short and longer texts of all parts in random order, and their languages.

    They are the canaries and pairs of them; random words for a part without canaries.
    """
    texts: dict[str, str] = {}
    for part in engine.info.parts:
        canaries = [canary.text for canary in part.canaries]
        pairs = [f"{a} {b}" for a, b in itertools.permutations(canaries, 2)]
        own = canaries + pairs or _random_texts(engine, part.languages[0])
        texts |= dict.fromkeys(own, part.languages[0])
    shuffled = random.Random(1).sample(list(texts.items()), len(texts))
    return [text for text, _ in shuffled], [language for _, language in shuffled]


def _random_texts(engine: Engine, language: str) -> list[str]:
    """Texts of random words of the vocabulary."""
    tokenizer, rng = engine.tokenizer.part(language).network.tokenizer, random.Random(1)
    size = tokenizer.get_vocab_size()
    return [
        tokenizer.decode([rng.randrange(size) for _ in range(rng.randint(*RANDOM_WORDS))])
        for _ in range(RANDOM_TEXTS)
    ]


def same_labels(expected: Prediction, actual: Prediction) -> bool:
    """Whether the labels are the same, or a tie in the probabilities of `expected`."""
    return all(
        probabilities[getattr(actual, task)] > max(probabilities.values()) - TIE
        for task, probabilities in expected.probabilities.items()
    )


def _with(settings: ModelSettings, choice: Choice) -> ModelSettings:
    return settings.model_copy(update={"backend": choice.backend, "dtype": choice.dtype})
