"""The message templates of rules: a small part of Jinja, since a rule file is not code.

Allowed are the alert's fields, conditions, arithmetic and some filters with literal arguments.  Loops, calls
and anything whose size or time grows faster than the template are not: that bounds the time of rendering.
"""

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stream.domain.alerts import Alert, AlertState, Severity
from stream.domain.documents import EPOCH

LONGEST_TEMPLATE, LONGEST = 4000, 2000
# The number of digits to round to, or the base of an integer: what people write, and nothing that takes long.
LARGEST_ARGUMENT = 100
# Jinja works on an expression recursively, and several times at each level.
DEEPEST = 50
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
    labels={},
    texts=1,
    stories=1,
    voices=1,
    copies=0,
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


_SANDBOX = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False, optimized=False)
_SANDBOX.globals.clear()
_SANDBOX.filters = {name: _SANDBOX.filters[name] for name in FILTERS}
_SANDBOX.filters["percent"] = lambda share: f"{share:.0%}"


def render(template: str, alert: Alert) -> str:
    """Render the template with the fields of the alert.  Raises ValueError."""
    fields = {name: getattr(alert, name) for name in Alert.__slots__}
    fields |= {"entity": alert.entity or "", "entity_name": alert.entity_name or ""}
    fields |= {name: value[:LONGEST] for name, value in fields.items() if isinstance(value, str)}
    try:
        _check(_SANDBOX.parse(template[: LONGEST_TEMPLATE + 1]), len(template))
        text = _SANDBOX.from_string(template).render(fields)
    # A template can raise any error, and none must stop the monitor.
    except Exception as error:
        raise ValueError(f"the template cannot be rendered: {error or type(error).__name__}") from error
    return text.strip()[:LONGEST]


def _check(template: nodes.Node, length: int, depth: int = 0) -> None:
    """Raises SecurityError unless every part of the template is known to be small and quick."""
    if length > LONGEST_TEMPLATE:
        raise SecurityError(f"a template has at most {LONGEST_TEMPLATE} characters")
    if depth > DEEPEST:
        raise SecurityError(f"an expression on line {template.lineno} is nested more than {DEEPEST} deep")
    for node in template.iter_child_nodes():
        if not isinstance(node, ALLOWED):
            raise SecurityError(f"{type(node).__name__.lower()} on line {node.lineno} is not allowed")
        if isinstance(node, nodes.Filter | nodes.Test):
            _check_arguments(node)
        _check(node, length, depth + 1)


def _check_arguments(node: nodes.Filter | nodes.Test) -> None:
    """Only literals are known to be small."""
    values = [*node.args, *(keyword.value for keyword in node.kwargs)]
    literals = [value.node if isinstance(value, nodes.Neg) else value for value in values]
    small = all(isinstance(literal, nodes.Const) and _is_small(literal.value) for literal in literals)
    if not small or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise SecurityError(
            f"{node.name} on line {node.lineno} takes literals only, numbers up to {LARGEST_ARGUMENT}"
        )


def _is_small(value: object) -> bool:
    return not isinstance(value, int | float) or abs(value) <= LARGEST_ARGUMENT
