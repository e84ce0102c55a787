"""Defaults of a configuration, by the data and the objective, and named presets."""

from typing import Any

from ebmjax import spaces
from ebmjax.energies.networks import conv_features
from ebmjax.experiments.classes import parts
from ebmjax.experiments.configuration import Config
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.options import MOVES_CHAINS
from ebmjax.experiments.registry import METHODS
from ebmjax.experiments.standardize import digest, is_image
from ebmjax.kernels.registry import KERNELS

IMAGES: dict[str, Any] = {
    "features": (512, 512),
    "noise": 0.25,
    "chain_steps": 15,
    "step_size": 0.1,
    "num_chains": 128,
    "buffer_size": 2048,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "num_updates": 1800,
}
# of objectives of bits
BITS: dict[str, Any] = {
    "noise": 0.0,
    "kernel": "gibbs",
    "features": (128, 128),
    "num_updates": 1000,
}
# of chains of bits and levels: all sites a step, the step adapts
LEVELS: dict[str, Any] = {
    **BITS,
    "kernel": "dmala",
    "step_size": 0.2,
    "chain_steps": 20,
    "num_chains": 128,
    "batch_size": 128,
    "learning_rate": 1e-3,
}
# images at the maximum of their likelihood: all chains run in every update
LONG: dict[str, Any] = {
    "features": (256, 256),
    "confinement": "trained",
    "shift": 1,
    "num_chains": 1024,
    "buffer_size": 1024,
    "batch_size": 256,
    "num_updates": 5000,
}
PRESETS = {"long": LONG}


def preset(dataset: Dataset, *, named: str = "", **choices: Any) -> Config:
    """The defaults for a data set of images or of points; ``choices`` override them.

    Args:
      dataset: what is trained on.
      named: of ``PRESETS``, further defaults for images and chains.
      choices: fields of a :class:`Config`.

    Raises:
      RunError: no such preset, or it is not for these data or this objective.
    """
    method = METHODS.get(choices.get("objective", Config.objective))
    if named:
        _check_named(named, dataset, choices)
    values = {
        **(method.defaults if method else {}),
        **(IMAGES if is_image(dataset) else {}),
    }
    kernel = KERNELS.get(choices.get("kernel", ""))
    of_bits = kernel is not None and kernel.properties().state_space == spaces.BITS
    if method and method.is_binary:
        values |= BITS
    elif choices.get("levels") or of_bits:
        values |= LEVELS
        if choices.get("network") == "rbm":
            values["features"] = (128,)
    values |= {**PRESETS.get(named, {}), **choices}
    if values.get("network") == "conv" and "features" not in choices:
        values["features"] = conv_features(dataset.x.shape[1:])
    share = values.get("held_out", Config.held_out)
    if values.get("condition_on") and "num_chains" not in choices:
        size = values.get("batch_size", Config.batch_size)
        values["num_chains"] = min(values.get("num_chains", Config.num_chains), size)
    num_kept = len(parts(dataset, values.get("seed", 0), share)[0].x)
    if "batch_size" not in choices:
        size = values.get("batch_size", Config.batch_size)
        values["batch_size"] = min(size, num_kept)
    return Config(data=dataset.name, data_digest=digest(dataset), **values)


def _check_named(named: str, dataset: Dataset, choices: dict[str, Any]) -> None:
    if named not in PRESETS:
        raise RunError(f"preset must be one of {', '.join(PRESETS)}, got {named!r}")
    objective = choices.get("objective", Config.objective)
    if not is_image(dataset) or choices.get("levels"):
        raise RunError(
            f"preset {named} is of images, got data "
            f"{dataset.name} of shape {dataset.x.shape[1:]}"
            + (" in levels" if choices.get("levels") else "")
        )
    if objective not in MOVES_CHAINS:
        raise RunError(
            f"preset {named} is of objectives with chains, "
            f"{', '.join(MOVES_CHAINS)}, got {objective}"
        )
