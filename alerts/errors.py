"""The errors of the alerts package.

AlertError
├── RuleError    the rule file cannot be used; names file, line and rule
└── MuteError    the file of mutes cannot be used; names file, line and mute
"""


class AlertError(Exception):
    """Base of all errors that this package raises on purpose."""


class RuleError(AlertError):
    pass


class MuteError(AlertError):
    pass
