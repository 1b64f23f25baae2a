"""Loads what the settings name to classify texts: one model, or a small one and a second opinion."""

import logging
from collections.abc import Callable
from functools import partial

from models.backend_selection import headlines_per_second, measured_rate
from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.inference.second_opinion import SecondOpinion, TextClassifier
from models.inference.whole import Mode, needs_first, whole_info
from models.plan import Larger, Plan
from models.settings import ModelSettings

log = logging.getLogger(__name__)

Choose = Callable[[ModelSettings], ModelSettings]


def load(
    settings: ModelSettings,
    choose: Choose = lambda settings: settings,
    metrics: ModelMetrics | None = None,
) -> TextClassifier:
    """Load the model of the settings and its second opinion, with the backends that `choose` selects.

    `choose` is `select_backend` or `cached_backend` of `models.backend_selection`.  Raises ModelError.
    """
    plan = Plan.of(settings)
    if plan.larger is None:
        log.info("no second opinion: %s", plan.reason)
        return Engine.load(choose(settings), metrics)
    metrics = metrics or ModelMetrics()
    of_second = metrics.of_another()
    second = Engine.load(choose(_of_larger(settings, plan.larger)), of_second)
    mode = plan.mode_at(partial(headlines_per_second, second))
    of_second.is_main = mode is Mode.ALL
    metrics.is_main = mode is Mode.AUTO
    first = None
    if mode is Mode.AUTO or needs_first(plan.first, plan.larger.info):
        first = Engine.load(choose(settings), metrics)
    info = whole_info(plan.first, plan.larger.info, mode)
    log.info("second opinion: %s, by %s", mode.value, plan.larger.info.version)
    return SecondOpinion(first, second, info, mode, metrics)


def _of_larger(settings: ModelSettings, larger: Larger) -> ModelSettings:
    return settings.model_copy(update={"weights": larger.folder})


def _measured(plan: Plan, choose: Choose) -> float | None:
    """Headlines a second of the larger model here, if they were measured."""
    return measured_rate(choose(_of_larger(plan.settings, plan.larger))) if plan.larger else None


def version(settings: ModelSettings, choose: Choose = lambda settings: settings) -> str:
    """The version of what `load` would load.  Raises WeightsError."""
    plan = Plan.of(settings)
    return plan.version(plan.mode_at(partial(_measured, plan, choose)))


def with_fixed_mode(settings: ModelSettings, choose: Choose) -> ModelSettings:
    """The settings with the mode that they stand for, to load the same models on other backends."""
    plan = Plan.of(settings)
    return plan.fixed(plan.mode_at(partial(_measured, plan, choose)))


def as_labelled(settings: ModelSettings, latest: str | None) -> ModelSettings:
    """The settings with the mode of the version `latest`, if they leave the mode open and the models are its.

    A database keeps the mode that its documents were labelled with: a faster machine, another monitor, or a
    second measurement of the same one must not change what labels mean.  Raises WeightsError.
    """
    plan = Plan.of(settings)
    mode = plan.mode_of(latest)
    return settings if plan.mode is not None or mode is None else plan.fixed(mode)


def describe_second_opinion(settings: ModelSettings, choose: Choose, latest: str | None = None) -> str:
    """Which texts get a second opinion, and why, in words; `latest` as in `as_labelled`.

    Raises WeightsError.
    """
    plan = Plan.of(settings)
    if plan.larger is None:
        return f"off: {plan.reason}"
    rate, mode = _measured(plan, choose), plan.mode or plan.mode_of(latest)
    if plan.mode is not None:
        why = f"models.second_opinion is {settings.second_opinion}"
    elif mode is not None:
        why = "as the documents of the database were labelled"
    elif rate is None:
        why = "its speed here is not measured yet, which `monitor run` does at its first start"
    else:
        enough = settings.second_opinion_rate
        why = f"it labels {rate:.0f} headlines a second here, and {enough:g} are enough for all"
    return f"{mode or plan.mode_at(lambda: rate)}, by {plan.larger.info.version}: {why}"
