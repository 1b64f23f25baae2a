"""One frozen tree of settings from a TOML file and the environment; each package defines its own part.

An environment variable is named `MONITOR_` and the path with two underscores between the parts, such as
`MONITOR_KAFKA__BOOTSTRAP_SERVERS`.  It overrides the file.  If its name ends in `_FILE`, it names a file that
holds the value, as container secrets are passed.

pydantic validates the tree.  pydantic-settings is not used because it would replace only the merging of the
two sources, about ten lines, and lose what the errors say: it drops where each value came from, ignores
`MONITOR_` variables whose first part is unknown, ignores a settings file that is missing, reports JSON and
TOML errors without the variable or the file, and knows no `_FILE`.  Each of these would need code of our own.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from alerts.settings import AlertSettings
from models.settings import ModelSettings
from monitor.web.access.settings import LoginSettings
from stream.domain.files.small_files import shorten_text, show_value
from stream.kafka.settings import KafkaSettings
from stream.settings import StreamSettings
from stream.storage.settings import DatabaseSettings

PREFIX = "MONITOR_"
CONFIG = "MONITOR_CONFIG"


class SettingsError(Exception):
    """Wrong or unknown settings: a line each with the variable or file, name, value, and what is allowed."""


class HttpSettings(BaseModel):
    """The `[http]` part: metrics, health and evidence pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1", description="address to listen on; by default only this machine can connect"
    )
    port: int = Field(
        9108,
        ge=0,
        le=65535,
        description="port of the desk's page, /metrics, /healthz and /readyz; 0: any free port",
    )
    public_url: str = Field(
        "",
        description=(
            "base URL of links to the pages in notifications; empty: host and port. Links inside pages "
            "begin with its path, for a proxy that publishes the monitor under one"
        ),
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description=(
            "names with a dot by which the monitor may be addressed, besides IP addresses, this machine's "
            "name and that of public_url; others are refused, so that no page of another site can read "
            "the monitor through a visitor's browser (DNS rebinding). `*` allows every name"
        ),
    )
    max_connections: int = Field(
        256,
        ge=8,
        le=10_000,
        description=(
            "most open connections, and at most a quarter of the files that the process may open; beyond "
            "that a new connection ends the one that has been idle longest"
        ),
    )
    header_seconds: float = Field(
        10, gt=0, le=600, description="how long a client may take to connect and send a whole request"
    )
    request_seconds: float = Field(
        30,
        gt=0,
        le=600,
        description=(
            "how long a request may take until the client has its whole answer; the answer must be ready "
            "within half of it"
        ),
    )
    idle_seconds: float = Field(
        75,
        gt=0,
        le=3600,
        description=(
            "how long a connection may stay open between two requests; a load balancer should close its "
            "own connections sooner, usually after 60 s"
        ),
    )
    login: LoginSettings = LoginSettings()

    @field_validator("public_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise ValueError("a URL must start with http:// or https:// and name a host")
        return url

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host or set(host) & set("/:@ "):
                raise ValueError(f"{host!r}: a host has no scheme, port or path, such as monitor.example.com")
        return hosts

    @property
    def local_url(self) -> str:
        """Where a monitor of these settings answers on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def path_prefix(self) -> str:
        """The path of public_url without a slash at its end: `/mood`, or empty."""
        return urlsplit(self.public_url).path.rstrip("/")

    @field_validator("host")
    @classmethod
    def _check_address(cls, host: str) -> str:
        try:
            ip_address(host)
        except ValueError as error:
            raise ValueError("must be an IP address, such as 127.0.0.1 or 0.0.0.0") from error
        return host

    @model_validator(mode="after")
    def _check_return_address(self) -> "HttpSettings":
        if self.login.method == "openid" and not self.public_url:
            raise ValueError(
                "http.login.method openid needs http.public_url, where the provider sends people back"
            )
        return self


class LogSettings(BaseModel):
    """The `[log]` part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the lowest level that is logged"
    )
    format: Literal["text", "json"] = Field("text", description="plain text, or one JSON object per line")


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
    tree, file_name = (_read_file(path), str(path)) if path else ({}, "the settings")
    variables = _add_environment(tree, environ)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_error_lines(error, file_name, variables))) from error


def describe(settings: Settings) -> Iterator[tuple[str, Any, FieldInfo]]:
    """(name, value, field) of every setting; secrets are masked."""
    for part in Settings.model_fields:
        yield from _describe(part, getattr(settings, part))


def _describe(path: str, model: BaseModel) -> Iterator[tuple[str, Any, FieldInfo]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel) and field.description is None:
            yield from _describe(f"{path}.{name}", value)
        else:
            yield f"{path}.{name}", "(secret)" if _is_secret(value) else value, field


def _is_secret(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_secret(item) for item in value.values())
    return isinstance(value, SecretStr)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{path}: not TOML: {shorten_text(str(error))}") from error


def _add_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put the environment's values into the tree.  Returns the variable of each of these settings."""
    variables = {}
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
                raise SettingsError(f"{variable}: {part} is not a part of the settings")
        branch[parts[-1]] = _parse(value)
        variables[".".join(parts)] = variable
    return variables


def _read_secret(variable: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(f"{variable}: the file it names cannot be read: {reason}") from error


def _parse(text: str) -> Any:
    """Lists and mappings are JSON; pydantic converts all other values from text."""
    if text[:1] in ("[", "{"):
        try:
            return from_json(text)
        except ValueError:
            return text
    return text


def _error_lines(error: ValidationError, file_name: str, variables: Mapping[str, str]) -> Iterator[str]:
    for detail in error.errors():
        parts = [str(part) for part in detail["loc"]]
        name = ".".join(parts)
        source = next(
            (variables[key] for key in variables if f"{name}.".startswith(f"{key}.")), f"{file_name}: {name}"
        )
        if detail["type"] == "extra_forbidden":
            yield f"{source}: unknown setting; allowed here: {', '.join(_allowed_names(parts))}"
            continue
        shown = "a value that is not shown" if _holds_secret(parts) else show_value(detail["input"])
        message = detail["msg"].removeprefix("Value error, ")
        yield f"{source}: {shown} is not allowed: {message}"


def _allowed_names(parts: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in parts[:-1]:
        annotation = model.model_fields[part].annotation
        annotation = next(filter(_is_model, get_args(annotation)), annotation)  # one that may be left out
        if not _is_model(annotation):
            break
        model = annotation
    return list(model.model_fields)


def _holds_secret(parts: list[str]) -> bool:
    """Whether the setting at this path is a secret or may contain one."""
    annotation: Any = Settings
    for part in parts:
        if not _is_model(annotation) or part not in annotation.model_fields:
            break
        annotation = annotation.model_fields[part].annotation
    if _is_model(annotation):
        return any(_holds_secret([*parts, name]) for name in annotation.model_fields)
    return "SecretStr" in str(annotation)


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
