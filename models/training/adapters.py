"""Parameter-efficient fine-tuning through peft: train a few new weights and freeze the encoder."""

from collections.abc import Mapping
from typing import Any, Literal

from models.errors import WeightsError

Method = Literal["full", "lora", "adalora", "ia3"]

# The estimates that peft's RankAllocator keeps between steps.
RANK_ESTIMATES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def adapt(encoder: Any, method: Method, rank: int, steps: int) -> Any:
    """Wrap `encoder` for the method; `full` leaves it as it is.

    lora: low-rank updates of every linear layer (Hu et al. 2021).  adalora: the same, with the rank
    reallocated to the layers that need it over `steps` training steps (Zhang et al. 2023).  ia3: one
    learned factor for each key, value and feed-forward channel (Liu et al. 2022).  Prefix tuning is not
    offered: it cannot be merged into the weights, so it would slow down every prediction.  Raises
    WeightsError if peft is not installed.
    """
    if method == "full":
        return encoder
    try:
        import peft
    except ImportError as error:
        raise WeightsError(f"method {method} needs the package peft: pip install '.[train]'") from error
    common = {"lora_alpha": 2 * rank, "lora_dropout": 0.05, "target_modules": "all-linear"}
    if method == "lora":
        config: Any = peft.LoraConfig(r=rank, **common)
    elif method == "adalora":
        config = peft.AdaLoraConfig(
            **common,
            init_r=rank + rank // 2,
            target_r=rank,
            total_step=steps,
            tinit=steps // 10,
            tfinal=steps // 3,
            deltaT=max(1, steps // 100),
        )
    else:
        linear = [name for name, module in encoder.named_modules() if type(module).__name__ == "Linear"]
        feed_forward = [name for name in linear if name.endswith("output.dense") and "attention" not in name]
        keys_and_values = [name for name in linear if name.rsplit(".")[-1] in ("key", "value", "k", "v")]
        config = peft.IA3Config(
            target_modules=keys_and_values + feed_forward, feedforward_modules=feed_forward
        )
    return peft.get_peft_model(encoder, config)


def merge(encoder: Any, method: Method) -> Any:
    """Merge the learned weights into the encoder and return it without the wrapper."""
    return encoder if method == "full" else encoder.merge_and_unload()


def update_rank(encoder: Any, step: int) -> None:
    """After a step, let AdaLoRA move ranks between layers; nothing for other methods."""
    if _rank_allocator(encoder) is not None:
        encoder.base_model.update_and_allocate(step)


def rank_state(encoder: Any) -> dict[str, Any]:
    """What AdaLoRA remembers beside the weights, for a checkpoint; empty for other methods."""
    allocator = _rank_allocator(encoder)
    if allocator is None:
        return {}
    pattern = encoder.peft_config[allocator.adapter_name].rank_pattern
    return {"pattern": pattern} | {name: getattr(allocator, name) for name in RANK_ESTIMATES}


def restore_rank_state(encoder: Any, state: Mapping[str, Any]) -> None:
    """The reverse of `rank_state`."""
    if not state:
        return
    allocator = _rank_allocator(encoder)
    device = next(encoder.parameters()).device
    encoder.peft_config[allocator.adapter_name].rank_pattern = state["pattern"]
    for name in RANK_ESTIMATES:
        setattr(allocator, name, {weight: value.to(device) for weight, value in state[name].items()})


def _rank_allocator(encoder: Any) -> Any:
    return getattr(getattr(encoder, "base_model", None), "rankallocator", None)
