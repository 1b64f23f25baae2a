"""Write the Grafana dashboards into dashboards/: one for the desk, one for the operator.

Run it with:

    .venv/bin/python docker/grafana/build.py

The dashboards are built with Grafana's SDK, which rejects fields that Grafana does not have.
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
    """A query for Grafana's PostgreSQL data source. The SDK has no class for it."""

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
    """An annotation query: its rows (time, timeend, text, tags) are shown as regions on every panel."""

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


def with_common_options(panel: Any, title: str, description: str, unit: str, queries: tuple[Any, ...]) -> Any:
    """Set title, description, unit, queries and data source."""
    for number, query in enumerate(queries):
        panel = panel.with_target(query.ref_id(chr(65 + number)) if hasattr(query, "ref_id") else query)
    source = POSTGRES if isinstance(queries[0], Sql) else PROMETHEUS
    return panel.title(title).description(description).unit(unit).datasource(source)


def lines(title: str, description: str, unit: str, *queries: Any) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    legend = legend.display_mode(common_models.LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    tooltip = tooltip.sort(common_models.SortOrder.DESCENDING)
    panel = with_common_options(timeseries.Panel(), title, description, unit, queries)
    return panel.legend(legend).tooltip(tooltip).line_width(1).fill_opacity(8).span(12).height(8)


def number(
    title: str, description: str, unit: str, query: Any, *steps: tuple[float, str], base: str = GREEN
) -> stat.Panel:
    """A single number. `steps` are the thresholds with their colours; `base` is the colour below them."""
    thresholds = [models.Threshold(value=None, color=base)]
    thresholds += [models.Threshold(value=value, color=colour) for value, colour in steps]
    limits = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)
    return (
        with_common_options(stat.Panel(), title, description, unit, (query,))
        .thresholds(limits)
        .span(6)
        .height(4)
    )


def strip(title: str, description: str, *queries: Any) -> statetimeline.Panel:
    """A state timeline: one strip a series, calm or alert."""
    mapping = models.ValueMap(
        options={
            "0": models.ValueMappingResult(text="calm", color="#8fb7a0", index=0),
            "1": models.ValueMappingResult(text="alert", color=RED, index=1),
        }
    )
    panel = with_common_options(statetimeline.Panel(), title, description, "none", queries)
    return panel.mappings([mapping]).show_value(common_models.VisibilityMode.NEVER).span(24).height(8)


def rows(title: str, description: str, sql: str, links: dict[str, str] | None = None) -> table.Panel:
    """A table from SQL. `links` maps a column to the address that a click on it opens."""
    panel = with_common_options(table.Panel(), title, description, "none", (Sql(sql),)).span(24).height(9)
    for column, address in (links or {}).items():
        link = {"title": "Open", "url": address, "targetBlank": True}
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="links", value=[link])])
    return panel


def desk() -> dashboard.Dashboard:
    """The desk's dashboard: mood by topic, firing alerts and the texts behind them."""
    built = (
        dashboard.Dashboard("Sentiment: the desk")
        .uid("sentiment-desk")
        .description("Mood by topic, firing alerts, and the texts behind them.")
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
        number("Firing alerts", "Alert episodes that are firing or flapping now.", "short",
               prom('sum(sentiment_alert_state{state=~"firing|flapping"})', instant=True), (1, RED)),
        number("Mean score", "Average over all topics of the mean score of their recent texts, from -1 (negative) to 1 (positive).", "none",
               prom('avg(sentiment_mean_score{kind=~"$kind"})', instant=True)).decimals(2),
        number("Negative texts", "Share of negative texts among those classified in the last hour.", "percentunit",
               prom("""sum(increase(sentiment_predictions_total{sentiment="negative",kind=~"$kind"}[1h]))
                       / sum(increase(sentiment_predictions_total{kind=~"$kind"}[1h]))""", instant=True),
               (0.4, AMBER), (0.6, RED)),
        number("Texts classified", "Texts that got a label in the last hour.", "short",
               prom('sum(increase(sentiment_predictions_total{kind=~"$kind"}[1h]))', instant=True)).decimals(0),
        lines("Mood by topic", "Mean score of each topic's recent texts. A topic without texts shows a gap.", "none",
              prom('avg by (topic) (sentiment_mean_score{kind=~"$kind"})', "{{topic}}")).min(-1).max(1),
        lines("Negative share by topic", "Share of negative texts among each topic's recent texts.", "percentunit",
              prom('avg by (topic) (sentiment_negative_share{kind=~"$kind"})', "{{topic}}")).min(0).max(1),
        lines("Negative texts by topic", "Negative texts per minute, averaged over 15 minutes. A surge stands out.",
              "cpm", prom("""60 * sum by (topic)
              (rate(sentiment_predictions_total{sentiment="negative",kind=~"$kind"}[15m])) > 0""", "{{topic}}")),
        lines("All texts by topic", "Texts of any sentiment per minute, averaged over 15 minutes.", "cpm",
              prom('60 * sum by (topic) (rate(sentiment_predictions_total{kind=~"$kind"}[15m])) > 0', "{{topic}}")),
        lines("Voices and copies", "Texts per minute by what they say, averaged over 15 minutes: a voice has words of its own, a copy repeats another text, and other is one more of an origin that had its voice on the story. Rules count voices.",
              "cpm", prom("60 * sum by (result) (rate(sentiment_story_documents_total[15m]))", "{{result}}")),
        lines("Mood towards the watchlist", "Mean score towards each entity of alerts.watchlist in its recent texts. An entity without texts shows a gap.", "none",
              prom("""sum by (entity) (sentiment_entity_mean_score{kind=~"$kind"} * sentiment_entity_documents)
              / sum by (entity) (sentiment_entity_documents{kind=~"$kind"})""", "{{entity}}")).min(-1).max(1),
        lines("Negative texts about the watchlist", "Recent texts that are negative towards each entity of alerts.watchlist.", "short",
              prom('sum by (entity) (sentiment_entity_negative_documents{kind=~"$kind"}) > 0', "{{entity}}")),
        strip("Rules over time", "A rule's strip is red while the rule fires on any topic.",
              prom('max by (rule) (sentiment_alert_state{state=~"firing|flapping"}) > bool 0', "{{rule}}")),
        rows("Incidents", "The most recent incidents: the alerts of one event. Click an id to open its evidence.",
             """SELECT began_at, severity, title, json_array_length(alerts) AS alerts, paged_number AS pages,
                    ended_at, id
                FROM incidents WHERE began_at <= $__timeTo() AND coalesce(ended_at, now()) >= $__timeFrom()
                ORDER BY began_at DESC LIMIT 100""",
             {"id": "${monitor}/incidents/${__value.raw}"}),
        rows("Alerts", "The most recent alert episodes. Click an id to open its evidence.",
             """SELECT since, state, severity, rule, topic, coalesce(nullif(message, ''), summary) AS what,
                    uncertainty, n, counted, stories_text, resolved_at, incident, id
                FROM alerts WHERE since <= $__timeTo() AND coalesce(resolved_at, now()) >= $__timeFrom()
                ORDER BY since DESC LIMIT 100""",
             {"id": "${monitor}/alerts/${__value.raw}"}),
        rows("Who the texts are about", "The entities with the most negative texts in the selected time range, by whole hours: texts, negative ones, and the mean score towards the entity, with a relevance of 20 or more.",
             """SELECT coalesce(entities.name, entity) AS name, entity, sum(n) AS texts, sum(negative) AS negative,
                    round(sum(score_sum) / sum(n) / 10000, 2) AS score
                FROM entity_aggregates LEFT JOIN entities ON entities.id = entity
                WHERE width = 3600 AND band >= 20 AND $__timeFilter(window_start)
                GROUP BY entity, entities.name ORDER BY negative DESC, texts DESC LIMIT 50"""),
        rows("Stories", "The stories of the selected time range that most origins tell in words of their own: voices, all documents, and copies.",
             """SELECT stories.first_seen_at, stories.voices, stories.documents, stories.copies,
                    coalesce(nullif(central.title, ''), central.text) AS text, central.source, stories.id AS story
                FROM stories JOIN documents AS central ON central.key = stories.central_key
                WHERE $__timeFilter(last_seen_at)
                ORDER BY stories.voices DESC, stories.documents DESC LIMIT 50"""),
        rows("What the texts report", "The events that the most texts report in the selected time range: texts, and negative ones.",
             """SELECT type AS event, count(*) AS texts,
                    count(*) FILTER (WHERE sentiment = 'negative') AS negative, max(reported_at) AS latest
                FROM (SELECT key, type, published_at AS reported_at FROM event_labels) AS reported
                JOIN documents USING (key) WHERE $__timeFilter(reported_at)
                GROUP BY type ORDER BY texts DESC, type LIMIT 50"""),
        rows("Most negative texts", "The most negative texts in the selected time range.",
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
    """The operator's dashboard: is the daemon healthy, and if not, which part is not?"""
    built = (
        dashboard.Dashboard("Sentiment: the monitor")
        .uid("sentiment-monitor")
        .description("Lag, throughput, latency, dead letters, deliveries and input drift.")
        .tags(["sentiment"])
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    panels = [
        number("Alerts about the monitor", "Prometheus alerts about the monitor itself that are firing.", "short",
               prom('count(ALERTS{alertname=~"Sentiment.+",alertstate="firing"}) or vector(0)', instant=True),
               (1, RED)),
        number("Time behind Kafka", "Time since everything in Kafka was last in SQL.", "s",
               prom("time() - min(sentiment_caught_up_timestamp_seconds)", instant=True),
               (30, AMBER), (120, RED)),
        number("Since the last commit", "Time since a batch was last committed to SQL.", "s",
               prom("time() - max(sentiment_last_commit_timestamp_seconds)", instant=True),
               (180, AMBER), (600, RED)),
        number("Broker and database", "1 while the broker and the database answer every monitor.", "none",
               prom("min(sentiment_dependency_up)", instant=True), (1, GREEN), base=RED),
        lines("Lag by partition", "Messages in Kafka that are not yet in SQL.", "short",
              prom("sum by (kafka_topic, partition) (sentiment_consumer_lag_messages)",
                   "{{kafka_topic}} {{partition}}")),
        lines("Throughput", "Messages per second by outcome.", "cps",
              prom("sum by (outcome) (rate(sentiment_documents_total[5m]))", "{{outcome}}")),
        lines("Batch size", "Documents per batch and texts per forward pass: median and 99th percentile.", "short",
              *quantiles("sentiment_batch_documents", "batch"),
              *quantiles("sentiment_inference_batch_texts", "forward pass")),
        lines("Latency", "Duration of a forward pass and of a batch's SQL transaction: median and 99th percentile.", "s",
              *quantiles("sentiment_inference_seconds", "forward pass"),
              *quantiles("sentiment_commit_seconds", "commit")),
        lines("Tokens", "Tokens per second through the network, without padding.", "cps",
              prom("sum(rate(sentiment_inference_tokens_total[5m]))", "tokens")),
        lines("Dead letters", "Messages refused within five minutes, by reason.", "short",
              prom("sum by (reason) (increase(sentiment_dead_letters_total[5m]))", "{{reason}}")),
        lines("Late and truncated texts", "Texts within five minutes that arrived late or were too long to be read whole.", "short",
              prom("sum by (kind) (increase(sentiment_late_documents_total[5m]))", "late {{kind}}"),
              prom("sum(increase(sentiment_truncated_documents_total[5m]))", "truncated")),
        lines("Corrected and changed stories", "Documents within five minutes that were sent again with another text: corrected ones replaced the stored text; changed ones carry no newer time, and the first text stays.", "short",
              prom('sum by (outcome, kind) (increase(sentiment_documents_total{outcome=~"corrected|changed"}[5m]))',
                   "{{outcome}} {{kind}}")),
        lines("Unsupported sources", "Sources whose texts are mostly without a label: another language, or no words. The log and `monitor doctor` name them.", "short",
              prom("max by (kind) (sentiment_unsupported_sources)", "{{kind}}")),
        lines("Input drift", "Population stability index of recent texts against the training texts. Investigate above 0.25.", "none",
              prom("max by (language, feature) (sentiment_input_drift_ratio)", "{{language}} {{feature}}")),
        lines("Second opinion", "Labelled texts per second by whose labels they have, and labels per second that the second opinion changed in mode auto.", "cps",
              prom("sum by (by) (rate(sentiment_inference_opinions_total[5m]))", "{{by}}"),
              prom("sum by (task) (rate(sentiment_inference_changed_labels_total[5m]))", "changed {{task}}")),
        lines("Outbox", "Entries waiting to be sent: predictions, dead letters, alerts and pages.", "short",
              prom("max(sentiment_outbox_entries)", "entries")),
        lines("Pages", "Pages within five minutes by receiver and outcome.", "short",
              prom("sum by (receiver, outcome) (increase(sentiment_pages_total[5m]))", "{{receiver}} {{outcome}}")),
        lines("Since the last rule evaluation", "Time since the monitor that holds the lease last evaluated the rules.", "s",
              prom("time() - max(sentiment_alert_evaluation_timestamp_seconds > 0)", "since")),
        lines("Stories behind", "How long the oldest document has waited for its story. Above 10 s rules that need stories wait, above 60 s they count texts.", "s",
              # Nothing waits, or the database does not answer: only the first is 0.
              prom("""max(time() - sentiment_story_waiting_timestamp_seconds >= 0)
                      or 0 * min(sentiment_dependency_up{dependency="database"} == 1)""", "behind")),
        lines("Rules without stories", "Rules that count texts instead of voices or stories, and evaluations per second that wait for stories.", "short",
              prom("max(sentiment_alert_rules_counting_texts)", "count texts"),
              prom("sum(rate(sentiment_alert_evaluations_waited_total[5m]))", "waited a second")),
        lines("Memory", "Resident memory of each monitor.", "bytes",
              prom('process_resident_memory_bytes{job="sentiment-monitor"}', "{{instance}}")),
        rows("Deliveries", "The most recent pages and their outcome.",
             """SELECT queued_at, target, key, coalesce(outcome, 'waiting') AS outcome, settled_at
                FROM deliveries WHERE $__timeFilter(queued_at) ORDER BY queued_at DESC LIMIT 100"""),
        rows("Dead letters by reason", "Why messages were refused, and how many nobody sent again. Their payloads are on the dead-letters topic in Kafka: `monitor dead-letters send` sends them again.",
             """SELECT reason, count(*) AS messages, count(*) FILTER (WHERE sent_at IS NULL) AS unsent,
                    max(seen_at) AS last, max(detail) AS example
                FROM dead_letters WHERE $__timeFilter(seen_at) GROUP BY reason ORDER BY messages DESC"""),
    ]  # fmt: skip
    for panel in panels:
        built = built.with_panel(panel)
    return built


def encoded(built: dashboard.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def files() -> dict[str, str]:
    """The JSON text of each dashboard file by name."""
    return {"desk.json": encoded(desk()), "monitor.json": encoded(operator())}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
