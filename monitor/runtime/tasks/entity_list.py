"""Reads the house's file of entities again when it changes, and links texts with it from then on."""

import logging

from models.entities.gazetteer import Gazetteer
from models.entities.house_file import HouseFile
from models.entities.linker import Linker
from models.entities.metrics import EntityMetrics
from models.errors import GazetteerError
from monitor.runtime.classifier import Classifier

log = logging.getLogger(__name__)


class EntityList:
    """Each monitor does this for its own classifier."""

    def __init__(self, *, file: HouseFile, classifier: Classifier, metrics: EntityMetrics) -> None:
        self._file, self._classifier, self._metrics = file, classifier, metrics
        if classifier.gazetteer is not None:
            metrics.show(classifier.gazetteer.version)

    def run_once(self) -> None:
        """Use a changed file; while it has errors, keep the list that is loaded."""
        try:
            if not self._file.changed():
                return
            gazetteer = Gazetteer.load(self._file.path)
            if self._classifier.gazetteer is None or self._classifier.gazetteer.version != gazetteer.version:
                self._use(Linker(gazetteer))
        except GazetteerError as error:
            self._metrics.usable.set(0)
            log.error("the file of entities has errors, keeping the list loaded before: %s", error)
        except Exception:  # whatever is in the file, it ends no running monitor
            self._metrics.usable.set(0)
            log.exception("the file of entities cannot be used, keeping the list loaded before")
        else:
            self._metrics.usable.set(1)

    def _use(self, linker: Linker) -> None:
        linker.load()
        self._classifier.use(linker)
        version, entities = linker.gazetteer.version, linker.gazetteer.entities
        self._metrics.show(version)
        log.info(
            "loaded %d entities with %s, list %s; `monitor backfill entities` links stored documents with it",
            len(entities),
            self._file.path,
            version,
        )
