"""What the desk said of incidents, for each alert in them."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from stream.domain.incident_actions import JudgedAlert, Verdict
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading

# So many alerts are looked at, those of the incidents that began last.
MOST_JUDGED = 20_000


def judged_alerts(store: Store, since: datetime) -> list[JudgedAlert]:
    """The alerts of the incidents that began since then and paged, whether somebody judged them or not.

    Raises StoreUnavailable.
    """
    incidents, alerts = schema.incidents.c, schema.alerts.c
    query = (
        select(
            incidents.id,
            incidents.verdict,
            incidents.acknowledged_at,
            incidents.ended_at,
            alerts.rule,
            alerts.sources,
            alerts.voices,
        )
        .join(schema.alerts, alerts.incident == incidents.id)
        .where(incidents.began_at >= since, incidents.paged_number > 0)
        .order_by(incidents.began_at.desc(), incidents.id, alerts.id)
    )
    with reading(store.engine) as connection:
        return [_row(row) for row in connection.execute(query.limit(MOST_JUDGED))]


def _row(row: Any) -> JudgedAlert:
    return JudgedAlert(
        incident=row.id,
        rule=row.rule,
        verdict=row.verdict and Verdict(row.verdict),
        acknowledged=row.acknowledged_at is not None,
        is_over=row.ended_at is not None,
        sources=len(row.sources),
        voices=row.voices,
    )
