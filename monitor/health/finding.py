"""What a check of `monitor doctor` finds; apart from the checks, which load a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check: its name, whether it passed, and what was found or what to do."""

    check: str
    ok: bool
    detail: str
