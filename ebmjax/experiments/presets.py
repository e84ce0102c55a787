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
# of maximum likelihood of images with noise: most of the updates are denoising score
# matching, which needs no chains and brings the likelihood; the rest makes the mean
# energies of data and chains equal
DENOISED: dict[str, Any] = {
    "confinement": "trained",
    "num_updates": 6500,
    "denoising_updates": 5000,
    "denoising_rate": 1e-3,
    "learning_rate": 1e-4,
    "buffer_size": 512,
}
# the same of larger images, which are also shifted by a pixel
LARGE: dict[str, Any] = {
    "num_updates": 11_500,
    "denoising_updates": 10_000,
    "shift": 1,
}
# of persistent chains of points of few coordinates: an energy that varies over short
# distances from the start, and a longer average
WIDE: dict[str, Any] = {
    "first_layer_scale": 6.0,
    "chain_steps": 7,
    "num_updates": 3900,
    "ema_decay": 0.999,
}
# the same with persistent chains that also move between modes, and so need few steps
# an update: more updates at a higher rate
WIDE_GLOBAL: dict[str, Any] = {
    **WIDE,
    "chain_steps": 2,
    "global_steps": 3,
    "num_updates": 6000,
    "learning_rate": 8e-3,
}
MOST_COORDINATES = 3
SMALLEST_LARGE = 16  # pixels of the shorter side
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
# more of both, and all chains run in every update
LONG: dict[str, Any] = {
    "num_chains": 1024,
    "buffer_size": 1024,
    "batch_size": 256,
    "num_updates": 21_500,
    "denoising_updates": 20_000,
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
    elif is_image(dataset) and _is_denoised({**values, **choices}):
        values |= DENOISED
        if min(dataset.x.shape[1:3]) >= SMALLEST_LARGE:
            values |= LARGE
    elif _is_wide(dataset, {**values, **choices}):
        values |= WIDE if choices.get("global_steps") == 0 else WIDE_GLOBAL
    values |= PRESETS.get(named, {})
    values |= {**_stages(values, choices), **choices}
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


def _is_denoised(values: dict[str, Any]) -> bool:
    """Whether denoising comes first by default."""
    objective = values.get("objective", Config.objective)
    return (
        objective == "maximum_likelihood"
        and not values.get("condition_on")
        and values.get("denoising_updates") != 0
        and values.get("noise", Config.noise) > 0
        and values.get("temperature", Config.temperature) == 1.0
    )


def _is_wide(dataset: Dataset, values: dict[str, Any]) -> bool:
    """Whether the first layer starts with larger weights by default: not where chains
    are fresh in each update, which do not follow an energy that is steep so soon."""
    return (
        values.get("objective", Config.objective) == "maximum_likelihood"
        and values.get("network", Config.network) == "mlp"
        and values.get("chain_init", Config.chain_init) == "buffer"
        and not is_image(dataset)
        and not values.get("condition_on")
        and not values.get("is_spectral")
        and dataset.x[0].size <= MOST_COORDINATES
    )


def _stages(values: dict[str, Any], choices: dict[str, Any]) -> dict[str, int]:
    """The numbers of updates that are not chosen where the other one is: denoising
    keeps its share of all, what follows it its number."""
    num, first = values.get("num_updates", 0), values.get("denoising_updates", 0)
    if not first:
        return {}
    if "denoising_updates" in choices:
        return {"num_updates": num - first + choices["denoising_updates"]}
    chosen = choices.get("num_updates", num)
    return {"denoising_updates": first * chosen // num}


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
