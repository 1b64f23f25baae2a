"""What holds for any batches of tokens."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.inference.batching import token_batches


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 600))), st.integers(64, 4096))
def test_batches_contain_every_text_once_within_the_budget(
    shapes: list[tuple[int, int]], budget: int
) -> None:
    batches = token_batches(shapes, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(shapes)))
    for batch in batches:
        longest = max(shapes[i][1] for i in batch)
        assert len(batch) == 1 or longest * sum(shapes[i][0] for i in batch) <= budget
    largest = [max(shapes[i][0] * shapes[i][1] for i in batch) for batch in batches]
    assert all(a >= b for a, b in pairwise(largest))
