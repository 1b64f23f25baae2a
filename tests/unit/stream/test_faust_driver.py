"""Only one file uses Faust, and it uses none of the ways that would acknowledge a failed batch."""

import re
from pathlib import Path

import stream

FOLDER = Path(stream.__file__).parent
DRIVER = FOLDER / "kafka" / "faust_driver.py"


def test_only_the_driver_imports_faust() -> None:
    files = [
        path.name
        for path in FOLDER.rglob("*.py")
        if re.search(r"^(import|from) (faust|mode)\b", path.read_text(), re.M)
    ]
    assert files == [DRIVER.name]


def test_the_driver_never_takes_messages_in_a_way_that_acknowledges_a_failed_batch() -> None:
    code = DRIVER.read_text().split('"""', 2)[2]
    assert "noack_take(" in code
    assert not re.search(r"(?<!noack_)\btake\(|take_events\(|stream\.(events|items)\(|Table\(", code)
    assert re.findall(r"concurrency=(\d+)", code) == ["1"]
