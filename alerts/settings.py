"""The settings of alerts."""

from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from alerts.delivery.channel_urls import is_channel
from alerts.delivery.incident_services import is_incident_service
from alerts.delivery.pages import CHANNEL, WEBHOOK, QuietHours
from alerts.incidents.digest import DigestPlan
from alerts.incidents.escalation import EscalationStep
from alerts.incidents.joining import BROAD, IncidentPolicy

SHIPPED_RULES = Path(__file__).parent / "rules.yaml"


class DigestSettings(BaseModel):
    """The setting `alerts.digest`: when the digest of a day is sent, and to whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str = Field("07:30", max_length=5)
    zone: str | None = Field(None, max_length=100)
    targets: tuple[str, ...] = Field((), max_length=100)

    @field_validator("at")
    @classmethod
    def _is_a_time(cls, at: str) -> str:
        try:
            time.fromisoformat(at)
        except ValueError as error:
            raise ValueError("write a time of the day, such as 07:30") from error
        return at

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, name: str | None) -> str | None:
        return None if name is None else checked_zone(name)


def checked_zone(name: str) -> str:
    """The name of a time zone.  Raises ValueError if there is none of the name."""
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError("there is no such time zone; use a name such as Europe/Berlin") from error
    return name


class IncidentSettings(BaseModel):
    """The `[alerts.incidents]` part of the settings: which alerts are one event, and how often it pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joins_seconds: float = Field(
        86_400.0,
        ge=0,
        le=30 * 86_400,
        description="an alert joins no incident that is older: an event that lasts for days pages again",
    )
    calm_seconds: float = Field(
        7200.0, ge=0, le=7 * 86_400, description="an incident ends when none of its alerts fired for so long"
    )
    update_seconds: float = Field(
        1800.0,
        ge=0,
        le=86_400,
        description="least time between the pages of an incident that gets worse; a higher severity pages at "
        "once, and so does an update to a receiver that was not notified yet",
    )
    broad: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=1000)] = Field(
        BROAD,
        description="entities that most of the news is about, by id or by the beginning of ids with a star: "
        "that two alerts are about one of them does not make them one incident",
    )

    @property
    def policy(self) -> IncidentPolicy:
        return IncidentPolicy(
            timedelta(seconds=self.joins_seconds),
            timedelta(seconds=self.calm_seconds),
            timedelta(seconds=self.update_seconds),
            self.broad,
        )


class AlertmanagerSettings(BaseModel):
    """The `[alerts.alertmanager]` part of the settings: what every Alertmanager is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per: Literal["incident", "alert"] = Field(
        "incident",
        description="what is an alert in Alertmanager: an incident, or each alert of the rules, which "
        "Alertmanager then groups; both have the label incident",
    )


class Escalation(BaseModel):
    """A step of `alerts.escalation`: which receivers are notified after so long without acknowledgement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_minutes: float = Field(gt=0, le=7 * 24 * 60)
    receivers: tuple[str, ...] = Field(min_length=1, max_length=100)


class AlertSettings(BaseModel):
    """The `[alerts]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Path = Field(SHIPPED_RULES, description="YAML file of the rules")
    watchlist: str = Field(
        "",
        description="watchlist of the rule file whose entities have gauges of their own on /metrics, at most "
        "100 of them: each is six series of every scrape, and SQL has all others; empty: none",
    )
    interval_seconds: float = Field(5.0, ge=0.5, le=300, description="time between two evaluations")
    lease_seconds: float = Field(
        20.0,
        ge=5,
        le=600,
        description="another monitor takes over when the one that evaluates the rules is silent for so long",
    )
    webhooks: dict[str, SecretStr] = Field(
        default_factory=dict, description="receivers of pages by name: URLs that accept JSON by POST"
    )
    alertmanagers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Prometheus Alertmanagers by name: their base URLs"
    )
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()
    incidents: IncidentSettings = IncidentSettings()
    resend_seconds: float = Field(
        30.0, ge=1, le=600, description="how often firing alerts are sent to Alertmanager again"
    )
    channels: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="e-mail, Slack, Teams, PagerDuty, DingTalk and others by name: Apprise URLs",
    )
    escalation: tuple[Escalation, ...] = Field(
        (),
        max_length=20,
        description="who is notified when nobody acknowledges an incident: steps with after_minutes since "
        "its first page, and receivers (names of webhooks and channels), which are not notified before; "
        "empty: every receiver is notified at once",
    )
    mutes: Path | None = Field(
        None,
        description="YAML file of planned mutes: when which alerts page nobody; read again when it changes. "
        "docs/incidents.md describes it",
    )
    group_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="updates and ends that follow the page of another incident within this time are sent "
        "together; the first page of an incident waits for nothing; 0: every page at once",
    )
    quiet_hours: str = Field(
        "",
        description="such as 22:00-07:00: only severity page is sent then, the rest waits; empty: none",
    )
    time_zone: str = Field(
        "UTC",
        description="time zone of quiet_hours, and of the hours of the week of rules without a timezone, "
        "such as Europe/Berlin: what follows office hours moves with the clocks",
    )
    webhook_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="longest time for an attempt to reach a webhook or an Alertmanager, from the name lookup "
        "to the end of the answer; a receiver that answers only after it has passed the page on needs more",
    )
    channel_seconds: float = Field(
        20.0,
        gt=0,
        le=300,
        description="the same for a channel, which may send a page in several requests; e-mail servers that "
        "check the sender can take longer",
    )
    webhook_bytes: int = Field(
        100_000,
        ge=1000,
        le=100_000_000,
        description="size of the largest page to a webhook, below the 100 kB that common web frameworks "
        "accept; a larger one goes without its evidence, then with title and link alone",
    )
    channel_bytes: int = Field(
        4000,
        ge=1000,
        le=1_000_000,
        description="size of the largest page to a channel, which fits in one message of Telegram; services "
        "with shorter messages get it in parts, so lower it where every part is paid",
    )
    alertmanager_bytes: int = Field(
        500_000,
        ge=10_000,
        le=100_000_000,
        description="size of the largest request to an Alertmanager, below the 1 MB that proxies in front of "
        "it usually accept; more alerts go in several requests, and a large one without its evidence",
    )

    digest: DigestSettings | None = Field(
        None,
        description="a digest of each day, sent `at` a time such as 07:30 in a `zone` (default: time_zone) "
        "to `targets`, names of webhooks and channels (default: all but incident services, where each would "
        "open an incident); unset: none",
    )

    @property
    def quiet(self) -> QuietHours | None:
        return QuietHours.parse(self.quiet_hours, self.time_zone) if self.quiet_hours else None

    @property
    def targets(self) -> tuple[str, ...]:
        """The receivers, as the outbox names them."""
        return (*(WEBHOOK + name for name in self.webhooks), *(CHANNEL + name for name in self.channels))

    @property
    def first_targets(self) -> tuple[str, ...]:
        """The receivers that are notified at once: those that no step of the escalation names."""
        later = {target for step in self.escalation_steps for target in step.targets}
        return tuple(target for target in self.targets if target not in later)

    @property
    def escalation_steps(self) -> tuple[EscalationStep, ...]:
        """The steps of the escalation, the first one first.  A name that a webhook and a channel share means
        both."""
        steps = sorted(self.escalation, key=lambda step: step.after_minutes)
        return tuple(
            EscalationStep(
                timedelta(minutes=step.after_minutes),
                tuple(target for target in self.targets if target.partition(":")[2] in step.receivers),
            )
            for step in steps
        )

    @property
    def digest_plan(self) -> DigestPlan | None:
        """When digests are sent; None if there are none."""
        if self.digest is None:
            return None
        return DigestPlan(time.fromisoformat(self.digest.at), ZoneInfo(self.digest_zone))

    @property
    def digest_zone(self) -> str:
        """The name of the time zone of digests."""
        return (self.digest.zone if self.digest else None) or self.time_zone

    @property
    def digest_targets(self) -> tuple[str, ...]:
        """The receivers of digests.  A name that a webhook and a channel share means both."""
        if self.digest is None:
            return ()
        takes = tuple(target for target in self.targets if target not in self._incident_services)
        named = self.digest.targets
        return tuple(target for target in takes if not named or target.partition(":")[2] in named)

    @property
    def _incident_services(self) -> set[str]:
        urls = {CHANNEL + name: url.get_secret_value() for name, url in self.channels.items()}
        return {target for target, url in urls.items() if is_incident_service(url)}

    @model_validator(mode="after")
    def _digest_names_receivers(self) -> "AlertSettings":
        for name in self.digest.targets if self.digest else ():
            if name not in self.webhooks and name not in self.channels:
                known = ", ".join(sorted({*self.webhooks, *self.channels})) or "none"
                raise ValueError(f"digest: there is no webhook or channel {name!r}; there are: {known}")
            if CHANNEL + name in self._incident_services:
                raise ValueError(f"digest: {name!r} would open an incident for each digest; leave it out")
        return self

    @model_validator(mode="after")
    def _quiet_hours_parse(self) -> "AlertSettings":
        _ = self.quiet
        return self

    @model_validator(mode="after")
    def _escalation_names_receivers(self) -> "AlertSettings":
        known = {*self.webhooks, *self.channels}
        named = [name for step in self.escalation for name in step.receivers]
        if unknown := [name for name in named if name not in known]:
            raise ValueError(
                f"escalation: there is no webhook or channel {unknown[0]!r}; there are: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        if len(set(named)) < len(named):
            raise ValueError("escalation: each receiver may be in one step only: nobody is notified twice")
        if self.escalation and not self.first_targets:
            raise ValueError("escalation: every receiver is in a step, so nobody would be notified at first")
        return self

    @field_validator("time_zone")
    @classmethod
    def _time_zone_exists(cls, name: str) -> str:
        return checked_zone(name)

    @field_validator("channels")
    @classmethod
    def _channels_are_supported(cls, channels: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in channels.items():
            if not is_channel(url.get_secret_value()):
                raise ValueError(f"channel {name!r}: Apprise does not know such a URL")
        return channels

    @field_validator("webhooks", "alertmanagers")
    @classmethod
    def _urls_are_http(cls, webhooks: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in webhooks.items():
            if not url.get_secret_value().startswith(("http://", "https://")):
                raise ValueError(f"receiver {name!r}: the URL must start with http:// or https://")
        return webhooks
