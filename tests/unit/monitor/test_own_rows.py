"""What `monitor train` makes of files before training begins."""

import json
from pathlib import Path

from models.data.dataset import Row
from monitor.cli.train import only_asked, sources_and_rows


def options(**given: object) -> dict[str, object]:
    return {"columns": {}, "recipe": None, "root": None, "licensed_only": False, "seed": 1,
            "rehearsal": None, "base": None, "languages": ("en",)} | given  # fmt: skip


def labels(path: Path, *moods: str) -> Path:
    path.write_text(
        "".join(json.dumps({"text": f"t{i}", "sentiment": m}) + "\n" for i, m in enumerate(moods))
    )
    return path


def test_sentiments_that_a_file_never_has_were_never_asked_for(tmp_path: Path) -> None:
    rows = only_asked(
        [Row.of("a", sentiment="positive"), Row.of("b", sentiment="negative"), Row.of("c", topic="IPO")]
    )
    assert [row.labels["sentiment"].among for row in rows[:2]] == [("positive", "negative")] * 2
    assert "sentiment" not in rows[2].labels
    every = [Row.of("a", sentiment=name) for name in ("positive", "neutral", "negative")]
    assert only_asked(every) == every


def test_as_many_lessons_as_rows_go_along_and_none_to_a_bare_encoder(tmp_path: Path) -> None:
    file = labels(tmp_path / "own.jsonl", *["positive", "neutral", "negative"] * 10)

    def lessons(**given: object) -> int:
        _, rows = sources_and_rows([file], options(**given))
        return sum(row.source == "lessons" for row in rows)

    assert lessons() == 30
    assert lessons(rehearsal=7) == 7
    assert lessons(rehearsal=0) == 0
    assert lessons(languages=("de",)) == 0
    assert lessons(base=str(tmp_path)) == 0
