"""Which versions run: a metric with the value 1, to compare monitors and to see upgrades."""

import importlib.metadata
import platform

from prometheus_client import CollectorRegistry, Info

PACKAGE = "sentiment-monitor"


class BuildMetrics:
    """The versions of the program and of Python and, once it is loaded, of the model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Info(
            "sentiment_build",
            "Versions of the program (version), of Python, and of the model, empty until it is loaded",
            registry=registry,
        )
        self.show_model("")

    def show_model(self, version: str) -> None:
        """The model that is loaded."""
        versions = {"version": program_version(), "model": version, "python": platform.python_version()}
        self._info.info(versions)


def program_version() -> str:
    """The version of this program; "unknown" if it runs from files that are not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
