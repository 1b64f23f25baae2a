"""Which runtime and number type is the fastest on this machine and says the same: measured, then remembered.

Every candidate judges the same texts, made of the model's own canaries; one whose labels are not those of
the plain network in float32 is out, of the others the fastest is taken.
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
# Another than the likely best has to be so much faster, so that a busy moment does not decide.
CLEARLY = 1.1
# A label may change where full precision itself can hardly tell the two apart.
A_TIE = 0.05


class Choice(msgspec.Struct, frozen=True):
    """What was taken, and texts a second of each that was tried (0: refused, or it cannot run here)."""

    backend: str
    dtype: str
    tried: dict[str, float]


def chosen(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """The settings with a backend and a number type in place of "auto".  Raises ModelError.

    `cache` is a folder; None is the user's own.
    """
    known = remembered(settings, cache)
    if known.backend != "auto":
        return known
    choice = measure(settings)
    _remember(_path(settings, cache), choice)
    told = ", ".join(f"{name} {rate:.0f}" for name, rate in choice.tried.items())
    log.info("the model runs as %s %s; texts a second: %s", choice.backend, choice.dtype, told)
    return _with(settings, choice)


def remembered(settings: ModelSettings, cache: Path | None = None) -> ModelSettings:
    """`chosen` for short work: where nothing was measured here before, nothing is, and "auto" stays."""
    choice = _remembered(_path(settings, cache)) if settings.backend == "auto" else None
    return settings if choice is None else _with(settings, choice)


def measure(settings: ModelSettings) -> Choice:
    """Try all candidates.  Raises ModelError where none gives the labels of the plain network."""
    reference = Engine.load(settings.model_copy(update={"backend": "torch", "dtype": "float32"}))
    texts, languages = sample(reference)
    wanted = reference.classify(texts, languages)
    sound: dict[tuple[str, str], Engine] = {}
    tried = dict.fromkeys(candidates(settings), 0.0)
    for backend, dtype in tried:
        try:
            engine = Engine.load(settings.model_copy(update={"backend": backend, "dtype": dtype}))
            given = engine.classify(texts, languages)
        except ModelError as error:
            log.info("%s %s cannot run here: %s", backend, dtype, error)
            continue
        if all(map(same, wanted, given)):
            sound[backend, dtype] = engine
        else:
            log.warning("%s %s is not used: its labels differ from full precision's", backend, dtype)
    if not sound:
        raise ModelError(
            "no backend gives the model's own labels on this machine: set models.backend to torch"
        )
    for _ in range(ROUNDS):
        for name, engine in sound.items():
            tried[name] = max(tried[name], _rate(engine, texts, languages))
    best = next(iter(sound))
    for name in sound:
        best = name if tried[name] > tried[best] * CLEARLY else best
    return Choice(*best, {" ".join(name): rate for name, rate in tried.items()})


def candidates(settings: ModelSettings) -> list[tuple[str, str]]:
    """What this machine may run, (backend, number type), the likely best first."""
    device = compute_device(settings.device)
    dtype = str(compute_dtype(settings.dtype, device)).removeprefix("torch.")
    on_cpu, free = device.type == "cpu", settings.dtype == "auto"
    found = []
    if on_cpu and dtype == "bfloat16" and encoders.library("amx"):
        found.append(("amx", dtype))
    if on_cpu and free and encoders.library("int8"):
        found.append(("int8", "float32"))
    found += [("packed", dtype), ("torch", dtype)]
    if on_cpu and free and dtype == "float32" and torch.cpu._is_avx512_bf16_supported():
        found.append(("packed", "bfloat16"))
    folder = resolve(settings.weights)
    exported = all((folder / part.folder / ENCODER).is_file() for part in artifact.read_info(folder).parts)
    if on_cpu and exported:
        found += [(backend, "float32") for backend in EXPORTED]
    return found


def sample(engine: Engine) -> tuple[list[str], list[str]]:
    """Texts of all lengths that the model should know: its canaries in pairs, and their languages."""
    texts, languages = [], []
    for part in engine.info.parts:
        alone = [canary.text for canary in part.canaries]
        own = alone + [f"{a} {b}" for a, b in itertools.permutations(alone, 2)]
        texts += own
        languages += [part.languages[0]] * len(own)
    return texts, languages


def same(wanted: Prediction, given: Prediction) -> bool:
    """Whether both say the same, or say something between which the first can hardly choose."""
    return all(
        probabilities[getattr(given, task)] > max(probabilities.values()) - A_TIE
        for task, probabilities in wanted.probabilities.items()
    )


def _rate(engine: Engine, texts: Sequence[str], languages: Sequence[str]) -> float:
    """Texts a second, once."""
    started = time.perf_counter()
    engine.classify(texts, languages)
    return len(texts) / (time.perf_counter() - started)


def _machine(settings: ModelSettings) -> str:
    """What the choice depends on, as part of a file's name."""
    device = compute_device(settings.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    threads = settings.threads or torch.get_num_threads()
    tried = "+".join(f"{backend}.{dtype}" for backend, dtype in candidates(settings))
    return f"{platform.machine()}-{name}-{threads}-{tried}-{torch.__version__}"


def _with(settings: ModelSettings, choice: Choice) -> ModelSettings:
    return settings.model_copy(update={"backend": choice.backend, "dtype": choice.dtype})


def _path(settings: ModelSettings, cache: Path | None) -> Path:
    version = artifact.read_info(resolve(settings.weights)).version
    name = f"{version}-{_machine(settings)}".replace("/", "_").replace(" ", "_")
    return (cache or user_cache()) / f"{name}.json"


def _remembered(path: Path) -> Choice | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Choice)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s cannot be read, so the backends are measured again: %s", path, error)
        return None


def _remember(path: Path, choice: Choice) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(choice))
    except OSError as error:
        log.info("the choice of a backend is not remembered, and made again at the next start: %s", error)
