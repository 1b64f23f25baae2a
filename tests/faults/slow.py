"""A complete monitor process whose fake classifier takes SLOW_SECONDS for each batch: a worker on a slow machine.

SLOW_SECONDS=2 python -m tests.faults.slow
"""

import os
import time
from collections.abc import Sequence

from monitor.bench.stand_in import StandIn
from monitor.runtime import log, settings
from monitor.runtime.daemon import Daemon
from stream.domain.documents import Prediction, TextInput

SECONDS = float(os.environ.get("SLOW_SECONDS", "0"))


class Slow(StandIn):
    """The stand-in of the benchmarks, and a pause."""

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        time.sleep(SECONDS)
        return super().classify(inputs)


def main() -> None:
    loaded = settings.load()
    log.set_up(loaded.log)
    Daemon.build(loaded, lambda _settings, _registry: Slow(), settings.load).run()


if __name__ == "__main__":
    main()
