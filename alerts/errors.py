"""The errors of the alerts package.

AlertError
├── RuleError              the rule file cannot be used; names file, line and rule
├── MuteError              the file of mutes cannot be used; names file, line and mute
├── SilencesUnavailable    an Alertmanager does not list its silences, or refuses one
└── ActionRefused          an incident cannot be acted on like this; says why
    └── ActionOutdated    somebody else acted on it first; says who and what
"""


class AlertError(Exception):
    """Base of all errors that this package raises on purpose."""


class RuleError(AlertError):
    pass


class MuteError(AlertError):
    pass


class SilencesUnavailable(AlertError):
    pass


class ActionRefused(AlertError):
    pass


class ActionOutdated(ActionRefused):
    pass
