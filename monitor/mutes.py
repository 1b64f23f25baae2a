"""The planned mutes of an installation: its file of mutes, read with what its rules and models know."""

from pathlib import Path

from alerts.rules.rule_file import load_rules
from alerts.schedules.mute_file import KnownNames, load_mutes
from alerts.schedules.mutes import Mutes
from models.network.info import read_info
from monitor.entity_ids import resolver_of_settings
from monitor.runtime.settings import Settings


def read_mutes(file: Path, settings: Settings) -> Mutes:
    """The mutes of a file, which may name the rules of the rule file.  Raises MuteError, RuleError."""
    alerts, topics = settings.alerts, read_info(settings.models.weights).labels["topic"]
    rules = [rule.name for rule in load_rules(alerts.rules, (), alerts.time_zone)]
    known = KnownNames(topics, rules, alerts.time_zone, resolver_of_settings(settings.models))
    return load_mutes(file, known)
