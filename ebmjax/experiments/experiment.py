"""An experiment: every choice of a training run in one configuration, and that made into functions.

Data are standardised by an affine map, and all else happens in those units: images span [0, 1], coordinates
have mean 0 and deviation 1.
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

from ebmjax.base import Array, Energy
from ebmjax.energies.transforms import temper
from ebmjax.experiments.build import (
    RunError,
    chain_init_of,
    check,
    network_of,
    optimizer_of,
)
from ebmjax.experiments.classes import class_constants, parts
from ebmjax.experiments.data import Dataset
from ebmjax.experiments.registry import METHODS
from ebmjax.experiments.standardize import Standard, digest, is_image
from ebmjax.objectives.base import Objective
from ebmjax.objectives.joint import labelled, marginal
from ebmjax.training.divergence import RollbackPolicy
from ebmjax.training.fit import fit
from ebmjax.training.step import TrainState, init_state, train_step


@dataclasses.dataclass(frozen=True)
class Config:
    """Every choice of a run.  Lengths are in standardised units, where images span [0, 1]."""

    data: str
    objective: str = "maximum_likelihood"
    network: str = "mlp"
    features: tuple[int, ...] = (128, 128)
    is_spectral: bool = False
    noise: float = 0.0  # sigma, of the Gaussian noise added to the data
    noise_ratio: int = 4  # noise points a data point (nce, ranking)
    perturbation_scale: float = (
        0.3  # noise of a point against itself (conditional, energy_discrepancy)
    )
    kernel: str = "mala"
    chain_init: str = "buffer"
    chain_steps: int = 10
    step_size: float = (
        0.3  # of the first update; adapted where the kernel has an acceptance target
    )
    num_chains: int = 256
    buffer_size: int = 1024
    restart_probability: float = (
        0.0  # chains still on their way raise the energy where they are
    )
    batch_size: int = 256
    learning_rate: float = 2e-3
    regularisation: float = 0.0
    temperature: float = (
        1.0  # of the training chains; the density learned is exp(-E / temperature)
    )
    max_rollbacks: int = (
        4  # to the last state that was well, with smaller steps, before a run stops
    )
    ema_decay: float = 0.995
    num_updates: int = 3000
    seed: int = 0
    data_digest: str = ""

    def save(self, path: Path) -> None:
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        os.replace(aside, path)  # whole or not there

    @staticmethod
    def load(path: Path) -> "Config":
        try:
            values = json.loads(path.read_text())
            return Config(**{**values, "features": tuple(values["features"])})
        except FileNotFoundError:
            raise RunError(
                f"{path.parent} is not a run: it has no {path.name}"
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{path} is not a configuration of this version: {error}"
            ) from None


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


def preset(dataset: Dataset, **choices: Any) -> Config:
    """The defaults for a data set: one for images, one for points; ``choices`` override."""
    method = METHODS.get(choices.get("objective", Config.objective))
    values = {
        **(method.defaults if method else {}),
        **(IMAGES if is_image(dataset.x) else {}),
    }
    values |= {**(BITS if method and method.is_binary else {}), **choices}
    limits = {
        name: min(values.get(name, getattr(Config, name)), len(dataset.x))
        for name in ("batch_size",)
    }
    return Config(
        data=dataset.name, data_digest=digest(dataset), **{**values, **limits}
    )


class Run(NamedTuple):
    """A configuration made into functions."""

    config: Config
    dataset: Dataset
    standard: Standard
    z: Array  # [N, ...] the data, standardised
    network: Callable[..., Array]  # of the parameters and one standardised point
    energy: Callable[
        [Any, Array], Array
    ]  # of the same, a number: with K classes, that of their sum
    fit: Callable[..., tuple[TrainState, dict[str, np.ndarray]]]
    init: Callable[[], TrainState]
    draw: Callable[[Array, int], Array]  # fresh chains
    batches: Any  # what training takes its batches from: z, or points and labels
    step: Callable[..., tuple[TrainState, dict]]  # one update, (key, state, batch)
    objective: Objective

    def lower(self, params: Any) -> Any:
        """From what is trained to the parameters of the energy."""
        return self.objective.energy_params(params)

    def trained(self, state: TrainState) -> Energy:
        """The energy of the averaged parameters, over the temperature of training: minus a log density."""
        if METHODS[self.config.objective].is_labelled:
            return functools.partial(
                marginal(lambda of_classes, x: of_classes(x)), self.of_classes(state)
            )
        energy = functools.partial(self.energy, self.lower(state.ema))
        return (
            energy
            if self.config.temperature == 1.0
            else temper(energy, self.config.temperature)
        )

    def of_classes(self, state: TrainState) -> Callable[[Array], Array]:
        """Minus log p(x, y) of all classes y, up to one constant; of labelled runs."""
        energies = functools.partial(self.network, state.ema)
        if METHODS[self.config.objective].learns_shares:
            return energies
        constants = class_constants(
            jax.jit(jax.vmap(energies))(self.batches.point), self.batches.label
        )
        return lambda x: energies(x) - constants


def build(config: Config, dataset: Dataset) -> Run:
    """Network, objective, optimiser and starts of a configuration.

    Raises:
      RunError: an unknown name, or data that are not those of the configuration.
    """
    check(config)
    method = METHODS[config.objective]
    if config.data_digest != digest(dataset):
        raise RunError(f"the data of {config.data!r} have changed since this run began")
    if method.is_binary:
        if config.noise or not np.isin(dataset.x, (0, 1)).all():
            raise RunError(
                f"{config.objective} wants data of 0 and 1 and no noise; try --data binary_digits"
            )
        standard = Standard(np.float32(0), np.float32(1))
        if config.kernel != "gibbs":
            raise RunError(
                f"{config.objective} wants the kernel gibbs, of bits, got {config.kernel}"
            )
    else:
        if config.kernel == "gibbs":
            raise RunError(
                f"the kernel gibbs is of bits, and {config.objective} is not; choose another kernel"
            )
        standard = Standard.of(dataset)
    kept, _ = parts(dataset, config.seed) if method.is_labelled else (dataset, None)
    z = jnp.asarray(standard.forward(kept.x), jnp.float32)
    batches: Any = labelled(z, kept.labels) if method.is_labelled else z
    network = network_of(
        config, z, batches.label.shape[1] if method.is_labelled else None
    )
    at = (config.noise,) if method.is_noise_conditional else ()
    key_params, key_store, key_run = jax.random.split(jax.random.key(config.seed), 3)

    mean = jnp.mean(z, axis=0)
    width = max(0.3, config.noise) if is_image(dataset.x) else 1.5
    draw = lambda key, n: mean + width * jax.random.normal(key, (n, *mean.shape))
    if method.is_binary:
        draw = lambda key, n: jax.random.bernoulli(key, mean, (n, *mean.shape)).astype(
            z.dtype
        )
    objective = method.make(config, network.apply, z)
    chain_init = chain_init_of(config, objective, draw, batches)
    optimizer = optimizer_of(config, objective)

    def init() -> TrainState:
        params = network.init(key_params, z[0], *at)
        key_other = jax.random.fold_in(key_params, 1)
        params = objective.init(key_other, params, batches)
        return init_state(key_store, params, optimizer, chain_init, config.step_size)

    def train(state: TrainState, **options: Any):
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
            ema_decay=config.ema_decay,
            **{"rollback": RollbackPolicy(config.max_rollbacks), **options},
        )

    energy = (lambda params, x: network.apply(params, x, *at)) if at else network.apply
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
        objective,
    )
