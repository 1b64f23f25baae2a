"""What holds for any quantised weights."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.network.artifact import pack, unpack


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=8))
def test_the_error_of_a_quantised_weight_is_at_most_half_a_step(rows: list[list[float]]) -> None:
    state = {"encoder.w.weight": torch.tensor(rows)}
    restored = unpack(pack(state, large=1))["encoder.w.weight"]
    steps = state["encoder.w.weight"].abs().amax(1, keepdim=True) / 127
    assert ((restored - state["encoder.w.weight"]).abs() <= 0.51 * steps + 1e-9).all()
