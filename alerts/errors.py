"""What can go wrong in the alerts room.

AlertError
└── RuleError    the rule file cannot be used; names file, line and rule
"""


class AlertError(Exception):
    """Base of everything this room raises on purpose."""


class RuleError(AlertError):
    pass
