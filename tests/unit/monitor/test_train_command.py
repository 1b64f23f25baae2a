"""Which rows `monitor train` trains on: the files, and written sentences against forgetting."""

import json
from pathlib import Path
from typing import Any

from models.data.augmentation_sets import WRITTEN
from models.data.dataset import Row
from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS
from models.training.options import DataOptions, TrainingOptions
from models.training.rows import restrict_to_used_sentiments, training_rows


def labelled_file(path: Path, *sentiments: str) -> Path:
    path.write_text(
        "".join(json.dumps({"text": f"t{i}", "sentiment": name}) + "\n" for i, name in enumerate(sentiments))
    )
    return path


def test_sentiments_that_never_occur_in_a_file_are_treated_as_not_asked_for() -> None:
    rows = restrict_to_used_sentiments(
        [Row.of("a", sentiment="positive"), Row.of("b", sentiment="negative"), Row.of("c", topic="IPO")]
    )
    assert [row.labels["sentiment"].among for row in rows[:2]] == [("positive", "negative")] * 2
    assert "sentiment" not in rows[2].labels
    all_sentiments = [Row.of("a", sentiment=name) for name in ("positive", "neutral", "negative")]
    assert restrict_to_used_sentiments(all_sentiments) == all_sentiments


def test_as_many_written_sentences_as_rows_are_added_except_to_a_bare_encoder(tmp_path: Path) -> None:
    file = labelled_file(tmp_path / "own.jsonl", *["positive", "neutral", "negative"] * 10)

    def written(rehearsal: int | None = None, **options: Any) -> int:
        data = DataOptions(files=(file,), rehearsal=rehearsal)
        _, rows = training_rows(data, TrainingOptions(out=tmp_path, **options))
        return sum(row.source == WRITTEN for row in rows)

    info = read_info(SHIPPED_WEIGHTS)
    for row in training_rows(DataOptions(files=(file,)), TrainingOptions(out=tmp_path))[1]:
        if row.source == WRITTEN:
            assert row.labels["topic"].only in info.labels["topic"], "nothing new is taught by the way"
            assert row.events is None or info.parts[0].event_types
    assert written() == 30
    assert written(rehearsal=7) == 7
    assert written(rehearsal=0) == 0
    assert written(languages=("de",)) == 0
    assert written(base=str(tmp_path)) == 0
