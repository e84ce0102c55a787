"""An experiment: the configuration of a training run, and the functions built from it.

Data are standardised by an affine map, and all computations use those units: images
span [0, 1], coordinates have mean 0 and standard deviation 1.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy
from ebmjax.energies.conditional import condition
from ebmjax.energies.networks import conv_features
from ebmjax.energies.transforms import temper
from ebmjax.experiments.build import (
    RunError,
    chain_init_of,
    check,
    network_of,
    optimizer_of,
)
from ebmjax.experiments.classes import (
    SHARE_HELD,
    class_constants,
    labelled_parts,
    parts,
)
from ebmjax.experiments.configuration import read_json
from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.data.arrays import check_fits
from ebmjax.experiments.facts import Facts
from ebmjax.experiments.options import MOVES_CHAINS
from ebmjax.experiments.registry import METHODS, conditional_objective, space_of_config
from ebmjax.experiments.standardize import Standard, atoms, digest, is_image
from ebmjax.kernels import registry as kernels
from ebmjax.objectives.base import Objective
from ebmjax.objectives.batches import labelled, pairs
from ebmjax.objectives.joint import marginal
from ebmjax.spaces import BITS as SPACE_OF_BITS
from ebmjax.spaces import REAL
from ebmjax.training.augmentation import shifted_chains, shifts
from ebmjax.training.divergence import RollbackPolicy
from ebmjax.training.fit import fit
from ebmjax.training.step import TrainState, init_state, train_step


@dataclasses.dataclass(frozen=True)
class Config:
    """All options of a run; lengths are in standardised units (images span [0, 1])."""

    data: str
    objective: str = "maximum_likelihood"
    network: str = "mlp"
    features: tuple[int, ...] = (128, 128)
    is_spectral: bool = False
    confinement: str = "fixed"  # or trained: a factor of the quadratic term
    noise: float = 0.0  # sigma, of the Gaussian noise added to the data
    shift: int = 0  # pixels by which images, and some chains, are shifted at random
    noise_ratio: int = 4  # noise points a data point (nce, ranking)
    # noise of a point against itself (conditional, energy_discrepancy)
    perturbation_scale: float = 0.3
    kernel: str = "mala"
    chain_init: str = "buffer"
    chain_steps: int = 10
    # of the first update; adapted where the kernel has an acceptance target
    step_size: float = 0.3
    num_chains: int = 256
    buffer_size: int = 1024
    # 0: chains that have not converged raise the energy at their positions
    restart_probability: float = 0.0
    batch_size: int = 256
    learning_rate: float = 2e-3
    regularisation: float = 0.0
    # of the training chains; the density learned is exp(-E / temperature)
    temperature: float = 1.0
    # before a diverging run stops
    max_rollbacks: int = 4
    ema_decay: float = 0.995
    num_updates: int = 3000
    held_out: float = SHARE_HELD  # share of the data that is not trained on
    labels: str = "auto"  # these three: options of reading a data file
    header: str = "auto"
    layout: str = "auto"
    condition_on: str = ""  # what points are given: columns, or label
    levels: int = 0  # in which the values of the data are put; 0: as they are
    seed: int = 0
    data_digest: str = ""

    def save(self, path: Path) -> None:
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        os.replace(aside, path)  # atomic

    @staticmethod
    def load(path: Path) -> "Config":
        """Read a ``config.json``; raises :class:`RunError` if it is invalid."""
        try:
            return Config(**read_json(path, Config))
        except (ValueError, TypeError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"{path} is not a configuration of this version: {error}"
            ) from None

    @property
    def reading(self) -> dict[str, str]:
        """The options of reading a data file."""
        return {"labels": self.labels, "header": self.header, "layout": self.layout}


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
    "num_updates": 10_000,
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
    kernel = kernels.KERNELS.get(choices.get("kernel", ""))
    of_bits = kernel is not None and kernel.properties().state_space == SPACE_OF_BITS
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


class Run(NamedTuple):
    """The functions of a configuration."""

    config: Config
    dataset: Dataset
    standard: Standard
    z: Array  # [N, ...] the data, standardised
    network: Callable[..., Array]  # of the parameters and one standardised point
    energy: Callable[
        [Any, Array], Array
    ]  # of the same, a scalar: for K classes, the energy of their sum
    fit: Callable[..., tuple[TrainState, dict[str, np.ndarray]]]
    init: Callable[[], TrainState]
    draw: Callable[[Array, int], Array]  # fresh chains
    batches: Any  # source of the batches: z, or points and labels
    step: Callable[..., tuple[TrainState, dict]]  # one update, (key, state, batch)
    kept: Dataset  # trained on
    held: Dataset | None  # held out
    facts: Facts
    num_params: int
    objective: Objective
    at: Any = None  # the condition, in units of training, or the class, of ``trained``

    def lower(self, params: Any) -> Any:
        """The parameters of the energy, from the trained parameters."""
        return self.objective.energy_params(params)

    def trained(self, state: TrainState) -> Energy:
        """The energy of the averaged parameters, over the temperature of training.

        It is minus a log density, of one point in standardised units.
        """
        if METHODS[self.config.objective].is_labelled and self.at is not None:
            return functools.partial(_of_class, self.of_classes(state), self.at)
        if METHODS[self.config.objective].is_labelled:
            return functools.partial(
                marginal(lambda of_classes, x: of_classes(x)), self.of_classes(state)
            )
        trained = functools.partial(self.energy, self.lower(state.ema))
        energy: Energy = trained
        if self.config.condition_on:
            if self.at is None:
                raise RunError("this run is of points given a condition: which one?")
            energy = condition(trained, self.at)
        return (
            energy
            if self.config.temperature == 1.0
            else temper(energy, self.config.temperature)
        )

    def of_classes(self, state: TrainState) -> Callable[[Array], Array]:
        """Minus log p(x, y) of all classes y, up to one constant; for labelled runs."""
        energies = functools.partial(self.network, state.ema)
        if METHODS[self.config.objective].learns_shares:
            return energies
        point, label = (x[: self.facts.num_reference] for x in self.batches)
        constants = class_constants(jax.jit(jax.vmap(energies))(point), label)
        return lambda x: energies(x) - constants


def build(config: Config, dataset: Dataset, facts: Facts | None = None) -> Run:
    """Network, objective, optimiser and chain initialisation of a configuration.

    ``facts`` are those of an earlier run; they hold the units.  If they hold only a
    part of the data, ``dataset`` is that part.

    Raises:
      RunError: an unknown name, or data that differ from those of the configuration.
    """
    check(config)
    method, space = METHODS[config.objective], space_of_config(config)
    is_whole = facts is None or facts.is_whole or dataset is not facts.dataset
    if is_whole and config.data_digest != digest(dataset):
        raise RunError(f"the data of {config.data!r} have changed since this run began")
    _check_bits(config, dataset)
    split = labelled_parts if method.is_labelled else parts
    kept, held = (
        split(dataset, config.seed, config.held_out)
        if facts is None or is_whole
        else (dataset, facts.held)
    )
    if facts is None:
        facts = _facts(config, dataset, kept, held)
    standard = facts.standard
    if is_whole and config.batch_size > len(kept.x):
        raise RunError(
            f"batch_size must be at most the number of points to train on, "
            f"{len(kept.x)}, got {config.batch_size}"
        )
    z = jnp.asarray(standard.forward(kept.x), jnp.float32)
    batches: Any = (
        labelled(z, kept.labels, facts.num_classes) if method.is_labelled else z
    )
    network = network_of(config, facts)
    at = (config.noise,) if method.is_noise_conditional else ()
    if config.condition_on:
        assert facts.given is not None
        batches = pairs(z, facts.given.forward(kept.conditions))
        at = (batches.condition[0],)
    key_params, key_store, key_run = jax.random.split(jax.random.key(config.seed), 3)
    num_params = _size_of(
        config, jax.eval_shape(network.init, key_params, z[0], *at), z
    )

    mean = jnp.asarray(facts.mean)
    width = max(0.3, config.noise) if facts.is_image else 1.5
    draw = functools.partial(_random_normal, mean, width)
    if space != REAL:
        draw = functools.partial(_random_levels, space, mean)
    make = conditional_objective if config.condition_on else method.make
    objective = make(config, network.apply, z)
    chain_init = chain_init_of(config, objective, draw, batches)
    if config.shift and objective.uses_chains:
        chain_init = shifted_chains(chain_init, config.shift)
    optimizer = optimizer_of(config, objective)

    def init() -> TrainState:
        params = jax.jit(network.init)(key_params, z[0], *at)
        key_other = jax.random.fold_in(key_params, 1)
        params = objective.init(key_other, params, batches)
        return init_state(key_store, params, optimizer, chain_init, config.step_size)

    def train(state: TrainState, **options: Any):
        if not is_whole:
            raise RunError(
                f"only {len(z)} of the {facts.num_points} points of this run are here; "
                "--data FILE names the file with all"
            )
        return fit(
            key_run,
            objective,
            optimizer,
            state,
            batches,
            chain_init,
            num_updates=config.num_updates,
            batch_size=config.batch_size,
            num_chains=config.num_chains,
            data_noise=0.0 if objective.adds_noise else config.noise,
            augment=shifts(config.shift) if config.shift else None,
            ema_decay=config.ema_decay,
            **{"rollback": RollbackPolicy(config.max_rollbacks), **options},
        )

    energy = network.apply
    if at and not config.condition_on:
        energy = lambda params, x: network.apply(params, x, *at)
    energy = marginal(network.apply) if method.is_labelled else energy
    step = train_step(
        objective,
        optimizer,
        chain_init,
        num_chains=config.num_chains,
        ema_decay=config.ema_decay,
    )
    return Run(
        config,
        dataset,
        standard,
        z,
        network.apply,
        energy,
        train,
        init,
        draw,
        batches,
        step,
        kept,
        held,
        facts,
        num_params,
        objective,
    )


def _of_class(of_classes, label, x):
    return of_classes(x)[label]


def _check_bits(config, dataset) -> None:
    """Raise unless the values of the data are those of the kernel."""
    space = space_of_config(config)
    if space == REAL or np.isin(dataset.x, np.array(space.values)).all():
        return
    if METHODS[config.objective].is_binary:
        raise RunError(
            f"{config.objective} needs data of 0 and 1 and no noise; --binary makes "
            "them, and --data binary_digits has them"
        )
    raise RunError(
        f"the kernel {config.kernel} is of {space}, and the data are not "
        f"{space.listed}; --binary or --levels K makes them so"
    )


def _random_normal(mean, width, key, n):
    """Fresh chains: normal about the mean of the data."""
    return mean + width * jax.random.normal(key, (n, *mean.shape))


def _random_levels(space, mean, key, n):
    """Fresh chains: bits with the means of the data, levels at random."""
    shape = (n, *mean.shape)
    if space == SPACE_OF_BITS:
        return jax.random.bernoulli(key, mean, shape).astype(jnp.float32)
    return jax.random.randint(key, shape, 0, space.num_values).astype(jnp.float32)


def _facts(config, dataset, kept, held) -> Facts:
    """Units and sizes of new data, with warnings about them."""
    method = METHODS[config.objective]
    if space_of_config(config) != REAL:
        standard = Standard(np.float64(0), np.float64(1))
    else:
        standard = Standard.of(kept)
        for symptom in atoms(kept, standard) if config.noise == 0 else []:
            checks.warn(f"{dataset.name}: {symptom}")
    num_classes = int(kept.labels.max()) + 1 if method.is_labelled else None
    return Facts.of(config, dataset, kept, held, standard, num_classes)


def _size_of(config, shapes, z) -> int:
    """The number of parameters; raises if the run does not fit into memory."""
    num = sum(x.size for x in jax.tree.leaves(shapes))
    copies = 6  # parameters, average, gradient, two moments of Adam, update
    points = config.buffer_size + 4 * config.num_chains + 4 * config.batch_size
    try:
        check_fits(4 * copies * num, f"a network of {num:,} parameters")
        check_fits(4 * points * z[0].size, "num_chains, buffer_size and batch_size")
    except DataError as error:
        raise RunError(str(error)) from None
    return num
