"""`monitor rules advise`: what the desk's verdicts say of the rules."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner

from monitor.cli.main import main
from stream.domain.incident_actions import ActionKind, ActionRequest, Verdict
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.incident_actions import IncidentActions
from stream.storage.leases import Lease
from tests.desk_parts import new_store
from tests.unit.stream.test_episode_store import firing_alert
from tests.unit.stream.test_incident_action_rows import decide
from tests.unit.stream.test_incident_rows import INCIDENT

RULES = """\
rules:
  - {name: surge, type: negative_surge, min_voices: 4, count: voices, false_pages_per_month: 0.5}
  - {name: unheard, type: threshold, watch: negative_share, threshold: 0.9}
"""


def judged_database(folder: Path) -> Path:
    """A settings file whose database has four wrong incidents of few voices and two right ones of many."""
    store, now = new_store(folder), datetime.now(UTC)
    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    actions = IncidentActions(store, decide)
    for number, voices in enumerate((5, 5, 6, 6, 30, 40)):
        id_, at = f"i{number}", now - timedelta(days=number)
        incident = replace(INCIDENT, id=id_, began_at=at, alerts=(id_,))
        alert = firing_alert(id=id_, rule="surge", incident=id_, fired_at=at, voices=voices)
        episodes.save([alert], [], [], [], at, [incident], [])
        verdict = Verdict.RIGHT if voices > 6 else Verdict.TOO_SMALL
        actions.act(id_, ActionRequest(ActionKind.CLOSE, "k", "ann", verdict=verdict), now)
    store.engine.dispose()
    rules, config = folder / "rules.yaml", folder / "monitor.toml"
    rules.write_text(RULES)
    config.write_text(f'[database]\nurl = "sqlite:///{folder / "desk.db"}"\n[alerts]\nrules = "{rules}"\n')
    return config


def test_precision_stands_beside_the_budget_and_a_change_is_proposed(tmp_path: Path) -> None:
    config = judged_database(tmp_path)
    done = CliRunner().invoke(main, ["rules", "advise", "-c", str(config), "--days", "30"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "surge: 2 of 6 judged incidents were right (12% to 65%)",
        "  wrong pages: 4.1 a month; by chance alone it may send 0.5",
        "  min_voices: 7 instead of 4; 4 of 4 wrong alerts would not have come, all 2 right ones would",
        "unheard: nobody has judged any of its 0 incidents",
        "  wrong pages: 0.0 a month; by chance alone it may send 0",
    ]


def test_a_script_gets_the_same_as_json(tmp_path: Path) -> None:
    config = judged_database(tmp_path)
    done = CliRunner().invoke(main, ["rules", "advise", "-c", str(config), "--json"])
    surge, unheard = json.loads(done.stdout)
    assert (surge["right"], surge["wrong"], surge["precision"]) == (2, {"too-small": 4}, 2 / 6)
    assert [(each["setting"], each["proposed"]) for each in surge["advice"]] == [("min_voices", 7)]
    assert (unheard["precision"], unheard["advice"], unheard["false_page_budget"]) == (None, [], 0)
