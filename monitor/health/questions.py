"""What the health page asks, each by a job of its own (`monitor/jobs.py`).

They ask Kafka, receivers or the model, which may take long, with clients that the stream must not share.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from monitor.health.finding import Finding
from monitor.health.letters import find_messages, letter_fields, message_fields
from monitor.health.problems import find_problems
from monitor.health.report import as_json, ask
from monitor.runtime.settings import Settings
from stream.storage import database
from stream.storage.dead_letters import LetterPosition, letters_at

Report = Callable[[str, float], None]
# The checks of `monitor doctor`, to say how far they are.
CHECKS = 16


def ask_status(settings: Settings, report: Report) -> dict[str, Any]:
    """What `monitor status --json` says, and when it was asked."""
    report("asking database, Kafka and the monitor", 0.0)
    found = ask(settings)
    return as_json(found, find_problems(found)) | {"asked_at": datetime.now(UTC).isoformat()}


def run_checks(settings: Settings, report: Report) -> list[Finding]:
    """What `monitor doctor` finds."""
    from monitor.health.checks import examine_settings  # it brings all that a model needs

    findings = []
    for finding in examine_settings(settings):
        findings.append(finding)
        report(f"checked: {finding.check}", len(findings) / CHECKS)
    return findings


def read_letters(settings: Settings, position: str, report: Report) -> dict[str, Any]:
    """The dead letters at a position with their messages, and why there are none of these.

    Raises StoreUnavailable.
    """
    report("asking Kafka for the message", 0.0)
    engine = database.connect_existing(settings.database)
    try:
        letters = letters_at(engine, LetterPosition.parse(position))
    finally:
        engine.dispose()
    found, problem = find_messages(settings.kafka, letters)
    return {
        "letters": [letter_fields(letter) | message_fields(found.get(letter)) for letter in letters],
        "problem": problem,
    }
