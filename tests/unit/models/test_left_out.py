"""Sources that a run leaves out are not trained on, and scored."""

from pathlib import Path

import pytest

from models.data.dataset import Row
from models.errors import DataError
from models.settings import SHIPPED_WEIGHTS
from models.training.left_out import as_markdown, leave_out, score_left_out

POSTS = [
    Row(text, Row.of(text, sentiment=sentiment).labels, source="posts")
    for text, sentiment in (
        ("The bank's profit doubled and the shares jumped", "positive"),
        ("The lender went bankrupt and its shares collapsed", "negative"),
        ("The retailer issued a profit warning and fell 20%", "negative"),
    )
]
OTHERS = [Row.of("The mill closes for good", sentiment="negative"), *(Row.of("x", topic="IPO"),)]


def test_rows_of_a_source_that_is_left_out_are_separated() -> None:
    kept, left_out = leave_out([*OTHERS, *POSTS], ("posts",))
    assert kept == OTHERS and left_out == {"posts": POSTS}
    assert leave_out(POSTS, ()) == (POSTS, {})
    with pytest.raises(DataError, match="'post' is no source of this run: posts"):
        leave_out(POSTS, ("post",))
    with pytest.raises(DataError, match="every source is left out"):
        leave_out(POSTS, ("posts",))


def test_a_model_is_scored_on_what_was_left_out_without_near_copies_of_training_rows() -> None:
    copy = Row.of("The bank's profit doubled, and the shares jumped!", sentiment="positive")
    (report,) = score_left_out(SHIPPED_WEIGHTS, {"posts": POSTS}, [copy])["posts"]
    assert report.task == "sentiment" and report.n == 2 and report.accuracy == 1.0
    assert "| posts | sentiment | 2 | 1.000 |" in as_markdown({"posts": [report]})
    assert score_left_out(Path("nowhere"), {}, OTHERS) == {}
