"""The Grafana panels say what the metrics behind them measure."""

import json
import re
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from models.inference.metrics import ModelMetrics
from tests.conftest import ROOT

DASHBOARDS = ROOT / "docker" / "grafana" / "dashboards"


def panels() -> Iterator[dict[str, Any]]:
    for file in sorted(DASHBOARDS.glob("*.json")):
        yield from json.loads(file.read_text(encoding="utf-8"))["panels"]


def test_the_token_panel_leaves_padding_out_as_its_metric_does() -> None:
    registry = CollectorRegistry()
    ModelMetrics(registry)
    (help_text,) = [m.documentation for m in registry.collect() if m.name == "sentiment_inference_tokens"]
    (panel,) = [panel for panel in panels() if "sentiment_inference_tokens_total" in json.dumps(panel)]
    leaves_padding_out = re.compile(r"without padding|padding (is )?(left out|excluded)")
    assert leaves_padding_out.search(help_text)
    assert leaves_padding_out.search(panel["description"])
