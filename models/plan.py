"""What the settings say of the models, before anything is loaded.  It needs no torch."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.errors import WeightsError
from models.inference.whole import Mode, whole_version
from models.network.info import ModelInfo, read_info
from models.network.registry import resolve
from models.settings import SHIPPED_SECOND_OPINION, SHIPPED_WEIGHTS, ModelSettings

# The package of the second wheel, which holds the folders of the large model.
PACKAGE = "sentiment_monitor_second_opinion"
INSTALL = "pip install 'sentiment-monitor[second-opinion]'"


class Larger(NamedTuple):
    """The model that gives the second opinion, and its folder."""

    info: ModelInfo
    folder: Path


@dataclass(frozen=True)
class Plan:
    """What the settings say of the second opinion, before anything is loaded.

    `mode` is None if the speed of the larger model on this machine decides.  With Mode.OFF there is no
    larger model, and `reason` says why.
    """

    settings: ModelSettings
    first: ModelInfo
    mode: Mode | None
    larger: Larger | None = None
    reason: str = ""

    @classmethod
    def of(cls, settings: ModelSettings) -> "Plan":
        """Raises WeightsError if the settings name a second opinion that cannot be had."""
        first = read_info(resolve(settings.weights))
        named = settings.second_opinion
        if named == "off":
            return cls(settings, first, Mode.OFF, reason="models.second_opinion is off")
        mode, folder = _mode_and_folder(named)
        try:
            larger = _read_larger(folder, first)
        except WeightsError as error:
            if named is None:
                return cls(settings, first, Mode.OFF, reason=str(error))
            raise WeightsError(f"models.second_opinion is {named}: {error}") from error
        if named is None and not _belongs_together(settings, first, larger.info):
            reason = (
                "models.weights is not the shipped model, whose labels the large one has learned; "
                "models.second_opinion can name one"
            )
            return cls(settings, first, Mode.OFF, reason=reason)
        return cls(settings, first, mode, larger)

    def mode_at(self, rate: Callable[[], float | None]) -> Mode:
        """The mode, where the larger model labels `rate` headlines a second; auto if that is not known."""
        if self.mode is not None:
            return self.mode
        measured = rate()
        is_fast = measured is not None and measured >= self.settings.second_opinion_rate
        return Mode.ALL if is_fast else Mode.AUTO

    def fixed(self, mode: Mode) -> ModelSettings:
        """The settings with this mode."""
        fixed: object = Path(f"{mode.value}:{self.larger.folder}") if self.larger else Mode.OFF.value
        return self.settings.model_copy(update={"second_opinion": fixed})

    def mode_of(self, version: str | None) -> Mode | None:
        """The mode of a version of these models; None if it is one of others."""
        return next(
            (mode for mode in (Mode.ALL, Mode.AUTO) if self.larger and version == self.version(mode)), None
        )

    def version(self, mode: Mode) -> str:
        """The version of the models in this mode."""
        return whole_version(self.first, self.larger.info, mode) if self.larger else self.first.version


def shipped_second_opinion() -> Path:
    """The folder of the large model: in the tree, or else of the second wheel, whether it is there or not."""
    if (SHIPPED_SECOND_OPINION / "model.json").is_file():
        return SHIPPED_SECOND_OPINION
    package = importlib.util.find_spec(PACKAGE)
    places = package.submodule_search_locations if package else None
    return Path(next(iter(places))) if places else SHIPPED_SECOND_OPINION


def _mode_and_folder(named: str | Path | None) -> tuple[Mode | None, Path]:
    if named is None:
        return None, shipped_second_opinion()
    if named in (Mode.ALL, Mode.AUTO):
        return Mode(str(named)), shipped_second_opinion()
    mode, _, folder = str(named).partition(":")
    if folder and mode in (Mode.ALL, Mode.AUTO):
        return Mode(mode), resolve(Path(folder))
    return None, resolve(Path(named))


def _read_larger(folder: Path, first: ModelInfo) -> Larger:
    """Raises WeightsError if there is no whole model in the folder, or its labels are others."""
    if folder == shipped_second_opinion() and not (folder / "model.json").is_file():
        raise WeightsError(f"the large model is not installed ({folder}): {INSTALL}")
    info = read_info(folder)
    if absent := [part.folder for part in info.parts if not (folder / part.folder).is_dir()]:
        raise WeightsError(f"{folder} lacks {', '.join(absent)}: copy the whole folder")
    check_labels(info, first)
    return Larger(info, folder)


def check_labels(second: ModelInfo, first: ModelInfo) -> None:
    """Raise WeightsError if one of two models knows labels that the other does not."""
    for task, names in first.labels.items():
        if set(names) != set(second.labels.get(task, ())):
            raise WeightsError(f"{second.version} has other labels of {task} than {first.version}")


def _belongs_together(settings: ModelSettings, first: ModelInfo, second: ModelInfo) -> bool:
    """Whether the large model knows the labels of this one: a model of one's own has learned others."""
    is_shipped = resolve(settings.weights).absolute() == SHIPPED_WEIGHTS.absolute()
    return is_shipped or any(part.routing and part.routing.second == second.version for part in first.parts)


def event_types(settings: ModelSettings) -> tuple[str, ...]:
    """The types of events that `load` would look for.  Raises WeightsError."""
    plan = Plan.of(settings)
    infos = [plan.first, *([plan.larger.info] if plan.larger else [])]
    return tuple(sorted({name for info in infos for name in info.event_types}))
