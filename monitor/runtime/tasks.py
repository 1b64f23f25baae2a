"""Things done again and again in threads of their own, beside the stream."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec

from alerts.delivery.alertmanager import as_alert
from alerts.delivery.notifiers import Channels, Failure, Webhooks, outcome
from alerts.delivery.pages import CHANNEL, WEBHOOK, Delivery, as_text, grouped, page_key
from alerts.errors import RuleError
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rule_file import RuleFile
from stream.domain.alerts import AlertState
from stream.domain.documents import EPOCH, HEARTBEAT_SOURCE, Kind
from stream.domain.errors import BrokerError, LeaseLost, StoreUnavailable
from stream.domain.sums import Scope, Selection
from stream.kafka import admin
from stream.kafka.sender import KafkaSender
from stream.kafka.settings import KafkaSettings
from stream.metrics import StreamMetrics
from stream.pipeline import Pipeline
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.leases import Lease
from stream.storage.outbox import KAFKA_PREFIX, Outbox, OutboxEntry, enqueue, to_kafka
from stream.storage.retention import purge
from stream.worker import Worker

log = logging.getLogger(__name__)

AWAY_SECONDS = 8.0
REMEMBERED = timedelta(days=1)
# A page that no receiver took for so long is of no use, and must not hold up later ones for ever.
GIVEN_UP = timedelta(days=7)
Clock = Callable[[], datetime]


class Loop(threading.Thread):
    """Calls `once` every `seconds` until stopped.

    An absent database or broker is waited out; any other error ends the monitor through `fail`.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        once: Callable[[], object],
        stopping: threading.Event,
        fail: Callable[[BaseException], None],
        ending: Callable[[], object] = lambda: None,
    ) -> None:
        """`ending` is called in the same thread when it is over."""
        super().__init__(name=name, daemon=True)
        self._seconds, self._once, self._stopping, self._fail = seconds, once, stopping, fail
        self._ending = ending

    def run(self) -> None:
        try:
            self._again_and_again()
        finally:
            self._ending()

    def _again_and_again(self) -> None:
        waiting = False
        while not self._stopping.is_set():
            try:
                self._once()
                if waiting:
                    log.info("%s: goes on", self.name)
                waiting = False
            except (StoreUnavailable, BrokerError) as error:
                if not waiting:
                    log.error("%s: waiting: %s", self.name, error)
                waiting = True
            except Exception as error:
                log.exception("%s: unexpected error", self.name)
                self._fail(error)
                return
            self._stopping.wait(self._seconds)


class AlertRunner:
    """Evaluates the rules and shows the mood, where this monitor holds the lease."""

    def __init__(
        self,
        rules: RuleFile,
        loop: AlertEvaluator,
        lease: Lease,
        store: Store,
        mood: Callable[[datetime], datetime],
        stream_metrics: StreamMetrics,
        alert_metrics: AlertMetrics,
        clock: Clock,
    ) -> None:
        self._rules, self._loop, self._lease, self._store, self._mood = rules, loop, lease, store, mood
        self._stream_metrics, self._alert_metrics, self._clock = stream_metrics, alert_metrics, clock

    def once(self) -> None:
        now = self._clock()
        self._read_rules()
        try:
            if not self._lease.acquire(now):
                raise LeaseLost("another monitor holds it")
            self._loop.evaluate(now)
            self._stream_metrics.show_mood(self._store.reads.sums(self._mood(now), now))
        except LeaseLost:
            self._loop.stand_by()
            self._hide()
        except StoreUnavailable:
            self._hide()
            raise

    def _read_rules(self) -> None:
        """A rule file that was changed for the worse never stops the monitor."""
        try:
            if self._rules.changed():
                self._loop.replace_rules(self._rules.rules)
                self._alert_metrics.rules_usable.set(1)
                log.info("%d rules of %s from now on", len(self._rules.rules), self._rules.path)
        except RuleError as error:
            self._alert_metrics.rules_usable.set(0)
            log.error("the rules stay as they were: %s", error)

    def _hide(self) -> None:
        """What is not known now is absent, not what it was."""
        self._stream_metrics.hide_mood()
        self._alert_metrics.hide()


class OutboxRunner:
    """Sends what waits in the outbox for some targets, where this monitor holds the lease."""

    def __init__(
        self,
        targets: Sequence[str],
        limit: int,
        outbox: Outbox,
        lease: Lease,
        send: Callable[[list[OutboxEntry]], None],
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        """`targets` are those this monitor knows; what waits for others is left to others."""
        self._targets, self._limit, self._outbox = targets, limit, outbox
        self._lease, self._send, self._clock, self._stopping = lease, send, clock, stopping

    def once(self) -> None:
        """Until nothing is due; the lease is looked at again before everything that is sent."""
        while not self._stopping.is_set() and self._outbox.is_due(self._targets, self._clock()):
            if not self._lease.acquire(self._clock()):
                return
            if found := self._outbox.due(self._targets, self._clock(), self._limit):
                self._send(found)


class KafkaDelivery:
    """Predictions, dead letters and alert events to their topics."""

    def __init__(self, sender: KafkaSender, outbox: Outbox, metrics: StreamMetrics, clock: Clock) -> None:
        self._sender, self._outbox, self._metrics, self._clock = sender, outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry]) -> None:
        results = self._sender.send(entries)
        delivered = [entry for entry in entries if results[entry.id] is None]
        if delivered:
            self._outbox.mark_done(delivered, "sent", self._clock())
        for entry in delivered:
            self._metrics.outbox_sent.labels(entry.target.removeprefix(KAFKA_PREFIX)).inc()
        for entry in entries:
            error = results[entry.id]
            if error is not None:
                log.error("not sent to %s, tried again later: %s", entry.target, error)
                self._metrics.outbox_failed.labels(entry.target.removeprefix(KAFKA_PREFIX)).inc()
                self._outbox.mark_failed(entry, error, self._clock())


class PageDelivery:
    """Pages to webhooks and channels; what waits in one lane and says the same of a rule goes as one."""

    def __init__(
        self, webhooks: Webhooks, channels: Channels, outbox: Outbox, metrics: AlertMetrics, clock: Clock
    ) -> None:
        self._webhooks, self._channels = webhooks, channels
        self._outbox, self._metrics, self._clock = outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry]) -> None:
        """Deliver one page: the lease is looked at again before the next."""
        first = entries[0]
        lane = [entry for entry in entries if (entry.target, entry.lane) == (first.target, first.lane)]
        _, same = next(groupby(lane, lambda entry: msgspec.json.decode(entry.body)["state"]))
        self._deliver(first.target, list(same))

    def _deliver(self, target: str, entries: list[OutboxEntry]) -> None:
        page, now = grouped([msgspec.json.decode(entry.body) for entry in entries]), self._clock()
        failure = self._send(target, page)
        if failure is not None and now - entries[0].created_at > GIVEN_UP:
            failure = Failure(f"{failure.reason}, for {GIVEN_UP.days} days", recoverable=False)
        receiver = target.partition(":")[2]
        self._metrics.pages.labels(receiver, outcome(failure)).inc()
        if failure is None or not failure.recoverable:
            self._outbox.mark_done(entries, outcome(failure), now)
        else:
            self._outbox.mark_failed(entries[0], failure.reason, now)
        if failure is not None:
            again = "tried again later" if failure.recoverable else "given up"
            log.error("%s page to receiver %s %s: %s", page["state"], receiver, again, failure.reason)

    def _send(self, target: str, page: dict[str, Any]) -> Failure | None:
        if target.startswith(CHANNEL):
            ended = page["state"] == AlertState.RESOLVED
            return self._channels.send(target.removeprefix(CHANNEL), *as_text(page), ended=ended)
        return self._webhooks.send(target.removeprefix(WEBHOOK), msgspec.json.encode(page))


class AlertmanagerRunner:
    """Tells Alertmanager what fires and what ended, from SQL, where this monitor runs the alerts.

    Told again and again while it fires, as Prometheus does, so that a restart of either side loses nothing;
    at once where something changed.
    """

    def __init__(
        self,
        names: Sequence[str],
        managers: Webhooks,
        alerts: SqlEpisodeStore,
        rules: RuleFile,
        delivery: Delivery,
        lease: Lease,
        metrics: AlertMetrics,
        resend: timedelta,
        clock: Clock,
    ) -> None:
        self._names, self._managers, self._alerts = names, managers, alerts
        self._rules, self._delivery, self._lease = rules, delivery, lease
        self._metrics, self._resend, self._clock = metrics, resend, clock
        self._told: dict[str, tuple[datetime, set[str]]] = {}

    def once(self) -> None:
        now = self._clock()
        if not self._names:
            return
        found = [alert for alert in self._alerts.open_alerts() if alert.fired_at]
        found += self._alerts.past_alerts(now - 4 * self._resend)
        keys = {page_key(alert) for alert in found}
        due = [name for name in self._names if found and self._is_due(name, keys, now)]
        if not due or not self._lease.acquire(now):
            return
        by_name = {rule.name: rule for rule in self._rules.rules}
        ends_at = now + 4 * self._resend
        body = msgspec.json.encode(
            [as_alert(a, by_name.get(a.rule), ends_at, self._delivery.link(a)) for a in found]
        )
        for name in due:
            failure = self._managers.send(name, body)
            self._metrics.pages.labels(name, outcome(failure)).inc()
            if failure is None or not failure.recoverable:
                self._told[name] = (now, keys)
            if failure is not None:
                log.error("alerts not told to %s: %s", name, failure.reason)

    def _is_due(self, name: str, keys: set[str], now: datetime) -> bool:
        if name not in self._told:
            return True
        at, known = self._told[name]
        return now - at >= self._resend or not keys <= known


class HeartbeatRunner:
    """Sends a document that says nothing, and looks when the latest of them arrived in SQL: outbox, Kafka,
    classifier and store all work.  Without words it gets no label and counts in no aggregate."""

    def __init__(self, store: Store, topic: str, metrics: StreamMetrics, clock: Clock) -> None:
        self._store, self._topic = store, topic
        self._metrics, self._clock = metrics, clock
        self._started = clock()

    def once(self) -> None:
        now = self._clock()
        stamp = now.isoformat()
        message = {"id": stamp, "source": HEARTBEAT_SOURCE, "published_at": stamp, "text": "-", "lang": "zxx"}
        with writing(self._store.engine) as connection:
            enqueue(connection, [to_kafka(self._topic, [(f"{HEARTBEAT_SOURCE}/{stamp}", message)])], now)
        scope = Scope(None, tuple(Kind), now - REMEMBERED, now, Selection((HEARTBEAT_SOURCE,)))
        # One that never arrives must be missed too.
        heard = self._store.reads.last_seen_by_source(scope).get(HEARTBEAT_SOURCE, self._started)
        self._metrics.heartbeat.set(heard.timestamp())


class PurgeRunner:
    """Erases old texts, where this monitor holds the lease."""

    def __init__(self, store: Store, lease: Lease, keep: timedelta | None, clock: Clock) -> None:
        """`keep` is how long texts are kept; None: for ever, and heartbeats alone are deleted."""
        self._store, self._lease, self._keep, self._clock = store, lease, keep, clock

    def once(self) -> None:
        now = self._clock()
        if not self._lease.acquire(now):
            return
        done = purge(self._store, now - self._keep if self._keep else EPOCH, now)
        if done.documents:
            log.info("%d documents lost their texts, %d alerts their evidence", done.documents, done.alerts)


class TopicWatch:
    """Ends the process when a topic was deleted and made anew: its offsets begin again at 0.

    A start reads the topics' incarnations again; going on would take new messages for known ones.
    """

    def __init__(self, kafka: KafkaSettings, incarnations: Mapping[str, str]) -> None:
        self._kafka, self._incarnations = kafka, incarnations

    def once(self) -> None:
        found = admin.incarnations(self._kafka, self._incarnations)
        for topic, incarnation in self._incarnations.items():
            if found[topic] != incarnation:
                raise RuntimeError(f"the topic {topic!r} was deleted and created anew: start again")


class Watchdog:
    """Shows the lag, and ends the process when everything answers and nothing moves."""

    def __init__(
        self,
        worker: Worker[Any],
        pipeline: Pipeline,
        store: Store,
        kafka: KafkaSettings,
        metrics: StreamMetrics,
        stuck_seconds: float,
    ) -> None:
        self._worker, self._pipeline, self._store, self._kafka = worker, pipeline, store, kafka
        self._metrics, self._stuck = metrics, stuck_seconds
        self._moved_at = time.monotonic()
        self._answered_at = time.monotonic()
        self.broker_away = False

    @property
    def database_away(self) -> bool:
        """Whether the database has not answered for a while; one that froze gives no error either."""
        return time.monotonic() - self._answered_at > AWAY_SECONDS

    def once(self) -> None:
        self._look_for_broker()
        self._metrics.dependency_up.labels("database").set(int(not self.database_away))
        # How many wait in a broker that is away, nobody knows.
        waiting = {} if self.broker_away else dict(self._worker.waiting)
        self._metrics.show_lag(waiting, dict(self._worker.caught_up))
        self._watch()

    def ask_database(self) -> None:
        """To be called from a thread of its own, since it may hang."""
        self._store.ping()
        self._answered_at = time.monotonic()

    def _look_for_broker(self) -> None:
        away = not admin.answers(self._kafka)
        if away and not self.broker_away:
            log.error("no broker answers at %s, waiting", self._kafka.bootstrap_servers)
        if self.broker_away and not away:
            log.info("a broker answers at %s again", self._kafka.bootstrap_servers)
        self.broker_away = away
        self._metrics.dependency_up.labels("broker").set(int(not away))

    def _watch(self) -> None:
        """Raises RuntimeError, which ends the process, when waiting any longer cannot help."""
        worker, now = self._worker, time.monotonic()
        observed = worker.observed_at is not None and now - worker.observed_at < self._stuck
        resting = observed and worker.joined_at is not None and not any(worker.waiting.values())
        if resting or self.broker_away or self.database_away or self._pipeline.trouble is not None:
            self._moved_at = now
            return
        still = now - max(self._moved_at, worker.last_batch_at or 0.0)
        if still > self._stuck:
            raise RuntimeError(
                f"{self._stuck_at()} for {still:.0f} s although broker and database answer: "
                "the process ends, so that a supervisor starts it anew"
            )

    def _stuck_at(self) -> str:
        if self._worker.joined_at is None:
            return "the consumer group was not joined"
        return f"{sum(self._worker.waiting.values())} messages wait and no batch was committed"
