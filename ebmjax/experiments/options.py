"""Options that an objective uses; an unused option is refused by name."""

from typing import Any

from ebmjax.experiments.errors import RunError
from ebmjax.experiments.registry import KERNELS, METHODS

OF_CHAINS = ("kernel", "chain_steps", "step_size")
OF_CHAIN_INIT = ("chain_init", "num_chains", "buffer_size", "restart_probability")
OF_BUFFER = ("buffer_size", "restart_probability")
LABELLED = ("joint", "class_conditional")
REGULARISED = ("maximum_likelihood", "improved", "adversarial", *LABELLED)
WITH_GLOBAL = ("maximum_likelihood", *LABELLED)
MOVES_CHAINS = ("maximum_likelihood", "improved", *LABELLED)  # those of chain_init
RUNS_CHAINS = ("recovery",)  # from its own starts


def unused(objective: str, values: dict[str, Any]) -> dict[str, str]:
    """The options that an objective does not use, each with the reason.

    ``values`` are the given options; ``kernel`` and ``chain_init`` among them decide
    whether a step size and a buffer are used.
    """
    method = METHODS[objective]
    found: dict[str, str] = {}
    if objective not in MOVES_CHAINS:
        if objective not in RUNS_CHAINS:
            found |= dict.fromkeys(OF_CHAINS, f"{objective} trains without chains")
        found |= dict.fromkeys(OF_CHAIN_INIT, f"{objective} keeps no chains")
    elif values.get("chain_init", "buffer") != "buffer":
        why = f"--chain-init {values['chain_init']} keeps no chains"
        found |= dict.fromkeys(OF_BUFFER, why)
    if values.get("condition_on"):
        found["buffer_size"] = "with --condition-on there is one chain a point"
    entry = KERNELS.get(values.get("kernel", ""))
    if entry is not None and not entry.has_step_size:
        found["step_size"] = f"the kernel {values['kernel']} has no step size"
    if method.is_binary:
        found["kernel"] = f"{objective} trains without chains"
        found["noise"] = f"{objective} is of bits, without noise"
    if values.get("levels"):
        found["noise"] = "data of levels have no noise"
    if objective not in WITH_GLOBAL:
        found["global_steps"] = f"{objective} has no moves between modes"
    if objective not in REGULARISED:
        found["regularisation"] = f"{objective} has no regularisation"
    if not method.has_temperature:
        found["temperature"] = f"{objective} learns at temperature 1"
    return {name: why for name, why in found.items() if name in values}


def refuse_unused(objective: str, values: dict[str, Any]) -> None:
    """Raise :class:`RunError` naming every option without effect."""
    if found := unused(objective, values):
        listed = "; ".join(f"{flag(name)}: {why}" for name, why in found.items())
        hint = ""
        if set(found) & set(OF_CHAINS):
            hint = " (sample RUN has options for the chains of a trained energy)"
        raise RunError(f"options without effect: {listed}{hint}")


def flag(name: str) -> str:
    """The option of the command line for a field of a configuration."""
    return "--" + name.replace("_", "-")
