"""What must never get into the file that knows Faust, and that nothing else knows it."""

import re
from pathlib import Path

import stream

FOLDER = Path(stream.__file__).parent
DRIVER = FOLDER / "kafka" / "faust_driver.py"


def test_only_the_driver_knows_faust() -> None:
    knowing = [
        path.name
        for path in FOLDER.rglob("*.py")
        if re.search(r"^(import|from) (faust|mode)\b", path.read_text(), re.M)
    ]
    assert knowing == [DRIVER.name]


def test_nothing_takes_messages_in_a_way_that_acknowledges_what_failed() -> None:
    code = DRIVER.read_text().split('"""', 2)[2]
    assert "noack_take(" in code
    assert not re.search(r"(?<!noack_)\btake\(|take_events\(|stream\.(events|items)\(|Table\(", code)
    assert re.findall(r"concurrency=(\d+)", code) == ["1"]
