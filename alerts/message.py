"""A rule's own words for its alerts: a Jinja template in a sandbox, since a rule file is not code."""

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stream.nouns import EPOCH, Alert

LONGEST = 2000
EXAMPLE = Alert(
    id="0123456789abcdef01234567", rule="rule", topic="topic", severity="page", state="firing", since=EPOCH,
    value=1.0, threshold=1.0, n=1, uncertainty="", summary="", usual=1.0, fired_at=EPOCH,
)  # fmt: skip


class _Sandbox(ImmutableSandboxedEnvironment):
    """Without operators that a few signs of can fill the memory with."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: object, right: object
    ) -> object:
        if not all(isinstance(side, int | float) for side in (left, right)) or operator == "**":
            raise SecurityError(f"{operator} is for numbers alone" if operator != "**" else "no powers")
        return super().call_binop(context, operator, left, right)


def _no_range(*_: object) -> None:
    raise SecurityError("no ranges")


_SANDBOX = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
_SANDBOX.globals.clear()
_SANDBOX.globals["range"] = _no_range


def render(template: str, alert: Alert) -> str:
    """What `template` says of the alert, whose fields it knows by name.  Raises ValueError."""
    try:
        text = _SANDBOX.from_string(template).render({name: getattr(alert, name) for name in Alert.__slots__})
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ValueError(f"the template cannot be rendered: {error}") from error
    return text.strip()[:LONGEST]
