"""One frozen tree of settings, out of a TOML file and the environment; each room owns its part.

An environment variable is `MONITOR_` and the path with two underscores between the parts, such as
`MONITOR_KAFKA__BOOTSTRAP_SERVERS`; it wins over the file.  With `_FILE` behind it, its value is read
from the file it names, as container secrets are.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from alerts.settings import AlertSettings
from models.settings import ModelSettings
from stream.kafka.settings import KafkaSettings
from stream.settings import StreamSettings
from stream.storage.settings import DatabaseSettings

PREFIX = "MONITOR_"
CONFIG = "MONITOR_CONFIG"


class SettingsError(Exception):
    """Wrong or unknown settings; a line for each: where, the name, the value, what is allowed."""


class HttpSettings(BaseModel):
    """The `[http]` part: metrics and health."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on; loopback unless told otherwise")
    port: int = Field(
        9108, ge=0, le=65535, description="port of /metrics, /alerts, /healthz, /readyz; 0: a free one"
    )
    public_url: str = Field(
        "", description="where people open /alerts from an alert's link; empty: host and port"
    )

    @field_validator("public_url")
    @classmethod
    def _web(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("a URL that starts with http:// or https:// is needed")
        return url

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        try:
            ip_address(host)
        except ValueError as error:
            raise ValueError("an IP address is needed, such as 127.0.0.1 or 0.0.0.0") from error
        return host


class LogSettings(BaseModel):
    """The `[log]` part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line shown")
    format: Literal["text", "json"] = Field("text", description="lines for people, or one JSON object each")


class Settings(BaseModel):
    """Everything that can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    stream: StreamSettings = StreamSettings()
    models: ModelSettings = ModelSettings()
    alerts: AlertSettings = AlertSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of the file (or of MONITOR_CONFIG's, or none) and the environment, ready to run with.

    `models.weights` is a model folder: a registry is replaced by its promoted version.
    Raises SettingsError, and WeightsError where the registry has no promoted version.
    """
    return resolve_weights(load_as_set(path, environ))


def resolve_weights(settings: Settings) -> Settings:
    """Replace a registry in `models.weights` by its promoted version.  Raises WeightsError if it has none."""
    from models.network.registry import resolve

    models = settings.models.model_copy(update={"weights": resolve(settings.models.weights)})
    return settings.model_copy(update={"models": models})


def load_as_set(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings as written, for commands that show them or do not run the model.

    `models.weights` may be a registry, even one with no promoted version.  Raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG):
        path = Path(environ[CONFIG])
    tree, origin = (_read_file(path), str(path)) if path else ({}, "the settings")
    origins = _overlay(tree, environ)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, origin, origins))) from error


def describe(settings: Settings) -> Iterator[tuple[str, Any, FieldInfo]]:
    """(name, value, field) of every setting; secrets come masked."""
    for part in Settings.model_fields:
        model = getattr(settings, part)
        for name, field in type(model).model_fields.items():
            value = getattr(model, name)
            yield f"{part}.{name}", "(secret)" if _is_secret(value) else value, field


def _is_secret(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_secret(item) for item in value.values())
    return isinstance(value, SecretStr)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put the environment's values into the tree; for each setting, the variable it came from."""
    origins = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == CONFIG:
            continue
        path, value = variable.removeprefix(PREFIX).lower(), environ[variable]
        if path.endswith("_file"):
            path, value = path.removesuffix("_file"), _read_secret(variable, value)
        parts = path.split("__")
        if len(parts) < 2:
            raise SettingsError(
                f"{variable}: unknown; a variable is {PREFIX}PART__NAME with PART one of "
                + ", ".join(name.upper() for name in Settings.model_fields)
            )
        branch = tree
        for part in parts[:-1]:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise SettingsError(f"{variable}: {part} is no part of the settings")
        branch[parts[-1]] = _value(value)
        origins[".".join(parts)] = variable
    return origins


def _read_secret(variable: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(f"{variable}: the file it names cannot be read: {reason}") from error


def _value(text: str) -> Any:
    """Lists and mappings come as JSON; everything else as it is, pydantic converts."""
    if text[:1] in ("[", "{"):
        try:
            return from_json(text)
        except ValueError:
            return text
    return text


def _complaints(error: ValidationError, origin: str, origins: Mapping[str, str]) -> Iterator[str]:
    for detail in error.errors():
        parts = [str(part) for part in detail["loc"]]
        name = ".".join(parts)
        where = next((origins[key] for key in origins if name.startswith(key)), f"{origin}: {name}")
        if detail["type"] == "extra_forbidden":
            yield f"{where}: unknown setting; allowed here: {', '.join(_siblings(parts))}"
            continue
        shown = "a value that is not shown" if _holds_secret(parts) else repr(detail["input"])
        message = detail["msg"].removeprefix("Value error, ")
        yield f"{where}: {shown} is not allowed: {message}"


def _siblings(parts: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in parts[:-1]:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)


def _holds_secret(parts: list[str]) -> bool:
    """Whether what stands there is, or may contain, a secret."""
    found: Any = Settings
    for part in parts:
        if not (isinstance(found, type) and issubclass(found, BaseModel)) or part not in found.model_fields:
            break
        found = found.model_fields[part].annotation
    if isinstance(found, type) and issubclass(found, BaseModel):
        return any(_holds_secret([*parts, name]) for name in found.model_fields)
    return "SecretStr" in str(found)
