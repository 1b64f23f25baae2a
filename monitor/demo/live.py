"""The live table in the terminal.  Texts from outside are shown as text, never as markup."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from monitor.runtime.assembly import utc_now
from monitor.runtime.daemon import Daemon
from stream.domain.alerts import Alert
from stream.domain.documents import printable
from stream.domain.errors import StoreUnavailable
from stream.domain.sums import Aggregate

TREND = ((0.1, "↑", "green"), (-0.1, "↓", "red"))
REFRESH_SECONDS = 0.5
SHOWN_EVENTS = 6
SHOWN_ALERTS = 20


class LiveTable:
    """Draws the latest mood and alerts from the database twice a second, until closed."""

    def __init__(self, daemon: Daemon, console: Console, phase: Callable[[], str]) -> None:
        """`phase` says what the sample feed does now."""
        self._daemon, self._monitor = daemon, daemon.monitor
        self._console, self._phase = console, phase
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._last_states: dict[str, str] = {}
        self._events: deque[Text] = deque(maxlen=SHOWN_EVENTS)

    def __enter__(self) -> "LiveTable":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        with Live(console=self._console, refresh_per_second=4, transient=False) as live:
            while not self._stopping.wait(REFRESH_SECONDS):
                try:
                    live.update(self._view(utc_now()))
                except StoreUnavailable as error:
                    live.update(Text(f"database unavailable: {error}", style="red"))

    def _view(self, now: datetime) -> Group:
        width = timedelta(seconds=self._monitor.settings.stream.mood_seconds)
        latest = _by_topic(self._monitor.store.reads.sums(now - width, now))
        before = _by_topic(self._monitor.store.reads.sums(now - 2 * width, now - width))
        alerts = self._monitor.episodes.recent_alerts(SHOWN_ALERTS)
        self._add_events(alerts)
        table = Table(title=None, expand=True, show_edge=False)
        for heading, side in (("topic", "left"), (f"texts in {width.seconds} s", "right"),
                              ("mean score", "right"), ("trend", "center"),
                              ("negative", "right"), ("alert", "left")):  # fmt: skip
            table.add_column(heading, justify=side)  # type: ignore[arg-type]
        firing = {alert.topic: alert for alert in alerts if alert.state in ("firing", "pending")}
        for topic in sorted(latest, key=lambda topic: -latest[topic].n):
            table.add_row(*_row(latest[topic], before.get(topic), firing.get(topic)))
        events = Group(*self._events) if self._events else Text("no alert yet", style="dim")
        return Group(self._head(), table, Panel(events, title="alerts", title_align="left"), self._foot())

    def _head(self) -> Text:
        return Text.assemble(("sentiment monitor  ", "bold"), self._phase())

    def _foot(self) -> Text:
        classified = self._monitor.count_documents("ok", "uncertain")
        waiting = self._monitor.worker.waiting
        lag = sum(waiting.values()) if waiting else "unknown how many"
        return Text(
            f"{classified} texts classified, {lag} waiting in Kafka   "
            f"metrics: {self._daemon.url}/metrics   Ctrl-C stops",
            style="dim",
        )

    def _add_events(self, alerts: list[Alert]) -> None:
        """Add lines for the alerts that fired or resolved since the last call."""
        for alert in alerts:
            if self._last_states.get(alert.id) == alert.state:
                continue
            self._last_states[alert.id] = alert.state
            if alert.state == "firing":
                at = alert.fired_at or alert.since
                self._events.append(
                    Text(f"{at:%H:%M:%S} FIRING {alert.rule}: {alert.summary}", style="bold red")
                )
                for item in alert.evidence[:3]:
                    headline = item.content.partition("\n")[0]
                    story = printable(f"{item.source}: {headline}")
                    self._events.append(Text(f"   {item.score:+.2f} {story}", style="red"))
            if alert.state == "resolved" and alert.resolved_at:
                text = f"{alert.resolved_at:%H:%M:%S} resolved {alert.rule}: {alert.subject}"
                self._events.append(Text(text, style="green"))


def _by_topic(parts: list[Aggregate]) -> dict[str, Aggregate]:
    topics: dict[str, Aggregate] = {}
    for part in parts:
        topics[part.topic] = topics[part.topic] + part if part.topic in topics else part
    return topics


def _row(latest: Aggregate, before: Aggregate | None, alert: Alert | None) -> list[Text]:
    mean, share = latest.mean or 0.0, latest.negative_share or 0.0
    past = before.mean if before else None
    arrow, style = "·", "dim"
    if past is not None:
        for bound, sign, colour in TREND:
            if (mean - past) / bound >= 1:
                arrow, style = sign, colour
    colour = "green" if mean > 0.15 else "red" if mean < -0.15 else ""
    state = Text(alert.state.upper(), style="bold white on red") if alert else Text("")
    return [
        Text(latest.topic),
        Text(str(latest.n)),
        Text(f"{mean:+.2f}", style=colour),
        Text(arrow, style=style),
        Text(f"{share:.0%}"),
        state,
    ]
