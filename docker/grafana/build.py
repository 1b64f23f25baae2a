"""Writes the Grafana dashboards, one for the desk and one for the operator, beside this file:

    .venv/bin/python docker/grafana/build.py

They are built with Grafana's own SDK, so that what Grafana does not know is an error here.
"""

from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="prometheus")
POSTGRES = models.DataSourceRef(type_val="grafana-postgresql-datasource", uid="postgres")
RED, GREEN, AMBER = "#c0392b", "#2e9d5b", "#e0a100"


class SqlQuery(variants.Dataquery):
    """A query of Grafana's PostgreSQL data source, which the SDK has no class for."""

    def __init__(self, sql: str) -> None:
        self.sql = " ".join(sql.split())

    def to_json(self) -> dict[str, object]:
        return {
            "refId": "A", "datasource": POSTGRES, "format": "table", "rawQuery": True,
            "editorMode": "code", "rawSql": self.sql,
        }  # fmt: skip


class Sql(Builder[variants.Dataquery]):
    def __init__(self, sql: str) -> None:
        self.query = SqlQuery(sql)

    def build(self) -> variants.Dataquery:
        return self.query


class SqlAnnotation(models.AnnotationQuery):
    """Rows with time, timeend, text and tags as stretches on every panel."""

    def __init__(self, name: str, colour: str, sql: str) -> None:
        super().__init__(name=name, datasource=POSTGRES, enable=True, icon_color=colour, built_in=None)
        self.sql = SqlQuery(sql)

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"target": self.sql}


class Annotation(Builder[models.AnnotationQuery]):
    def __init__(self, name: str, colour: str, sql: str) -> None:
        self.query = SqlAnnotation(name, colour, sql)

    def build(self) -> models.AnnotationQuery:
        return self.query


def prom(expr: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(" ".join(expr.split())).datasource(PROMETHEUS)
    query = query.legend_format(legend) if legend else query
    return query.instant() if instant else query.range()


def dress(panel: Any, title: str, description: str, unit: str, queries: tuple[Any, ...]) -> Any:
    """What every panel has."""
    for number, query in enumerate(queries):
        panel = panel.with_target(query.ref_id(chr(65 + number)) if hasattr(query, "ref_id") else query)
    source = POSTGRES if isinstance(queries[0], Sql) else PROMETHEUS
    return panel.title(title).description(description).unit(unit).datasource(source)


def lines(title: str, description: str, unit: str, *queries: Any) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    legend = legend.display_mode(common_models.LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    tooltip = tooltip.sort(common_models.SortOrder.DESCENDING)
    panel = dress(timeseries.Panel(), title, description, unit, queries)
    return panel.legend(legend).tooltip(tooltip).line_width(1).fill_opacity(8).span(12).height(8)


def number(
    title: str, description: str, unit: str, query: Any, *steps: tuple[float, str], base: str = GREEN
) -> stat.Panel:
    """One figure; `steps` are the values from which it changes its colour, `base` that below them."""
    found = [models.Threshold(value=None, color=base)]
    found += [models.Threshold(value=value, color=colour) for value, colour in steps]
    limits = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)
    return dress(stat.Panel(), title, description, unit, (query,)).thresholds(limits).span(6).height(4)


def strip(title: str, description: str, *queries: Any) -> statetimeline.Panel:
    """A strip for each series: calm, or an alert."""
    mapping = models.ValueMap(
        options={
            "0": models.ValueMappingResult(text="calm", color="#8fb7a0", index=0),
            "1": models.ValueMappingResult(text="alert", color=RED, index=1),
        }
    )
    panel = dress(statetimeline.Panel(), title, description, "none", queries)
    return panel.mappings([mapping]).show_value(common_models.VisibilityMode.NEVER).span(24).height(8)


def rows(title: str, description: str, sql: str, links: dict[str, str] | None = None) -> table.Panel:
    """A table out of SQL; `links` are columns by name and the address that a click opens."""
    panel = dress(table.Panel(), title, description, "none", (Sql(sql),)).span(24).height(9)
    for column, address in (links or {}).items():
        link = {"title": "Open", "url": address, "targetBlank": True}
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="links", value=[link])])
    return panel


def desk() -> dashboard.Dashboard:
    """The mood by topic, what fires and why."""
    built = (
        dashboard.Dashboard("Sentiment: the desk")
        .uid("sentiment-desk")
        .description("Each topic's mood, what is surging, and the texts behind it.")
        .tags(["sentiment"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    address = (
        dashboard.TextBoxVariable("monitor").label("Monitor's address").default_value("http://127.0.0.1:9108")
    )
    kind = (
        dashboard.CustomVariable("kind")
        .label("Kind")
        .values("news,comment")
        .multi(True)
        .include_all(True)
        .all_value("news|comment")
        .current(models.VariableOption(text="All", value="$__all"))
    )
    built = built.with_variable(address).with_variable(kind)
    built = built.annotation(
        Annotation(
            "Alerts", RED,
            """SELECT fired_at AS time, coalesce(resolved_at, now()) AS timeend,
                   rule || ': ' || summary AS text, topic AS tags
               FROM alerts WHERE fired_at <= $__timeTo() AND coalesce(resolved_at, now()) >= $__timeFrom()
               ORDER BY fired_at""",
        )
    )  # fmt: skip
    panels = [
        number("Alerts that fire", "Episodes that are firing or flapping now.", "short",
               prom('sum(sentiment_alert_state{state=~"firing|flapping"})', instant=True), (1, RED)),
        number("Mean score", "Mean score of the latest texts of every topic, from -1 (negative) to 1.", "none",
               prom('avg(sentiment_mean_score{kind=~"$kind"})', instant=True)).decimals(2),
        number("Negative texts", "Share of negatives among the texts judged in the last hour.", "percentunit",
               prom("""sum(increase(sentiment_predictions_total{sentiment="negative",kind=~"$kind"}[1h]))
                       / sum(increase(sentiment_predictions_total{kind=~"$kind"}[1h]))""", instant=True),
               (0.4, AMBER), (0.6, RED)),
        number("Texts judged", "Texts that got a label in the last hour.", "short",
               prom('sum(increase(sentiment_predictions_total{kind=~"$kind"}[1h]))', instant=True)).decimals(0),
        lines("Mood by topic", "Mean score of each topic's latest texts; a topic without texts has a gap.", "none",
              prom('avg by (topic) (sentiment_mean_score{kind=~"$kind"})', "{{topic}}")).min(-1).max(1),
        lines("Share of negatives by topic", "Among each topic's latest texts.", "percentunit",
              prom('avg by (topic) (sentiment_negative_share{kind=~"$kind"})', "{{topic}}")).min(0).max(1),
        lines("Negative texts by topic", "Negative texts a minute, over a quarter of an hour: a surge stands out.",
              "cpm", prom("""60 * sum by (topic)
              (rate(sentiment_predictions_total{sentiment="negative",kind=~"$kind"}[15m])) > 0""", "{{topic}}")),
        lines("All texts by topic", "Texts a minute of any sentiment, over a quarter of an hour.", "cpm",
              prom('60 * sum by (topic) (rate(sentiment_predictions_total{kind=~"$kind"}[15m])) > 0', "{{topic}}")),
        strip("Surges and shifts", "Each rule's strip is red while it fires on some topic.",
              prom('max by (rule) (sentiment_alert_state{state=~"firing|flapping"})', "{{rule}}")),
        rows("Alerts", "The latest episodes; a click on one opens its evidence.",
             """SELECT since, state, severity, rule, topic, coalesce(nullif(message, ''), summary) AS what,
                    uncertainty, n, resolved_at, id
                FROM alerts WHERE since <= $__timeTo() AND coalesce(resolved_at, now()) >= $__timeFrom()
                ORDER BY since DESC LIMIT 100""",
             {"id": "${monitor}/alerts/${__value.raw}"}),
        rows("Top negative stories", "The most negative texts of the time that is shown.",
             """SELECT published_at, round(score / 10000.0, 2) AS score, topic, source,
                    coalesce(nullif(title, ''), text) AS text, symbols::text AS symbols
                FROM documents WHERE $__timeFilter(published_at) AND status = 'ok' AND sentiment = 'negative'
                ORDER BY documents.score, published_at LIMIT 50"""),
    ]  # fmt: skip
    for panel in panels:
        built = built.with_panel(panel)
    return built


def quantiles(metric: str, what: str) -> tuple[Any, ...]:
    return tuple(
        prom(f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[5m])))", f"{what} {name}")
        for q, name in ((0.5, "median"), (0.99, "99 %"))
    )


def operator() -> dashboard.Dashboard:
    """Is the daemon well, and if not, which part of it is not."""
    built = (
        dashboard.Dashboard("Sentiment: the monitor")
        .uid("sentiment-monitor")
        .description("Lag, throughput, latency, what was refused, and the model's drift.")
        .tags(["sentiment"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    panels = [
        number("Alerts about the monitor", "Prometheus alerts about the monitor itself that fire.", "short",
               prom('count(ALERTS{alertname=~"Sentiment.+",alertstate="firing"}) or vector(0)', instant=True),
               (1, RED)),
        number("Behind the feeds", "Since all that Kafka had was last in SQL.", "s",
               prom("time() - min(sentiment_caught_up_timestamp_seconds)", instant=True),
               (30, AMBER), (120, RED)),
        number("Since the last commit", "Since a batch was last written to SQL.", "s",
               prom("time() - max(sentiment_last_commit_timestamp_seconds)", instant=True),
               (180, AMBER), (600, RED)),
        number("Broker and database", "1 while both answer every monitor.", "none",
               prom("min(sentiment_dependency_up)", instant=True), (1, GREEN), base=RED),
        lines("Lag by partition", "Messages in Kafka that are not in SQL yet.", "short",
              prom("sum by (kafka_topic, partition) (sentiment_consumer_lag_messages)",
                   "{{kafka_topic}} {{partition}}")),
        lines("Throughput", "Messages a second by what became of them.", "cps",
              prom("sum by (outcome) (rate(sentiment_documents_total[5m]))", "{{outcome}}")),
        lines("One batch", "Documents of a batch and texts of a forward pass, medians and 99 %.", "short",
              *quantiles("sentiment_batch_documents", "batch"),
              *quantiles("sentiment_inference_batch_texts", "forward pass")),
        lines("Latency", "Seconds of a forward pass and of the SQL transaction of a batch.", "s",
              *quantiles("sentiment_inference_seconds", "forward pass"),
              *quantiles("sentiment_commit_seconds", "commit")),
        lines("Tokens", "Tokens a second through the network, padding included.", "cps",
              prom("sum(rate(sentiment_inference_tokens_total[5m]))", "tokens")),
        lines("Dead letters", "Messages refused in five minutes, by reason.", "short",
              prom("sum by (reason) (increase(sentiment_dead_letters_total[5m]))", "{{reason}}")),
        lines("Late and cut texts", "Texts in five minutes that came late, or were longer than what is read.", "short",
              prom("sum by (kind) (increase(sentiment_late_documents_total[5m]))", "late {{kind}}"),
              prom("sum(increase(sentiment_truncated_documents_total[5m]))", "cut")),
        lines("Drift of what arrives", "Stability index against the training texts; above 0.25, look.", "none",
              prom("max by (language, feature) (sentiment_input_drift_ratio)", "{{language}} {{feature}}")),
        lines("What waits to leave", "Outbox entries: predictions, dead letters, alerts and pages.", "short",
              prom("max(sentiment_outbox_entries)", "entries")),
        lines("Pages", "Pages in five minutes by receiver and outcome.", "short",
              prom("sum by (receiver, outcome) (increase(sentiment_pages_total[5m]))", "{{receiver}} {{outcome}}")),
        lines("Since the rules were evaluated", "Of the monitor that holds the lease.", "s",
              prom("time() - max(sentiment_alert_evaluation_timestamp_seconds > 0)", "since")),
        lines("Memory", "Resident memory of each monitor.", "bytes",
              prom('process_resident_memory_bytes{job="sentiment-monitor"}', "{{instance}}")),
        rows("Deliveries", "The latest pages and what became of them.",
             """SELECT queued_at, target, key, coalesce(outcome, 'waits') AS outcome, settled_at
                FROM deliveries WHERE $__timeFilter(queued_at) ORDER BY queued_at DESC LIMIT 100"""),
        rows("Refused messages", "Why messages became dead letters; the payloads are on their Kafka topic.",
             """SELECT reason, count(*) AS messages, max(seen_at) AS last, max(detail) AS example
                FROM dead_letters WHERE $__timeFilter(seen_at) GROUP BY reason ORDER BY messages DESC"""),
    ]  # fmt: skip
    for panel in panels:
        built = built.with_panel(panel)
    return built


def encoded(built: dashboard.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def files() -> dict[str, str]:
    """What stands in each file of the folder."""
    return {"desk.json": encoded(desk()), "monitor.json": encoded(operator())}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
