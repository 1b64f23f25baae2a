"""The `[http.login]` part of the settings: who may see the desk's pages, and what they may do."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

DAY = 86_400
EVERYBODY = "*"
Method = Literal["none", "password", "openid", "proxy"]


class OpenIdSettings(BaseModel):
    """The `[http.login.openid]` part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field("", description="URL of the provider, as its tokens name it")
    client_id: str = Field("", description="the monitor's name at the provider")
    client_secret: SecretStr | None = Field(
        None, description="the monitor's secret at the provider; unset: a public client, by PKCE alone"
    )
    scopes: tuple[str, ...] = Field(
        ("openid", "profile", "email"), description="scopes that the provider is asked for"
    )
    name_claim: str = Field(
        "preferred_username",
        description="claim with the name of a user, which no two may share; email counts only where the "
        "provider has verified it",
    )
    groups_claim: str = Field("groups", description="claim with the groups of a user")

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, issuer: str) -> str:
        if issuer and not is_safe_url(issuer):
            raise ValueError("the provider must be an https:// address, or http:// on loopback")
        return issuer

    @field_validator("scopes")
    @classmethod
    def _check_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("openid must be one of the scopes")
        return scopes


class ProxySettings(BaseModel):
    """The `[http.login.proxy]` part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: tuple[str, ...] = Field(
        (),
        description="addresses and networks of the proxies whose headers count, such as 10.1.2.3 or "
        "10.1.0.0/16; nobody else is answered",
    )
    user_header: str = Field("X-Forwarded-User", description="header with the name of the user")
    groups_header: str = Field(
        "X-Forwarded-Groups", description="header with the groups of the user, separated by commas"
    )

    @field_validator("addresses")
    @classmethod
    def _check_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ip_network(address)
            except ValueError as error:
                raise ValueError(f"{address!r} is neither an IP address nor a network: {error}") from error
        return addresses


class LoginSettings(BaseModel):
    """The `[http.login]` part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(
        "none",
        description="how people log in. none: everybody who reaches a loopback address may do everything, "
        "and on another address only /metrics, /healthz and /readyz are served",
    )
    passwords: Path | None = Field(
        None,
        description="password file: a line NAME:ROLE:HASH for each user, which `monitor access password` "
        "writes. It is read again when it changes",
    )
    openid: OpenIdSettings = OpenIdSettings()
    proxy: ProxySettings = ProxySettings()
    readers: tuple[str, ...] = Field(
        (),
        description="groups at the provider or proxy whose members may see every page; user:NAME is one "
        "user, and * is everybody who can log in",
    )
    desk: tuple[str, ...] = Field((), description="groups that may also work on incidents")
    admins: tuple[str, ...] = Field((), description="groups that may do everything")
    idle_seconds: int = Field(
        8 * 3600, ge=60, le=30 * DAY, description="a login ends when no page was opened for so long"
    )
    session_seconds: int = Field(
        DAY, ge=60, le=90 * DAY, description="a login ends after so long, whatever is done with it"
    )
    metrics_token: SecretStr | None = Field(
        None,
        description="where a login is set, the bearer token with which Prometheus may read /metrics; unset: "
        "only those who have logged in may. /healthz and /readyz never need one",
    )

    @model_validator(mode="after")
    def _check_method(self) -> "LoginSettings":
        if missing := next((name for name, value in self._needed() if not value), None):
            raise ValueError(f"method {self.method} needs http.login.{missing}")
        return self

    def _needed(self) -> list[tuple[str, object]]:
        """The settings without which nobody could log in, or anybody could."""
        groups = ("readers, desk or admins", self.readers + self.desk + self.admins)
        match self.method:
            case "password":
                return [("passwords", self.passwords)]
            case "openid":
                return [
                    ("openid.issuer", self.openid.issuer),
                    ("openid.client_id", self.openid.client_id),
                    groups,
                ]
            case "proxy":
                return [("proxy.addresses", self.proxy.addresses), groups]
            case _:
                return []


def is_safe_url(url: str) -> bool:
    """Whether what is sent to this URL can be read on the way by nobody."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach this address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
