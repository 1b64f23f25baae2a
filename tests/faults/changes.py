"""What an operator changes during a run: the list of entities, and the entities and labels of stored documents."""

import re
import subprocess
import sys
from datetime import datetime, timedelta

from tests.faults.classifiers import GAZETTEER, HOUSE, MODEL, OTHER_GAZETTEER, OTHER_MODEL
from tests.faults.command import MODEL_VARIABLE
from tests.faults.contents import read_database
from tests.faults.oracle import Reference
from tests.faults.sandbox import ROOT, Sandbox

COMMAND_SECONDS = 600.0
KILLED = -9
CORRECTED_ROWS = re.compile(r"(\d+) rows of the aggregates corrected")


class Changes:
    """The changes of one run, in a sandbox and in its reference. `kills` are the commands that were killed."""

    def __init__(self, sandbox: Sandbox, reference: Reference, now: datetime) -> None:
        """Workers that start from now on have a house file."""
        self._sandbox, self._reference, self.kills = sandbox, reference, list[str]()
        self._since = (now - timedelta(days=2)).isoformat()
        self._until = (now + timedelta(days=1)).isoformat()
        self._house = sandbox.folder / f"{sandbox.seed}-house"
        self._write(GAZETTEER)
        sandbox.environ[HOUSE] = str(self._house)

    def change_gazetteer(self) -> None:
        """Change the house file, while workers run or between two of them."""
        stored = read_database(self._sandbox.url)
        self._write(OTHER_GAZETTEER)
        self._reference.change_gazetteer(stored, OTHER_GAZETTEER)

    def kill_backfill(self, commits: int) -> None:
        """Begin to link the past again; the command is killed before that commit."""
        self._backfill(kill_before=commits)

    def backfill(self) -> None:
        """Link the past again, to the end. All messages must be processed."""
        self._backfill()
        self._reference.rewrite(self._house.read_text())

    def _backfill(self, kill_before: int = 0) -> None:
        words = ("backfill", "entities", "--since", self._since, "--until", self._until)
        self._run(*words, kill_before=kill_before)

    def relabel(self, commits: int) -> None:
        """Classify everything with another model: once until the command is killed, and then to the end."""
        for kill_before in (commits, 0):
            self._run("relabel", "--from", self._since, kill_before=kill_before, model=OTHER_MODEL)
        self._reference.rewrite(self._house.read_text(), OTHER_MODEL)

    def wrong_rows(self) -> int:
        """How many rows of the sums a recount from the documents corrects."""
        printed = self._run("replay", "--from", self._since, "--recount-only")
        found = CORRECTED_ROWS.search(printed)
        assert found, printed
        return int(found[1])

    def _write(self, version: str) -> None:
        """A file is never seen half written."""
        draft = self._house.with_suffix(".new")
        draft.write_text(version)
        draft.replace(self._house)

    def _run(self, *words: str, kill_before: int = 0, model: str = MODEL) -> str:
        """Run `monitor WORDS`; what it printed. It may have less to commit than a kill needs."""
        environ = {"MONITOR_DATABASE__URL": self._sandbox.url, MODEL_VARIABLE: model}
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.command", str(kill_before), *words],
            env=self._sandbox.environment() | environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode not in ((0, KILLED) if kill_before else (0,)):
            raise AssertionError(
                f"monitor {' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}"
            )
        if done.returncode == KILLED:
            self.kills.append(f"{words[0]} before commit {kill_before}")
        return done.stdout
