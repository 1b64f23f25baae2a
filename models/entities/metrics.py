"""Prometheus metrics of the list of entities."""

from prometheus_client import CollectorRegistry, Gauge, Info


class EntityMetrics:
    """Updated when the house's file of entities is read."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self._info = Info(
            "sentiment_entity_list", "The list of entities that texts are linked to", registry=registry
        )
        self.usable = Gauge(
            "sentiment_entity_list_usable",
            "0 while the house's file of entities has errors and the list loaded before stays in use",
            registry=registry,
        )
        self.usable.set(1)

    def show(self, version: str) -> None:
        """Say which list is in use."""
        self._info.info({"version": version})
