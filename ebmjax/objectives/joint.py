"""Energies of points and labels (Grathwohl, Wang, Jacobsen, Duvenaud, Norouzi & Swersky
2020: "Your classifier is secretly an energy based model and you should treat it like
one").

A network returns K energies, E_1(x), ..., E_K(x); minus them are the logits of a
classifier:

    p(x, y) = exp(-E_y(x)) / Z,   p(y | x) = softmax(-E(x))_y,   p(x) = exp(-E(x)) / Z,
    E(x) = -log sum_y exp(-E_y(x)).

    joint              -log p(y | x) - w log p(x): cross entropy, and maximum likelihood
                       with chains on E(x)
    class_conditional  -log p(x | y): maximum likelihood with chains on E_y(x), each
                       at a label that stays

With w = 1 the first is maximum likelihood of points and labels together.  If
E_y(x) = -log pi_y - log N_y(x), then log Z = 0, p(y | x) is that of Bayes' rule, and
both are at their minima.  The second does not determine p(y): constants c_y added to
the energies change nothing in it, since each class counts among the chains for its
share of the batch (:func:`by_class`).

Both take batches of :class:`~ebmjax.objectives.batches.Labelled` points; their chains
start as :mod:`ebmjax.objectives.conditional_chains` says.  Calibration and
out-of-distribution scores: :mod:`ebmjax.evaluation.classification`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ebmjax import _validation as checks
from ebmjax._value import Value, function, number, part, value
from ebmjax.base import Array, Position
from ebmjax.kernels.within import within
from ebmjax.objectives.base import (
    MakeKernel,
    Objective,
    Params,
    TrainableEnergy,
    optional,
)
from ebmjax.objectives.batches import Labelled, check_labelled
from ebmjax.objectives.likelihood import Mean, maximum_likelihood

ClassEnergies = Callable[[Params, Position], Array]  # [K]


# --- energies -----------------------------------------------------------------------


@value
class Marginal(Value):
    """Made by :func:`marginal`."""

    class_energies: ClassEnergies = function()

    def __call__(self, params: Params, x: Position) -> Array:
        return -jax.nn.logsumexp(-self.class_energies(params, x))


def marginal(class_energies: ClassEnergies) -> TrainableEnergy:
    """E(x) = -log sum_y exp(-E_y(x)): from K energies to one."""
    return Marginal(class_energies)


@value
class AtLabel(Value):
    """E_y(x) of a labelled point."""

    class_energies: ClassEnergies = function()

    def __call__(self, params: Params, x: Labelled) -> Array:
        energies = self.class_energies(params, x.point)
        _check_classes(energies, x.label)
        return jnp.vdot(x.label, energies)


def predict(class_energies: ClassEnergies, params: Params, points: Position) -> Array:
    """Class probabilities ``[N, K]`` of points ``[N, ...]``."""
    return jax.nn.softmax(-jax.vmap(partial(class_energies, params))(points))


# --- objectives ---------------------------------------------------------------------


@value
class Joint(Objective):
    """Made by :func:`joint`; ``generative`` is maximum likelihood on E(x)."""

    generative: Any = part()
    generative_weight: Any = number(default=1.0)

    def check(self):
        if self.generative_weight is not None:
            checks.positive(self.generative_weight, "generative_weight", zero=True)

    @property
    def uses_chains(self):
        return self.generative_weight is not None

    def loss(self, params, key, batch, chains):
        check_labelled(batch)
        class_energies = self.generative.energy.class_energies
        logits = -jax.vmap(partial(class_energies, params))(batch.point)
        _check_classes(logits, batch.label)
        log_p = jax.nn.log_softmax(logits)
        cross_entropy = -jnp.mean(jnp.sum(batch.label * log_p, axis=1))
        is_right = jnp.argmax(logits, axis=1) == jnp.argmax(batch.label, axis=1)
        metrics = {"cross_entropy": cross_entropy, "accuracy": jnp.mean(is_right)}
        if self.generative_weight is None:
            return cross_entropy, (chains, metrics)
        value, (chains, more) = self.generative(params, key, batch.point, chains)
        return cross_entropy + self.generative_weight * value, (chains, metrics | more)


def joint(
    class_energies: ClassEnergies,
    make_kernel: MakeKernel,
    num_steps: int,
    *,
    generative_weight: Any = 1.0,
    **options: Any,
) -> Objective:
    """The joint objective, -log p(y | x) - w log p(x); chains are of points
    (:func:`~ebmjax.objectives.conditional_chains.of_points`).

    Args:
      class_energies: ``class_energies(params, x)`` of one point, ``[K]``;
        ``MLP(num_outputs=K).apply``.
      make_kernel, num_steps: of the chains; these and ``options`` as of
        :func:`ebmjax.maximum_likelihood`.
      generative_weight: w; 0 is a classifier, which runs no chains.

    Metrics: those of maximum likelihood, the cross entropy and the accuracy.

    Raises:
      ValueError: a negative weight; when traced, not one energy a class.
      TypeError: when traced, a batch that is not :class:`Labelled`.

    >>> joint(MLP((64,), num_outputs=3).apply, mala, 10)  # doctest: +SKIP
    """
    checks.function(class_energies, "class_energies")
    energy = marginal(class_energies)
    generative = maximum_likelihood(energy, make_kernel, num_steps, **options)
    return Joint(generative, optional(generative_weight))


@value
class ClassConditional(Objective):
    """Made by :func:`class_conditional`; ``generative`` is maximum likelihood."""

    generative: Any = part()
    uses_chains = True

    def loss(self, params, key, batch, chains):
        check_labelled(batch)
        return self.generative(params, key, batch, chains)


def class_conditional(
    class_energies: ClassEnergies,
    make_kernel: MakeKernel,
    num_steps: int,
    **options: Any,
) -> Objective:
    """Maximum likelihood of points given their labels; chains are :class:`Labelled` and
    keep their label.

    Arguments and errors as of :func:`joint`.
    """
    checks.function(class_energies, "class_energies")
    checks.function(make_kernel, "make_kernel")
    energy, of_points = AtLabel(class_energies), partial(_moves_points, make_kernel)
    if (make_global := options.get("make_global_kernel")) is not None:
        options["make_global_kernel"] = partial(_moves_points_far, make_global)
    return ClassConditional(
        maximum_likelihood(energy, of_points, num_steps, means=by_class, **options)
    )


def _moves_points(make_kernel, energy, step_size):
    """A kernel of labelled points that leaves the labels."""
    return within(energy, 0, partial(_with_step_size, make_kernel, step_size))


def _moves_points_far(make_global_kernel, energy):
    """The same of a kernel without a step size."""
    return within(energy, 0, make_global_kernel)


def _with_step_size(make_kernel, step_size, energy):
    return make_kernel(energy, step_size)


def by_class(batch: Labelled, chains: Labelled, is_finite: Array) -> tuple[Mean, Mean]:
    """Means in which every class counts among the chains for its share of the batch; a
    class without chains counts in neither.

    Otherwise a constant added to the energies of a class that has too few chains would
    lower the loss without bound.
    """
    of_chain = is_finite[:, None].astype(chains.label.dtype) * chains.label
    num = jnp.sum(of_chain, axis=0)
    has_chains = (num > 0).astype(num.dtype)
    share = jnp.mean(batch.label, axis=0) * has_chains
    # NaN where no chain is left
    weight = of_chain @ (share / jnp.maximum(num, 1)) / jnp.sum(share)
    of_point = batch.label @ has_chains / len(batch.label) / jnp.sum(share)
    mean_model = lambda values: jnp.sum(weight * jnp.where(is_finite, values, 0.0))
    return lambda values: jnp.sum(of_point * values), mean_model


def _check_classes(energies, labels):
    if energies.shape != labels.shape:
        want, got = labels.shape[-1], energies.shape[labels.ndim - 1 :]
        raise ValueError(
            f"class_energies must return one energy a class, [{want}], got shape {got}"
        )
