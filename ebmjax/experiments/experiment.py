"""An experiment: the configuration of a training run, and the functions built from it.

Data are standardised by an affine map, and all computations use those units: images
span [0, 1], coordinates have mean 0 and standard deviation 1.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.base import Array, Energy
from ebmjax.energies.conditional import condition
from ebmjax.energies.transforms import temper
from ebmjax.experiments.build import chain_init_of, network_of
from ebmjax.experiments.classes import class_constants
from ebmjax.experiments.config_checks import check
from ebmjax.experiments.configuration import Config
from ebmjax.experiments.data import DataError, Dataset
from ebmjax.experiments.data.arrays import check_fits
from ebmjax.experiments.errors import RunError
from ebmjax.experiments.facts import Facts
from ebmjax.experiments.points import Points, points_of
from ebmjax.experiments.presets import LONG, preset
from ebmjax.experiments.registry import METHODS, conditional_objective, space_of_config
from ebmjax.experiments.stages import stages_of
from ebmjax.experiments.standardize import Standard
from ebmjax.experiments.trainer import Trainer
from ebmjax.objectives.base import Objective
from ebmjax.objectives.batches import labelled, pairs
from ebmjax.objectives.joint import marginal
from ebmjax.spaces import BITS, REAL
from ebmjax.training.augmentation import shifted_chains
from ebmjax.training.step import TrainState

__all__ = [
    "LONG",
    "Config",
    "Run",
    "RunError",
    "build",
    "preset",
]


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


def _of_class(of_classes, label, x):
    return of_classes(x)[label]


def build(config: Config, dataset: Dataset, facts: Facts | None = None) -> Run:
    """Network, objective, optimiser and chain initialisation of a configuration.

    ``facts`` are those of an earlier run; they hold the units.  If they hold only a
    part of the data, ``dataset`` is that part.

    Raises:
      RunError: an unknown name, or data that differ from those of the configuration.
    """
    check(config)
    points = points_of(config, dataset, facts)
    facts = points.facts
    z = jnp.asarray(facts.standard.forward(points.kept.x), jnp.float32)
    batches, inputs = _batches(config, points, z)
    network = network_of(config, facts)
    keys = tuple(jax.random.split(jax.random.key(config.seed), 3))
    shapes = jax.eval_shape(network.init, keys[0], *inputs)
    num_params = _size_of(config, shapes, z)
    draw = _fresh_chains(config, facts)
    make = (
        conditional_objective if config.condition_on else METHODS[config.objective].make
    )
    objective = make(config, network.apply, z)
    chain_init = chain_init_of(config, objective, draw, batches)
    if config.shift and objective.uses_chains and not config.denoising_updates:
        chain_init = shifted_chains(chain_init, config.shift)
    trainer = Trainer(
        config,
        points,
        network,
        inputs,
        stages_of(config, network, objective, chain_init, z),
        batches,
        keys,
    )
    return Run(
        config=config,
        dataset=dataset,
        standard=facts.standard,
        z=z,
        network=network.apply,
        energy=_energy(config, network),
        fit=trainer.fit,
        init=trainer.init,
        draw=draw,
        batches=batches,
        step=trainer.step(),
        kept=points.kept,
        held=points.held,
        facts=facts,
        num_params=num_params,
        objective=objective,
    )


def _batches(config: Config, points: Points, z: Array) -> tuple[Any, tuple]:
    """The source of the batches, and the inputs of the network for one point."""
    facts, method = points.facts, METHODS[config.objective]
    if config.condition_on:
        assert facts.given is not None
        given = pairs(z, facts.given.forward(points.kept.conditions))
        return given, (z[0], given.condition[0])
    inputs = (z[0], config.noise) if method.is_noise_conditional else (z[0],)
    if method.is_labelled:
        return labelled(z, points.kept.labels, facts.num_classes), inputs
    return z, inputs


def _energy(config, network) -> Callable[[Any, Array], Array]:
    """The energy of one point; for K classes, that of their sum."""
    method = METHODS[config.objective]
    if method.is_labelled:
        return marginal(network.apply)
    if method.is_noise_conditional and not config.condition_on:
        return lambda params, x: network.apply(params, x, config.noise)
    return network.apply


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


def _fresh_chains(config: Config, facts: Facts) -> Callable[[Array, int], Array]:
    """``draw(key, n)``: fresh chains, in units of training."""
    mean, space = jnp.asarray(facts.mean), space_of_config(config)
    if space != REAL:
        return functools.partial(_random_levels, space, mean)
    width = max(0.3, config.noise) if facts.is_image else 1.5
    return functools.partial(_random_normal, mean, width)


def _random_normal(mean, width, key, n):
    """Fresh chains: normal about the mean of the data."""
    return mean + width * jax.random.normal(key, (n, *mean.shape))


def _random_levels(space, mean, key, n):
    """Fresh chains: bits with the means of the data, levels at random."""
    shape = (n, *mean.shape)
    if space == BITS:
        return jax.random.bernoulli(key, mean, shape).astype(jnp.float32)
    return jax.random.randint(key, shape, 0, space.num_values).astype(jnp.float32)
