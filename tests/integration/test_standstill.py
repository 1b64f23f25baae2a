"""What once stopped all alerting in silence: a lease in the future, written by a clock that was ahead."""

import json
from datetime import timedelta

from sqlalchemy import update

from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.settings import DatabaseSettings
from stream.storage.sql import database_time
from tests.conftest import Scene
from tests.parts import Receiver, wait_until

# A lease of the shipped settings lasts 20 s.
TAKEN_OVER = 60
# Fires at once: nothing was ever published.
RULES = "rules:\n  - {name: silent, type: heartbeat, sources: [wire], for: 0s}\n"


def hold_until_tomorrow(scene: Scene) -> None:
    """The holder of every lease had a clock that was ahead, and died."""
    engine = database.connect(DatabaseSettings.model_validate({"url": scene.database_url}))
    store = Store(engine, 10)
    for name in ("alerts", "outbox", "webhook:desk", "purge"):
        Lease(store, name, "dead:1", 20).acquire()
    with database.writing(engine) as connection:
        ahead = database_time(connection, timedelta(days=1))
        connection.execute(update(schema.leases).values(holder="dead:1", expires_at=ahead))
    engine.dispose()


def test_leases_in_the_future_are_taken_over_and_pages_are_sent(scene: Scene, receiver: Receiver) -> None:
    rules = scene.folder / "rules.yaml"
    rules.write_text(RULES)
    scene.environ |= {
        "MONITOR_ALERTS__RULES": str(rules),
        "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
    }
    scene.prepare()
    hold_until_tomorrow(scene)
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: receiver.taken, TAKEN_OVER, "the page")
    assert (monitor.metric("sentiment_alert_evaluation_timestamp_seconds") or 0) > 0
    for name in ("alerts", "webhook:desk"):
        assert f"took the lease {name} from dead:1: it lay in the future, until " in monitor.log.read_text()
    assert monitor.get("/readyz")[0] == 200
    assert monitor.stop() == 0
