"""What must never come into the file that knows Faust."""

import re
from pathlib import Path

import stream

FOLDER = Path(stream.__file__).parent


def test_only_the_worker_knows_faust() -> None:
    knowing = [
        p.name
        for p in FOLDER.rglob("*.py")
        if re.search(r"^(import|from) (faust|mode)\b", p.read_text(), re.M)
    ]
    assert knowing == ["worker.py"]


def test_nothing_takes_messages_in_a_way_that_acks_what_failed() -> None:
    code = (FOLDER / "worker.py").read_text().split('"""', 2)[2]
    assert "noack_take(" in code
    assert not re.search(r"(?<!noack_)\btake\(|take_events\(|stream\.(events|items)\(|Table\(", code)
    assert re.findall(r"concurrency=(\d+)", code) == ["1"]
