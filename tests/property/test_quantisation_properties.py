"""What holds for any quantised weights."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.network.quantisation import GROUP, SCALE, pack, unpack


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=8))
def test_the_error_of_a_quantised_weight_is_at_most_half_a_step(rows: list[list[float]]) -> None:
    state = {"encoder.w.weight": torch.tensor(rows)}
    restored = unpack(pack(state, large=1))["encoder.w.weight"]
    steps = state["encoder.w.weight"].abs().amax(1, keepdim=True) / 127
    assert ((restored - state["encoder.w.weight"]).abs() <= 0.51 * steps + 1e-9).all()


@given(
    st.lists(
        st.lists(st.floats(-1e3, 1e3, width=32), min_size=2 * GROUP, max_size=2 * GROUP),
        min_size=1,
        max_size=4,
    )
)
def test_the_error_of_a_weight_in_4_bits_is_at_most_about_a_quarter_of_the_largest_of_its_group(
    rows: list[list[float]],
) -> None:
    key = "encoder.encoder.layer.0.output.dense.weight"
    matrix = torch.tensor(rows)
    packed = pack({key: matrix}, large=1, bits=4)
    assert packed[key].numel() * 2 == matrix.numel()
    groups = matrix.view(len(matrix), 2, GROUP)
    largest = groups.abs().amax(-1, keepdim=True)
    errors = (unpack(packed)[key].view_as(groups) - groups).abs()
    assert packed[key + SCALE].shape == groups.shape[:2]
    # The largest value is -8 steps.  With smaller steps, up to a quarter of it may be cut off.
    assert (errors <= largest * 0.26 + 1e-4).all()
