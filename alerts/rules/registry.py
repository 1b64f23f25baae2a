"""The registry of rule types, by the `type` that rule files use.

To add a rule type, write `alerts/detectors/NAME.py` with a subclass of `Rule` or `BaselineRule`, and add the
class to the list below.  Then regenerate `alerts/rules.schema.json` (`monitor rules schema`)
and describe the type in `docs/alerts.md`.  Nothing else has to change.
"""

from collections.abc import Mapping

from alerts.detectors.base import Rule
from alerts.detectors.heartbeat import HeartbeatRule
from alerts.detectors.mood_shift import MoodShiftRule
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.detectors.silence import SilenceRule
from alerts.detectors.slow_drift import SlowDriftRule
from alerts.detectors.threshold import ThresholdRule
from alerts.detectors.volume_surge import VolumeSurgeRule

RULE_TYPES: Mapping[str, type[Rule]] = {
    rule_type.type_name(): rule_type
    for rule_type in (
        ThresholdRule,
        NegativeSurgeRule,
        VolumeSurgeRule,
        MoodShiftRule,
        SilenceRule,
        SlowDriftRule,
        HeartbeatRule,
    )
}
