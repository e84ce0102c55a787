"""Energies of points and labels (Grathwohl, Wang, Jacobsen, Duvenaud, Norouzi & Swersky 2020: "Your
classifier is secretly an energy based model and you should treat it like one").

A network returns K energies, E_1(x), ..., E_K(x); minus them are the logits of a classifier:

    p(x, y) = exp(-E_y(x)) / Z,      p(y | x) = softmax(-E(x))_y,      p(x) = exp(-E(x)) / Z,
    E(x) = -log sum_y exp(-E_y(x)).

    joint              -log p(y | x) - w log p(x): cross entropy, and contrastive divergence on E(x)
    class_conditional  -log p(x | y): contrastive divergence on E_y(x), each chain at a label that stays

With w = 1 the first is maximum likelihood of points and labels together.  If E_y(x) = -log pi_y - log N_y(x),
then log Z = 0, p(y | x) is Bayes', and both are at their minima.  The second says nothing of p(y): constants
c_y added to the energies change nothing in it, since each class counts among the chains for its share of the
batch (:func:`by_class`).

Both take batches of :class:`Labelled` points.  Calibration and out-of-distribution scores:
:mod:`ebmjax.evaluation.classification`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Array, Energy, Kernel, Key, Position, axpy, normal_like
from ebmjax.kernels.combinators import within
from ebmjax.objectives.likelihood import Loss, Mean, Params, maximum_likelihood
from ebmjax.training.chain_init import ChainInit, Draw

ClassEnergies = Callable[[Params, Position], Array]  # [K]
MakeKernel = Callable[[Energy, Array], Kernel]


class Labelled(NamedTuple):
    """Points and what they are."""

    point: Position  # [N, ...]
    label: Array  # [N, K] one in the place of the class, zero elsewhere


def labelled(points: Any, labels: Any, num_classes: int | None = None) -> Labelled:
    """Points ``[N, ...]`` and whole labels ``[N]`` from 0, ready to train on.

    Raises:
      ValueError: labels that are not one a point, negative, or not below ``num_classes``.
    """
    labels = np.asarray(labels)
    num = checks.num_chains(points, "points")
    if num == 0 or labels.shape != (num,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {num or 'some'} whole numbers, got {checks.describe(labels)}"
        )
    num_classes = checks.count(
        int(labels.max()) + 1 if num_classes is None else num_classes, "num_classes"
    )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), got {labels.min()} to {labels.max()}"
        )
    return Labelled(
        checks.position(points, "points"), jax.nn.one_hot(labels, num_classes)
    )


def marginal(class_energies: ClassEnergies) -> Callable[[Params, Position], Array]:
    """E(x) = -log sum_y exp(-E_y(x)): from K energies to one."""
    return lambda params, x: -jax.nn.logsumexp(-class_energies(params, x))


def predict(class_energies: ClassEnergies, params: Params, points: Position) -> Array:
    """Class probabilities ``[N, K]`` of points ``[N, ...]``."""
    return jax.nn.softmax(-jax.vmap(partial(class_energies, params))(points))


def joint(
    class_energies: ClassEnergies,
    make_kernel: MakeKernel,
    num_steps: int,
    *,
    generative_weight: float = 1.0,
    **options: Any,
) -> Loss:
    """The joint objective, -log p(y | x) - w log p(x); chains are of points (:func:`of_points`).

    Args:
      class_energies: ``class_energies(params, x)`` of one point, ``[K]``; ``MLP(num_outputs=K).apply``.
      make_kernel, num_steps: of the chains; with ``options`` as :func:`ebmjax.contrastive`.
      generative_weight: w; zero is a classifier.
    """
    checks.function(class_energies, "class_energies")
    checks.positive(generative_weight, "generative_weight", zero=True)
    generative = maximum_likelihood(
        marginal(class_energies), make_kernel, num_steps, **options
    )

    def loss(params, key, batch, chains):
        _check_batch(batch)
        logits = -jax.vmap(partial(class_energies, params))(batch.point)
        _check_classes(logits, batch.label)
        value, (chains, metrics) = generative(params, key, batch.point, chains)
        cross_entropy = -jnp.mean(
            jnp.sum(batch.label * jax.nn.log_softmax(logits), axis=1)
        )
        is_right = jnp.argmax(logits, axis=1) == jnp.argmax(batch.label, axis=1)
        metrics = {
            **metrics,
            "cross_entropy": cross_entropy,
            "accuracy": jnp.mean(is_right),
        }
        return cross_entropy + generative_weight * value, (chains, metrics)

    return loss


def class_conditional(
    class_energies: ClassEnergies,
    make_kernel: MakeKernel,
    num_steps: int,
    **options: Any,
) -> Loss:
    """Maximum likelihood of points given their labels; chains are :class:`Labelled` and keep their label.

    Arguments as of :func:`joint`.
    """
    checks.function(class_energies, "class_energies")
    checks.function(make_kernel, "make_kernel")

    def energy(params, x):
        energies = class_energies(params, x.point)
        _check_classes(energies, x.label)
        return jnp.vdot(x.label, energies)

    def moves_points(energy, step_size):
        return within(energy, 0, lambda of_point: make_kernel(of_point, step_size))

    loss = maximum_likelihood(
        energy, moves_points, num_steps, means=by_class, **options
    )

    def of_labelled(params, key, batch, chains):
        _check_batch(batch)
        return loss(params, key, batch, chains)

    return of_labelled


def by_class(batch: Labelled, chains: Labelled, is_finite: Array) -> tuple[Mean, Mean]:
    """Means in which every class counts among the chains for its share of the batch; one that no chain has
    counts in neither.  Otherwise a constant added to the energies of a class that too few chains have would
    lower the loss without end."""
    of_chain = is_finite[:, None] * chains.label
    num = jnp.sum(of_chain, axis=0)
    share = jnp.mean(batch.label, axis=0) * (num > 0)
    weight = (
        of_chain @ (share / jnp.maximum(num, 1)) / jnp.sum(share)
    )  # NaN where no chain is left
    of_point = batch.label @ (num > 0) / len(batch.label) / jnp.sum(share)
    mean_model = lambda values: jnp.sum(weight * jnp.where(is_finite, values, 0.0))
    return lambda values: jnp.sum(of_point * values), mean_model


def of_points(chain_init: ChainInit) -> ChainInit:
    """ChainInit of chains of points, where batches are labelled."""
    return chain_init._replace(
        draw=lambda key, buffer, batch, num: chain_init.draw(
            key, buffer, batch.point, num
        ),
        reset=lambda key, batch, num: chain_init.reset(key, batch.point, num),
    )


def with_labels(draw: Draw, shares: Any) -> Draw:
    """Fresh chains with labels, drawn with the shares ``[K]`` that the classes have in the data,
    ``data.label.mean(axis=0)``.

    Raises:
      ValueError: shares that are negative or do not sum to one.
    """
    checks.function(draw, "draw")
    checks.positive(shares, "shares", zero=True)
    shares = np.asarray(shares, np.float64)
    if shares.ndim != 1 or abs(shares.sum() - 1) > 1e-3:
        raise ValueError(
            f"shares must be [K] and sum to one, got shape {shares.shape}, sum {shares.sum():.4g}"
        )
    logits = jnp.asarray(np.log(np.maximum(shares, 1e-30)), jnp.float32)

    def both(key, num):
        key_point, key_label = jax.random.split(key)
        labels = jax.random.categorical(key_label, logits, shape=(num,))
        return Labelled(draw(key_point, num), jax.nn.one_hot(labels, len(logits)))

    return both


def noisy(key: Key, batch: Any, noise: float) -> Any:
    """A batch with Gaussian noise on its points, and none on their labels."""
    if isinstance(batch, Labelled):
        return batch._replace(point=noisy(key, batch.point, noise))
    return axpy(noise, normal_like(key, batch), batch)


def _check_batch(batch):
    if not isinstance(batch, Labelled):
        raise TypeError(
            f"batch must be Labelled, of labelled(points, labels), got {checks.describe(batch)}"
        )


def _check_classes(energies, labels):
    if energies.shape != labels.shape:
        want, got = labels.shape[-1], energies.shape[labels.ndim - 1 :]
        raise ValueError(
            f"class_energies must return one energy a class, [{want}], got shape {got}"
        )
