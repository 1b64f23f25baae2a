"""The choice of a backend: what is measured, which candidate wins, and when a stored choice is believed."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models import backend_cache, backend_selection
from models.backend_cache import Choice
from models.backends import device, onnx
from models.backends.native import encoders
from models.backends.packed import PackedEncoder
from models.inference.engine import Engine
from models.network import artifact
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS, ModelSettings

DELAY = 0.5


def slow_down(monkeypatch: pytest.MonkeyPatch, encoder: type[Any]) -> None:
    forward = encoder.forward

    def slow_forward(self: Any, *arguments: Any, **named: Any) -> Any:
        time.sleep(DELAY)
        return forward(self, *arguments, **named)

    monkeypatch.setattr(encoder, "forward", slow_forward)


@pytest.fixture
def float32_in_torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without a native encoder and slow at bfloat16; and few texts, to be quick."""
    monkeypatch.setattr(backend_selection, "PASS_SECONDS", 0.01)
    monkeypatch.setattr(encoders, "library", lambda backend: None)
    monkeypatch.setattr(backend_selection, "bfloat16_speedup", lambda: 0.5)
    monkeypatch.setattr(device, "bfloat16_speedup", lambda: 0.5)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The shipped model with files where an export would be."""
    folder = Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "exported"))
    for part in read_info(folder).parts:
        (folder / part.folder / onnx.ENCODER).write_bytes(b"stand-in")
    return folder


def run_in_torch(path: Path, threads: int) -> Any:
    """What stands in for a runtime: the part's own encoder."""
    folder = path.parent
    parts = read_info(folder.parent)
    (info,) = (part for part in parts.parts if part.folder == folder.name)
    encoder = artifact.load_part(folder.parent, info, parts.labels).network.classifier.encoder

    def run(ids: Any, attend: Any) -> Any:
        import torch

        return encoder(torch.from_numpy(ids), torch.from_numpy(attend)).last_hidden_state.numpy()

    return run


@pytest.mark.usefixtures("float32_in_torch_only")
def test_the_rates_are_those_of_the_network_and_not_of_repeated_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow_down(monkeypatch, PackedEncoder)
    choice = backend_selection.measure(ModelSettings(device="cpu"))
    # A pass takes at least the delay, and the sample has 128 texts at most.
    assert 0 < choice.tried["packed float32"] < 128 / DELAY


@pytest.mark.usefixtures("float32_in_torch_only")
@pytest.mark.parametrize("winner", ["onnxruntime", "openvino"])
def test_an_exported_encoder_that_is_faster_is_selected(
    winner: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_installed(path: Path, threads: int) -> Any:
        raise ImportError

    runtimes = {"onnxruntime": "_onnxruntime", "openvino": "_openvino"}
    for runtime, function in runtimes.items():
        monkeypatch.setattr(onnx, function, run_in_torch if runtime == winner else not_installed)
    slow_down(monkeypatch, PackedEncoder)
    settings = ModelSettings(weights=exported, device="cpu")
    selected = backend_selection.select_backend(settings, tmp_path / "cache")
    assert (selected.backend, selected.dtype) == (winner, "float32")
    assert backend_selection.cached_backend(settings, tmp_path / "cache") == selected


@pytest.mark.usefixtures("float32_in_torch_only")
def test_an_exported_encoder_that_is_slower_is_not_selected(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_runtime(path: Path, threads: int) -> Any:
        run = run_in_torch(path, threads)

        def slow_run(ids: Any, attend: Any) -> Any:
            time.sleep(DELAY)
            return run(ids, attend)

        return slow_run

    for function in ("_onnxruntime", "_openvino"):
        monkeypatch.setattr(onnx, function, slow_runtime)
    choice = backend_selection.measure(ModelSettings(weights=exported, device="cpu"))
    assert choice.backend == "packed"
    assert 0 < choice.tried["openvino float32"] < choice.tried["packed float32"]


@pytest.mark.usefixtures("float32_in_torch_only")
def test_an_exported_encoder_with_other_labels_is_not_selected(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast and wrong: it would win if only the time counted."""

    def wrong_runtime(path: Path, threads: int) -> Any:
        run = run_in_torch(path, threads)
        return lambda ids, attend: -run(ids, attend)

    for function in ("_onnxruntime", "_openvino"):
        monkeypatch.setattr(onnx, function, wrong_runtime)
    monkeypatch.setattr(Engine, "check_canaries", lambda self: None)
    slow_down(monkeypatch, PackedEncoder)
    choice = backend_selection.measure(ModelSettings(weights=exported, device="cpu"))
    assert choice.backend == "packed" and choice.tried["onnxruntime float32"] == 0


@pytest.mark.usefixtures("float32_in_torch_only")
def test_a_model_without_canaries_is_measured_on_words_of_its_vocabulary(
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights"))
    info = read_info(folder)
    parts = tuple(msgspec.structs.replace(part, canaries=()) for part in info.parts)
    artifact.save_info(folder, msgspec.structs.replace(info, parts=parts))
    choice = backend_selection.measure(ModelSettings(weights=folder, device="cpu"))
    assert choice.backend == "packed" and choice.tried["packed float32"] > 0


# ------------------------------------------------------------------------------------------ bfloat16
def test_the_number_type_follows_the_measured_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cpu = torch.device("cpu")
    for speedup, dtype in ((2.6, torch.bfloat16), (1.1, torch.float32), (0.5, torch.float32)):
        monkeypatch.setattr(device, "bfloat16_speedup", lambda speedup=speedup: speedup)
        assert device.compute_dtype("auto", cpu) is dtype
        assert device.compute_dtype("float32", cpu) is torch.float32
        assert device.compute_dtype("bfloat16", cpu) is torch.bfloat16


def test_the_speed_in_bfloat16_is_measured_and_leaves_the_threads_as_they_were() -> None:
    import torch

    threads = torch.get_num_threads()
    assert 0 < device.bfloat16_speedup() < 1000
    assert torch.get_num_threads() == threads


def test_bfloat16_is_a_candidate_where_it_may_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "library", lambda backend: None)
    found = {}
    for speedup in (2.6, 1.0, 0.1):
        for module in (device, backend_selection):
            monkeypatch.setattr(module, "bfloat16_speedup", lambda speedup=speedup: speedup)
        pairs = backend_selection.candidates(ModelSettings(device="cpu"))
        found[speedup] = [dtype for backend, dtype in pairs if backend == "packed"]
    assert found == {2.6: ["bfloat16", "float32"], 1.0: ["float32", "bfloat16"], 0.1: ["float32"]}
    asked = backend_selection.candidates(ModelSettings(device="cpu", dtype="bfloat16"))
    assert {dtype for _, dtype in asked} == {"bfloat16"}


def test_a_number_type_that_is_asked_for_is_the_only_one_tried(exported: Path) -> None:
    settings = ModelSettings(weights=exported, device="cpu", dtype="bfloat16")
    assert {dtype for _, dtype in backend_selection.candidates(settings)} == {"bfloat16"}


# ------------------------------------------------------------------------------------------ the cache
@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Choice]]:
    """Every call of `measure`, which answers at once."""
    calls: list[Choice] = []

    def measure(settings: ModelSettings) -> Choice:
        calls.append(Choice("packed", "float32", {"packed float32": 321.5, "torch float32": 123.0}))
        return calls[-1]

    monkeypatch.setattr(backend_selection, "measure", measure)
    yield calls


def select_twice(settings: ModelSettings, folder: Path) -> None:
    for _ in range(2):
        assert backend_selection.select_backend(settings, folder).backend == "packed"


def test_a_choice_is_measured_once_for_the_same_conditions(
    measurements: list[Choice], tmp_path: Path
) -> None:
    select_twice(ModelSettings(), tmp_path)
    assert len(measurements) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"], "nothing unfinished is left"


@pytest.mark.parametrize(
    "changed", [{"threads": 63}, {"max_batch_tokens": 512}, {"dtype": "float32"}], ids=lambda c: next(iter(c))
)
def test_other_settings_are_measured_again(
    changed: dict[str, Any], measurements: list[Choice], tmp_path: Path
) -> None:
    backend_selection.select_backend(ModelSettings(), tmp_path)
    backend_selection.select_backend(ModelSettings(**changed), tmp_path)
    assert len(measurements) == 2


def test_a_new_export_or_another_runtime_is_measured_again(
    measurements: list[Choice], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(weights=exported)
    select_twice(settings, tmp_path)
    file = exported / "en" / onnx.ENCODER
    file.write_bytes(b"exported again")
    select_twice(settings, tmp_path)
    assert len(measurements) == 2
    monkeypatch.setattr(backend_cache.importlib.metadata, "version", lambda name: "99")
    select_twice(settings, tmp_path)
    assert len(measurements) == 3


def test_a_new_way_of_measuring_believes_nothing_that_was_stored(
    measurements: list[Choice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_selection.select_backend(ModelSettings(), tmp_path)
    monkeypatch.setattr(backend_cache, "MEASUREMENT", backend_cache.MEASUREMENT + 1)
    backend_selection.select_backend(ModelSettings(), tmp_path)
    assert len(measurements) == 2


def test_a_file_of_version_0_2_0_is_not_believed(measurements: list[Choice], tmp_path: Path) -> None:
    """Its rates are those of the cache of repeated texts, and whatever was first in the list won."""
    import platform

    import torch

    old = {"backend": "torch", "dtype": "float32", "tried": {"torch float32": 1565137.0}}
    version = read_info(SHIPPED_WEIGHTS).version
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    tried = "+".join(f"{b}.{d}" for b, d in backend_selection.candidates(ModelSettings()))
    name = f"{version}-{platform.machine()}-{capability}-{threads}-{tried}-{torch.__version__}.json"
    (tmp_path / name).write_text(json.dumps(old))
    select_twice(ModelSettings(), tmp_path)
    # Not under the new name either.
    (new,) = tmp_path.glob("backend-*.json")
    new.write_text(json.dumps(old))
    select_twice(ModelSettings(), tmp_path)
    assert len(measurements) == 2


def replace_rates(file: Path, rates: dict[str, Any], backend: str = "packed") -> None:
    content = json.loads(file.read_text())
    content["choice"] |= {"tried": rates, "backend": backend}
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text("{"),
        lambda file: file.write_text(""),
        lambda file: file.write_bytes(b"\xff\xfe\x00"),
        lambda file: file.write_text("[" * 60_000),
        lambda file: file.write_text("null"),
        lambda file: file.write_text(json.dumps(json.loads(file.read_text())["choice"])),
        lambda file: replace_rates(file, {"packed float32": 1565137.0}),
        lambda file: replace_rates(file, {"packed float32": 0.0}),
        lambda file: replace_rates(file, {"packed float32": -5.0}),
        lambda file: replace_rates(file, {"packed float32": 1e999}),
        lambda file: replace_rates(file, {}),
        lambda file: replace_rates(file, {"abacus float32": 300.0}, backend="abacus"),
        lambda file: replace_rates(file, {"openvino float32": 300.0}, backend="openvino"),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=[
        "cut", "empty", "not UTF-8", "deep", "null", "without conditions", "impossible rate", "no rate",
        "negative", "infinite", "nothing tried", "unknown backend", "not exported", "a folder",
    ],
)  # fmt: skip
def test_a_stored_choice_that_cannot_be_true_costs_one_measurement(
    damage: Any, measurements: list[Choice], tmp_path: Path
) -> None:
    backend_selection.select_backend(ModelSettings(), tmp_path)
    (file,) = tmp_path.glob("*.json")
    damage(file)
    assert backend_selection.cached_backend(ModelSettings(), tmp_path).backend == "auto"
    assert backend_selection.select_backend(ModelSettings(), tmp_path).backend == "packed"
    assert len(measurements) == 2


def test_a_choice_for_other_conditions_under_the_same_name_is_not_believed(
    measurements: list[Choice], tmp_path: Path
) -> None:
    backend_selection.select_backend(ModelSettings(), tmp_path)
    (file,) = tmp_path.glob("*.json")
    content = json.loads(file.read_text())
    content["measured_on"]["processor"] = "another one"
    file.write_text(json.dumps(content))
    backend_selection.select_backend(ModelSettings(), tmp_path)
    assert len(measurements) == 2


def test_a_folder_that_cannot_be_written_costs_only_the_cache(
    measurements: list[Choice], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with caplog.at_level(logging.INFO):
        select_twice(ModelSettings(), in_the_way / "cache")
    assert len(measurements) == 2
    assert "cannot be cached, so the next start measures again" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_costs_only_the_cache(measurements: list[Choice], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    select_twice(ModelSettings(), tmp_path / "cache")
    tmp_path.chmod(0o700)
    assert len(measurements) == 2


def test_the_log_names_the_figures_of_the_choice(
    measurements: list[Choice], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        select_twice(ModelSettings(), tmp_path)
    assert [record.message for record in caplog.records] == [
        "the model runs as packed float32; texts a second, measured now: packed float32 322, torch float32 123",
        "the model runs as packed float32; texts a second, as measured before: "
        "packed float32 322, torch float32 123",
    ]


def test_plain_torch_is_not_timed_where_the_same_operators_run_without_padding() -> None:
    choice = backend_selection.measure(ModelSettings(device="cpu"))
    assert choice.tried["torch float32"] == 0 and choice.tried["packed float32"] > 0
    assert choice.tried[f"{choice.backend} {choice.dtype}"] == max(choice.tried.values())


# ------------------------------------------------------------------------------------------ other caches
@pytest.mark.parametrize("trouble", ["cannot be written", "damaged"])
def test_predictions_for_a_backtest_that_cannot_be_cached_are_used_all_the_same(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.cli.backtest.texts import classify_file
    from monitor.runtime.settings import Settings
    from stream.feed import RowOptions

    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    file = tmp_path / "news.jsonl"
    line = {"id": "1", "text": "Alderbrook Foods shares plunge", "published_at": "2026-03-01T09:00:00Z"}
    file.write_text(json.dumps(line) + "\n")

    def classify() -> list[Any]:
        models = ModelSettings(backend="packed", dtype="float32", device="cpu")
        settings = Settings(models=models)
        texts, errors = classify_file(settings, file, RowOptions(), end=None, progress=lambda *_: None)
        assert not errors
        return texts

    if trouble == "cannot be written":
        cache.write_text("a file where the folder would be")
        assert [text.id for text in classify()] == ["1"]
        return
    first = classify()
    (stored,) = cache.rglob("*.json")
    stored.write_text("[{")
    assert classify() == first
    assert stored.read_text() != "[{"
