from typing import Any

import pytest

from stream.domain import fields


@pytest.mark.parametrize(
    "read", [fields.read_id, fields.read_source, fields.read_author, fields.read_symbols]
)
def test_a_value_that_is_nested_without_end_is_refused_like_any_other(read: Any) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        read(nested)
