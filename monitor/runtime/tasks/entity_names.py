"""Stores the names of the entities in SQL, when the classifier has another list of them."""

import logging

from monitor.runtime.classifier import Classifier
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities

log = logging.getLogger(__name__)


class EntityNames:
    """Each monitor does this: whoever is the first with a new list stores it."""

    def __init__(self, *, store: Store, classifier: Classifier) -> None:
        self._store, self._classifier = store, classifier
        self._seen: str | None = None

    def run_once(self) -> None:
        """Raises StoreUnavailable."""
        gazetteer = self._classifier.gazetteer
        if gazetteer is None or gazetteer.version == self._seen:
            return
        rows = [
            EntityRow(each.id, each.kind, each.name, each.chinese_name)
            for each in gazetteer.entities.values()
        ]
        if store_entities(self._store, gazetteer.version, rows):
            log.info("stored the names of %d entities, list %s", len(rows), gazetteer.version)
        self._seen = gazetteer.version
