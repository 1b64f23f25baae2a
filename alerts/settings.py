"""What can be set about alerts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

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
    webhook_seconds: float = Field(5.0, gt=0, le=60, description="longest wait for a receiver's answer")

    @field_validator("webhooks", "alertmanagers")
    @classmethod
    def _http(cls, webhooks: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, url in webhooks.items():
            if not url.get_secret_value().startswith(("http://", "https://")):
                raise ValueError(f"receiver {name!r}: allowed are URLs that start with http:// or https://")
        return webhooks
