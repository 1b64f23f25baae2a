"""Training keeps its memory from step to step, and computes in the number type that is faster here."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from models.backends import device
from models.data.dataset import Row
from models.training import speed
from models.training.fit import Trainer
from models.training.options import FitOptions, TrainingOptions
from models.training.speed import SpeedMeter
from models.training.start import load_start

ROWS = [
    Row(text, Row.of(text, topic="Earnings", sentiment=sentiment).labels)
    for text, sentiment in (("Profit doubles at the mill", "positive"), ("The mill closes", "negative"))
]

# Arrays of the sizes of a training step; the largest is over the 32 MB from which glibc asks the system.
STEPS = """
import resource, sys
import torch
from models.inference import heap

def step():
    arrays = [torch.ones(size << 18) for size in (48, 24, 24, 12, 12, 6, 40)]
    for array in arrays: array += 1

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    heap.keep_all()
for _ in range(4): step()
before = faults()
for _ in range(5): step()
print((faults() - before) // 5)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the heap of glibc")
def test_the_memory_of_a_training_step_serves_the_next_one() -> None:
    """A page fault is a page of 4 kB that the system clears; a step has 166 MB of them."""
    default, kept = (
        int(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, check=True).stdout)
        for mode in ("default", "kept")
    )
    assert 4 * kept < default


@pytest.mark.parametrize(("speedup", "half"), [(2.6, True), (0.5, False)])
def test_training_computes_in_bfloat16_where_it_was_measured_to_be_faster(
    speedup: float, half: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "bfloat16_training_speedup", lambda: speedup)
    options = TrainingOptions(out=tmp_path, fit=FitOptions(device="cpu", epochs=1))
    trainer = Trainer(options.fit, load_start(options, ROWS).network, ROWS)
    products: list[torch.dtype] = []
    layer = trainer.classifier.encoder.encoder.layer[0].intermediate.dense  # type: ignore[union-attr,index]
    layer.register_forward_hook(lambda module, inputs, output: products.append(output.dtype))
    trainer.run(lambda network: 1.0)
    assert set(products) == {torch.bfloat16 if half else torch.float32}
    assert all(weight.dtype is torch.float32 for weight in trainer.trainable), "weights stay exact"


def test_the_speed_of_a_run_leaves_out_what_is_between_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    encoder = BertModel(config, add_pooling_layer=False)
    meter = SpeedMeter(encoder, clock=lambda: now[0])
    for loss in (3.0, 1.0):
        now[0] += 100  # a checkpoint
        meter.start_step()
        now[0] += 2
        meter.end_step([10, 20], loss)
    assert str(meter) == "1.0 rows/s, loss 2.000"
    monkeypatch.setattr(speed, "matrix_peak", lambda device, dtype: 1e6)
    result = meter.result(torch.device("cpu"), torch.float32)
    linear = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    expected = 2 * (6 * linear * 30 + 12 * 2 * 32 * (10**2 + 20**2)) / 4 / 1e6
    assert result is not None and result.rows_per_second == 1.0
    assert result.peak_share == pytest.approx(expected)


def test_a_run_without_steps_has_no_speed() -> None:
    meter = SpeedMeter(BertModel(BertConfig(hidden_size=12, intermediate_size=12, vocab_size=9)))
    assert meter.result(torch.device("cpu"), torch.float32) is None
