"""The message templates of rules: a small part of Jinja, since a rule file is not code.

Allowed are the alert's fields, conditions, arithmetic and some filters.  Loops, calls and anything whose size
or time grows faster than the template are not.
"""

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stream.domain.alerts import Alert, AlertState, Severity
from stream.domain.documents import EPOCH

LONGEST = 2000
EXAMPLE = Alert(
    id="0123456789abcdef01234567",
    rule="rule",
    topic="topic",
    severity=Severity.PAGE,
    state=AlertState.FIRING,
    since=EPOCH,
    value=1.0,
    threshold=1.0,
    n=1,
    uncertainty="",
    summary="",
    usual=1.0,
    fired_at=EPOCH,
)
FILTERS = ("upper", "lower", "title", "round", "abs", "int", "default", "length")
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Filter, nodes.Test,
    nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Neg, nodes.Keyword,
)  # fmt: skip


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*"])

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: object, right: object
    ) -> object:
        if not all(isinstance(side, int | float) for side in (left, right)):
            raise SecurityError(f"{operator} works on numbers only")
        return super().call_binop(context, operator, left, right)


_SANDBOX = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
_SANDBOX.globals.clear()
_SANDBOX.filters = {name: _SANDBOX.filters[name] for name in FILTERS}
_SANDBOX.filters["percent"] = lambda share: f"{share:.0%}"


def render(template: str, alert: Alert) -> str:
    """Render the template with the fields of the alert.  Raises ValueError."""
    fields = {name: getattr(alert, name) for name in Alert.__slots__}
    try:
        for node in _SANDBOX.parse(template).find_all(nodes.Node):
            if not isinstance(node, ALLOWED):
                raise SecurityError(f"{type(node).__name__.lower()} on line {node.lineno} is not allowed")
        text = _SANDBOX.from_string(template).render(fields)
    # A template can raise any error, and none must stop the monitor.
    except Exception as error:
        raise ValueError(f"the template cannot be rendered: {error or type(error).__name__}") from error
    return text.strip()[:LONGEST]
