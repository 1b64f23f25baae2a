"""Selects the fastest backend and number type that give the right labels on this machine.

Every candidate classifies the same texts, made from the canaries of the model.  Candidates whose labels
differ from those of plain torch in float32 are refused; the fastest of the others is selected.  The result
is cached in a file, so that only the first start measures.
"""

import itertools
import logging
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from models.backends.device import compute_device, compute_dtype
from models.backends.native import encoders
from models.backends.onnx import ENCODER, EXPORTED
from models.errors import ModelError
from models.inference.engine import Engine
from models.network import artifact
from models.network.registry import resolve
from models.settings import ModelSettings, user_cache
from stream.domain.documents import Prediction

log = logging.getLogger(__name__)

ROUNDS = 4
# A later candidate must be this many times as fast as an earlier one, so that a busy moment does not decide.
CLEARLY_FASTER = 1.1
# A label may differ if its probability in full precision is within this of the largest.
TIE = 0.05


class Choice(msgspec.Struct, frozen=True):
    """The selected backend and number type, and texts a second of each candidate.

    A candidate that was refused or that cannot run here has a rate of 0.
    """

    backend: str
    dtype: str
    tried: dict[str, float]


def select_backend(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """The settings with a backend and a number type in place of "auto".  Raises ModelError.

    Measures all candidates unless the cache has a choice for this model and machine.  `cache` is a folder;
    None is the user's own.
    """
    cached = cached_backend(settings, cache)
    if cached.backend != "auto":
        return cached
    choice = measure(settings)
    _write_cache(_cache_file(settings, cache), choice)
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in choice.tried.items())
    log.info("the model runs as %s %s; texts a second: %s", choice.backend, choice.dtype, rates)
    return _with(settings, choice)


def cached_backend(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """Like `select_backend`, for short commands: "auto" stays if there is no choice in the cache."""
    if settings.backend != "auto":
        return settings
    choice = _read_cache(_cache_file(settings, cache))
    return settings if choice is None else _with(settings, choice)


def measure(settings: ModelSettings) -> Choice:
    """Measure all candidates.  Raises ModelError if none gives the labels of plain torch."""
    reference = Engine.load(settings.model_copy(update={"backend": "torch", "dtype": "float32"}))
    texts, languages = sample(reference)
    expected = reference.classify(texts, languages)
    rates = dict.fromkeys(candidates(settings), 0.0)
    accepted: dict[tuple[str, str], Engine] = {}
    for backend, dtype in rates:
        engine = _load_candidate(settings, backend, dtype)
        if engine is None:
            continue
        if all(map(same_labels, expected, engine.classify(texts, languages))):
            accepted[backend, dtype] = engine
        else:
            log.warning("%s %s is not used: its labels differ from full precision's", backend, dtype)
    if not accepted:
        raise ModelError(
            "no backend gives the model's own labels on this machine: set models.backend to torch"
        )
    for _ in range(ROUNDS):
        for name, engine in accepted.items():
            rates[name] = max(rates[name], _texts_per_second(engine, texts, languages))
    best = next(iter(accepted))
    for name in accepted:
        best = name if rates[name] > rates[best] * CLEARLY_FASTER else best
    return Choice(*best, {" ".join(name): rate for name, rate in rates.items()})


def _load_candidate(settings: ModelSettings, backend: str, dtype: str) -> Engine | None:
    """None if the candidate cannot run here."""
    try:
        return Engine.load(settings.model_copy(update={"backend": backend, "dtype": dtype}))
    except ModelError as error:
        log.info("%s %s cannot run here: %s", backend, dtype, error)
        return None


def candidates(settings: ModelSettings) -> list[tuple[str, str]]:
    """The pairs (backend, number type) that this machine may run, the likely fastest first."""
    device = compute_device(settings.device)
    dtype = str(compute_dtype(settings.dtype, device)).removeprefix("torch.")
    on_cpu, any_dtype = device.type == "cpu", settings.dtype == "auto"
    pairs = []
    if on_cpu and dtype == "bfloat16" and encoders.library("amx"):
        pairs.append(("amx", dtype))
    if on_cpu and any_dtype and encoders.library("int8"):
        pairs.append(("int8", "float32"))
    pairs += [("packed", dtype), ("torch", dtype)]
    if on_cpu and any_dtype and dtype == "float32" and torch.cpu._is_avx512_bf16_supported():
        pairs.append(("packed", "bfloat16"))
    folder = resolve(settings.weights)
    exported = all((folder / part.folder / ENCODER).is_file() for part in artifact.read_info(folder).parts)
    if on_cpu and exported:
        pairs += [(backend, "float32") for backend in EXPORTED]
    return pairs


def sample(engine: Engine) -> tuple[list[str], list[str]]:
    """Short and longer texts of each part, canaries and pairs of them, and their languages."""
    texts, languages = [], []
    for part in engine.info.parts:
        canaries = [canary.text for canary in part.canaries]
        pairs = [f"{a} {b}" for a, b in itertools.permutations(canaries, 2)]
        texts += canaries + pairs
        languages += [part.languages[0]] * (len(canaries) + len(pairs))
    return texts, languages


def same_labels(expected: Prediction, actual: Prediction) -> bool:
    """Whether the labels are the same, or a tie in the probabilities of `expected`."""
    return all(
        probabilities[getattr(actual, task)] > max(probabilities.values()) - TIE
        for task, probabilities in expected.probabilities.items()
    )


def _texts_per_second(engine: Engine, texts: Sequence[str], languages: Sequence[str]) -> float:
    started = time.perf_counter()
    engine.classify(texts, languages)
    return len(texts) / (time.perf_counter() - started)


def _machine(settings: ModelSettings) -> str:
    """What the choice depends on besides the model, as part of a file name."""
    device = compute_device(settings.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    threads = settings.threads or torch.get_num_threads()
    tried = "+".join(f"{backend}.{dtype}" for backend, dtype in candidates(settings))
    return f"{platform.machine()}-{name}-{threads}-{tried}-{torch.__version__}"


def _with(settings: ModelSettings, choice: Choice) -> ModelSettings:
    return settings.model_copy(update={"backend": choice.backend, "dtype": choice.dtype})


def _cache_file(settings: ModelSettings, cache: Path | None) -> Path:
    version = artifact.read_info(resolve(settings.weights)).version
    name = f"{version}-{_machine(settings)}".replace("/", "_").replace(" ", "_")
    return (cache or user_cache()) / f"{name}.json"


def _read_cache(path: Path) -> Choice | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Choice)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s cannot be read, so the backends are measured again: %s", path, error)
        return None


def _write_cache(path: Path, choice: Choice) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(choice))
    except OSError as error:
        log.info("the selected backend cannot be cached, so the next start measures again: %s", error)
