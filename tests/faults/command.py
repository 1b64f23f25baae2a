"""`monitor` with the classifier of fault runs, which may kill itself before a commit.

    python -m tests.faults.command COMMITS WORDS...

Runs `monitor WORDS...`. The process kills itself when it is about to commit for the COMMITS-th time; with 0 it runs to
its end. Documents are rewritten a few at a time, so that a kill is in the middle of the work.
"""

import os
import sys
from unittest.mock import patch

from sqlalchemy import Engine, event

from models import backend_selection
from models.document_classifier import DocumentClassifier
from monitor.cli.main import main as monitor
from stream.storage import backfill, relabel
from tests.faults.classifiers import MODEL, FaultClassifier, house_file
from tests.faults.worker import Fault

MODEL_VARIABLE = "FAULTS_MODEL"
CHUNK = 40


def main(commits: str, *words: str) -> None:
    classifier = FaultClassifier(house_file(), os.environ.get(MODEL_VARIABLE, MODEL))
    if int(commits):
        fault = Fault(int(commits), "KILL")
        event.listen(Engine, "commit", lambda _connection: fault())
    with (
        patch.object(backend_selection, "select_backend", lambda settings: settings),
        patch.object(DocumentClassifier, "load", lambda _settings, **_options: classifier),
        patch.object(relabel, "CHUNK", CHUNK),
        patch.object(backfill, "CHUNK", CHUNK),
    ):
        monitor(list(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
