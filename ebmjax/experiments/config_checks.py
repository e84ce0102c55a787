"""Checks of a configuration: known names, numbers in their range, and options that go
together."""

from collections.abc import Collection

from ebmjax import _validation as checks
from ebmjax.experiments.build import CHAIN_INITS, CONFINEMENTS, NETWORKS
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.options import WITH_GLOBAL
from ebmjax.experiments.registry import DISCRETE, KERNELS, METHODS, space_of_config
from ebmjax.spaces import BITS, REAL

NAMES: dict[str, Collection[str]] = {
    "objective": METHODS,
    "network": NETWORKS,
    "kernel": KERNELS,
    "chain_init": CHAIN_INITS,
    "confinement": CONFINEMENTS,
}
COUNTS = ("num_updates", "chain_steps", "num_chains", "buffer_size", "batch_size")
DENOISED = ("maximum_likelihood", "improved")  # objectives after denoising updates
MAX_COUNT = 2**31 - 1  # largest value of a 32-bit counter
POSITIVE = (
    "learning_rate",
    "denoising_rate",
    "step_size",
    "noise",
    "regularisation",
    "temperature",
)
MAY_BE_ZERO = ("noise", "regularisation")


def check(config) -> None:
    """Raise a :class:`RunError` for unknown names and numbers out of range."""
    for name, known in NAMES.items():
        if getattr(config, name) not in known:
            raise RunError(
                f"{name} must be one of {', '.join(known)}, "
                f"got {getattr(config, name)!r}"
            )
    _check_numbers(config)
    _check_condition(config)
    _check_energy(config)
    _check_space(config)
    is_buffer = config.chain_init == "buffer" and not config.condition_on
    if is_buffer and config.num_chains > config.buffer_size:
        raise RunError(
            f"num_chains must be at most the buffer's size, {config.buffer_size}, "
            f"got {config.num_chains}"
        )


def _check_numbers(config) -> None:
    for name in COUNTS:
        if checks.count(getattr(config, name), name) > MAX_COUNT:
            raise RunError(
                f"{name} must be at most {MAX_COUNT}, got {getattr(config, name)}"
            )
    checks.count(config.shift, "shift", least=0)
    checks.count(config.global_steps, "global_steps", least=0)
    _check_denoising(config)
    if not 0 <= config.held_out <= 0.9:
        raise RunError(f"held_out must lie in [0, 0.9], got {config.held_out}")
    for name in POSITIVE:
        checks.positive(getattr(config, name), name, zero=name in MAY_BE_ZERO)


def _check_denoising(config) -> None:
    """Raise unless the first updates can be those of denoising score matching."""
    num = checks.count(config.denoising_updates, "denoising_updates", least=0)
    if not num:
        return
    if num >= config.num_updates:
        raise RunError(
            "denoising_updates are the first of num_updates and must be fewer than "
            f"{config.num_updates}, got {num}"
        )
    is_of_points = config.levels == 0 and config.network != "rbm"
    if config.objective not in DENOISED or not is_of_points or config.noise == 0:
        raise RunError(
            f"denoising_updates goes with {', '.join(DENOISED)} on points with noise; "
            f"got {config.objective}, levels {config.levels}, noise {config.noise:g}"
        )
    if config.temperature != 1.0:
        raise RunError(
            f"denoising_updates needs temperature 1, got {config.temperature:g}"
        )


def _check_condition(config) -> None:
    """Raise unless the objective learns points given a condition, if there is one."""
    if not config.condition_on:
        return
    method = METHODS[config.objective]
    if not method.takes_condition:
        those = ", ".join(n for n, m in METHODS.items() if m.takes_condition)
        raise RunError(
            f"condition_on goes with {those}, got {config.objective}"
            + ("; it learns labels itself" if method.is_labelled else "")
        )
    if config.num_chains > config.batch_size:
        raise RunError(
            "with condition_on num_chains must be at most batch_size, "
            f"{config.batch_size}, got {config.num_chains}"
        )


def _check_energy(config) -> None:
    """Raise unless the objective has a temperature and the network a confinement, where
    they are not the usual ones."""
    method = METHODS[config.objective]
    if config.temperature != 1.0 and not method.has_temperature:
        raise RunError(
            f"{config.objective} learns at temperature 1, got {config.temperature}"
        )
    is_of_levels = config.levels > 2 or config.network == "rbm"
    is_other = is_of_levels or method.is_noise_conditional
    if config.first_layer_scale != 1 and (is_other or config.network != "mlp"):
        raise RunError(
            "first_layer_scale is of the network mlp of real numbers or bits at one "
            f"level of noise; got {config.network}, {config.objective}, levels "
            f"{config.levels}"
        )
    if config.confinement == "trained" and is_other:
        raise RunError(
            "confinement trained is of the networks mlp and conv at one level of "
            f"noise; got {config.network}, {config.objective}, levels {config.levels}"
        )


def _check_space(config) -> None:
    """Raise unless objective, kernel and network are of the points of a
    configuration."""
    space, entry = space_of_config(config), KERNELS[config.kernel]
    if config.global_steps and (space != REAL or config.objective not in WITH_GLOBAL):
        raise RunError(
            f"global_steps goes with {', '.join(WITH_GLOBAL)} on real numbers, got "
            f"{config.objective} on {space}"
        )
    if space == REAL:
        if config.network == "rbm":
            raise RunError("the network rbm is of bits: --binary, or another network")
        return
    name, is_binary = config.objective, METHODS[config.objective].is_binary
    if entry.properties().state_space == REAL:
        of = f"{name} needs" if is_binary else f"data of {space} need"
        raise RunError(
            f"{of} a kernel of discrete states such as gibbs, got {config.kernel}"
        )
    if name not in DISCRETE or (is_binary and space != BITS):
        raise RunError(
            f"{name} does not train on {space} points; maximum_likelihood does"
            + (", pseudo_likelihood and ratio_matching, too" if space == BITS else "")
        )
    if config.condition_on:
        raise RunError(f"--condition-on is of real numbers, and the points are {space}")
    if config.noise:
        raise RunError(f"points of {space} have no noise, got noise {config.noise}")
    if config.network == "rbm" and (space != BITS or len(config.features) != 1):
        raise RunError(
            "the network rbm is of bits and has one width, --features 128; got "
            f"{space} and {list(config.features)}"
        )
    if config.kernel == "rbm_gibbs":
        if config.network != "rbm" or config.temperature != 1.0:
            raise RunError(
                "the kernel rbm_gibbs is of --network rbm at temperature 1, got "
                f"{config.network} at {config.temperature:g}"
            )
