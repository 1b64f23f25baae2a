"""Rule files as plain YAML, with the errors of rule files."""

from pathlib import Path
from typing import Any

import yaml

from alerts.errors import RuleError
from stream.domain.files import plain_yaml
from stream.domain.files.plain_yaml import PlainYamlError, line_of, repeated_key_errors

__all__ = ["as_data", "compose", "line_of", "repeated_key_errors"]


def compose(path: Path) -> yaml.Node | None:
    """The nodes of the file.  Raises RuleError where it is not plain YAML."""
    try:
        return plain_yaml.compose(path)
    except PlainYamlError as error:
        raise RuleError(str(error)) from error


def as_data(path: Path, node: yaml.Node) -> Any:
    """The node as plain data.  Raises RuleError."""
    try:
        return plain_yaml.as_data(path, node)
    except PlainYamlError as error:
        raise RuleError(str(error)) from error
