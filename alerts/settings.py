"""What can be set about alerts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from alerts.delivery.notifiers import is_channel
from alerts.delivery.pages import CHANNEL, WEBHOOK, QuietHours

SHIPPED_RULES = Path(__file__).parent / "rules.yaml"


class AlertSettings(BaseModel):
    """The `[alerts]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Path = Field(SHIPPED_RULES, description="YAML file of the rules")
    interval_seconds: float = Field(5.0, ge=0.5, le=300, description="time between two evaluations")
    lease_seconds: float = Field(
        20.0, ge=5, le=600, description="after so long without a sign of life another monitor takes over"
    )
    webhooks: dict[str, SecretStr] = Field(
        default_factory=dict, description="receivers of pages by name: each a URL that takes JSON by POST"
    )
    alertmanagers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Prometheus Alertmanagers by name: each the URL it answers at"
    )
    resend_seconds: float = Field(
        30.0, ge=1, le=600, description="how often Alertmanager is told again what fires"
    )
    channels: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="e-mail, Slack, Teams, PagerDuty, Telegram ... by name: each a URL as Apprise takes it",
    )
    group_seconds: float = Field(
        30.0, ge=0, le=3600, description="what follows a rule's page within so long comes together"
    )
    quiet_hours: str = Field(
        "", description="such as 22:00-07:00: in them only severity page leaves, the rest waits; empty: none"
    )
    time_zone: str = Field("UTC", description="of quiet_hours, such as Europe/Berlin")
    webhook_seconds: float = Field(5.0, gt=0, le=60, description="longest wait for a receiver's answer")

    @property
    def quiet(self) -> QuietHours | None:
        return QuietHours.parse(self.quiet_hours, self.time_zone) if self.quiet_hours else None

    @property
    def targets(self) -> tuple[str, ...]:
        """The receivers as the outbox calls them."""
        return (*(WEBHOOK + name for name in self.webhooks), *(CHANNEL + name for name in self.channels))

    @model_validator(mode="after")
    def _quiet_hours(self) -> "AlertSettings":
        _ = self.quiet
        return self

    @field_validator("channels")
    @classmethod
    def _known(cls, channels: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in channels.items():
            if not is_channel(url.get_secret_value()):
                raise ValueError(f"channel {name!r}: Apprise does not know such a URL")
        return channels

    @field_validator("webhooks", "alertmanagers")
    @classmethod
    def _http(cls, webhooks: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in webhooks.items():
            if not url.get_secret_value().startswith(("http://", "https://")):
                raise ValueError(f"receiver {name!r}: allowed are URLs that start with http:// or https://")
        return webhooks
