"""Classifiers of no weight for fault runs: labels and entities follow from the text alone.

Labels belong to a model, entities to the version of a gazetteer.  A run changes both, as an operator does, so
`classify` is a function of both, which the oracle calls too.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from monitor.bench.stand_in import VERSION, StandIn
from stream.domain.documents import Prediction, TextInput

if TYPE_CHECKING:
    from models.inference.explain import Explanation

# The model and the gazetteer of the beginning of a run, and those after a change.
MODEL, OTHER_MODEL = VERSION, f"{VERSION}-2"
GAZETTEER, OTHER_GAZETTEER = VERSION, f"{VERSION} with a house file"
# The classifier always fails on texts with this mark.
HOUSE = "FAULTS_HOUSE_FILE"
POISON = "\N{RADIOACTIVE SIGN}"


@lru_cache
def _stand_in(gazetteer: str) -> StandIn:
    return StandIn(gazetteer)


def classify(item: TextInput, model: str = MODEL, gazetteer: str = GAZETTEER) -> Prediction:
    """What a model predicts for a text, and the entities that a gazetteer finds in it."""
    (found,) = _stand_in(gazetteer).classify([item])
    if model == MODEL:
        return found
    (labels,) = _stand_in(gazetteer).classify(
        [replace(item, text=f"{item.text} {model}" if found.topic else item.text)]
    )
    return replace(labels, model=model, evidence=found.evidence, entities=found.entities)


def house_file() -> Path | None:
    """The house file that a process is told by its environment."""
    return Path(os.environ[HOUSE]) if HOUSE in os.environ else None


class FaultClassifier:
    """What the worker and the commands of a run classify with.

    The house file, if there is one, holds nothing but the version of the gazetteer. It is read for each call.
    """

    topics, event_types, story_weights = StandIn.topics, StandIn.event_types, StandIn.story_weights

    def __init__(self, house: Path | None = None, model: str = MODEL) -> None:
        self.version, self.description = model, f"{model}, not a real classifier"
        self._house = house

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        gazetteer = self._version()
        return [classify(item, self.version, gazetteer) for item in inputs]

    def words_for(self, text: str, sentiment: str, /) -> tuple[str, ...]:
        return ()

    def explain(self, item: TextInput, task: str, /) -> "Explanation":
        return _stand_in(self._version()).explain(item, task)

    @property
    def gazetteer(self) -> Gazetteer:
        """The list of entities: its version is all that there is of it."""
        return _stand_in(self._version()).gazetteer

    def use(self, linker: Linker, /) -> None:
        """Nothing: it reads its file itself."""

    def with_entities(
        self, inputs: Sequence[TextInput], predictions: Sequence[Prediction]
    ) -> list[Prediction]:
        """The predictions with the entities of the texts."""
        gazetteer = self._version()
        found = [classify(item, MODEL, gazetteer).entities for item in inputs]
        return [
            replace(one, entities=entities, gazetteer=gazetteer)
            for one, entities in zip(predictions, found, strict=True)
        ]

    def _version(self) -> str:
        return GAZETTEER if self._house is None else self._house.read_text()
