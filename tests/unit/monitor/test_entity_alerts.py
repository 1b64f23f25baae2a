"""An alert about an entity on both databases: evaluated, stored, queued as a page, shown, and backtested."""

from datetime import timedelta
from pathlib import Path

import msgspec
from pydantic import SecretStr

from alerts.delivery.alertmanager import alertmanager_alert
from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import load_rules
from monitor.cli.backtest.texts import read_database
from monitor.runtime.settings import Settings
from stream.domain.alerts import AlertState
from stream.domain.documents import SCORE_SCALE, Document, Kind, Prediction
from stream.domain.entities import EntityMention
from stream.domain.records import ClassifiedDocument, MessagePosition
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from tests.desk_parts import page_at
from tests.unit.stream.samples import NEWS_0, NOW, write

BANK, NAME = "XNAS:NGTB", "Northgate Bank"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RULE = """\
rules:
  - name: surge
    type: negative_surge
    entities: each
    window: 30m
    min_baseline: 1d
    labels: {team: risk}
    keep_firing_for: 5m
"""


def document(offset: int, *, minutes_ago: float, sentiment: str, entity: str) -> ClassifiedDocument:
    """A neutral document about an entity, with this sentiment towards it."""
    score = {"negative": -0.8, "neutral": 0.0}[sentiment]
    mention = EntityMention(entity, NAME, ((0, 4),), 90, sentiment, 0.9, score, of_target=True)
    probabilities = {"topic": {"Earnings": 1.0}, "sentiment": {"neutral": 0.9}}
    prediction = Prediction(
        "m-1", "en", "Earnings", "neutral", 0.0, probabilities, entities=(mention,), gazetteer="g-1"
    )
    made = Document(
        f"d{offset}",
        Kind.NEWS,
        f"wire{offset % 3}",
        NOW - minutes_ago * MINUTE,
        title=f"Story {offset} of {entity} is told here in words of its own {offset * 7919}",
    )
    return ClassifiedDocument(MessagePosition(Kind.NEWS, NEWS_0, offset, b"{}"), made, prediction)


def fill(store: Store) -> None:
    """Two days of calm about others, and seven bad texts about a bank that nobody wrote about before."""
    calm = [
        document(i, minutes_ago=60 + i * 10, sentiment="neutral", entity=f"XNAS:C{i % 20}")
        for i in range(300)
    ]
    bad = [document(300 + i, minutes_ago=1 + i, sentiment="negative", entity=BANK) for i in range(7)]
    write(store, *calm, *bad)
    store_entities(store, "g-1", [EntityRow(BANK, "company", NAME, "北门银行")])


def test_an_alert_about_an_entity_is_stored_queued_and_shown(store: Store, tmp_path: Path) -> None:
    fill(store)
    path = tmp_path / "rules.yaml"
    path.write_text(RULE)
    rules = load_rules(path)
    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    router = PageRouter(("webhook:desk",), address="http://monitor.example")
    evaluator = AlertEvaluator(
        rules=rules,
        topics=("Earnings",),
        reader=store.reads,
        episodes=episodes,
        delivery=router,
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )
    (alert,) = evaluator.evaluate(NOW)
    assert (alert.entity, alert.entity_name, alert.topic, alert.n) == (BANK, NAME, "all", 7)
    assert alert.summary.startswith(f"{NAME}: 7 negative documents in 30 min, usually less than 0.01")
    assert alert.labels == {"team": "risk", "entity": BANK, "entity_name": NAME}
    # The documents are neutral; the sentiment towards the bank is not.
    assert {item.score for item in alert.evidence} == {-0.8}
    assert sum(alert.sources.values()) == 7
    assert episodes.open_alerts() == [alert]
    assert [row.entity for row in episodes.transitions(alert.id)] == [BANK]

    (entry,) = Outbox(store.engine).due(["webhook:desk"], NOW, 9)
    page = msgspec.json.decode(entry.body)
    assert (page["entity"], page["entity_name"], page["labels"]["entity"]) == (BANK, NAME, BANK)
    sent = alertmanager_alert(alert, rules[0], NOW + HOUR, router)
    assert sent["labels"] == {
        "alertname": "surge", "topic": "all", "severity": "page",
        "team": "risk", "entity": BANK, "entity_name": NAME, "incident": alert.incident,
    }  # fmt: skip

    html = page_at(f"/incidents/{alert.incident}", store, lambda: NOW)
    assert f"<h1>{NAME}" in html
    assert "the highest bar is" in html
    assert f"<td>{NAME}" in page_at("/alerts", store, lambda: NOW)

    # The name of an episode stays as it was: Alertmanager knows the alert by its labels.
    store_entities(store, "g-2", [EntityRow(BANK, "company", "Northgate Holdings", None)])
    for minutes in (40, 46):
        write(store, document(400 + minutes, minutes_ago=-minutes, sentiment="neutral", entity="XNAS:C1"))
        open_now = evaluator.evaluate(NOW + minutes * MINUTE + MINUTE)
    assert open_now == []
    (ended,) = episodes.recent_alerts(5)
    assert (ended.state, ended.entity_name) == (AlertState.RESOLVED, NAME)


def test_a_backtest_of_the_database_reads_the_entities_of_its_documents(store: Store) -> None:
    fill(store)
    url = store.engine.url.render_as_string(hide_password=False)
    texts, *_ = read_database(Settings.model_validate({"database": {"url": SecretStr(url)}}), None, None, [])
    about = [text for text in texts if any(mention.entity == BANK for mention in text.entities)]
    assert len(about) == 7
    (mention,) = about[0].entities
    assert (mention.name, mention.sentiment, mention.relevance) == (NAME, "negative", 90)
    assert round(mention.score * SCORE_SCALE) == -8000  # type: ignore[operator]
