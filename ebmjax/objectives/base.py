"""Objectives: three functions, as an Optax transformation is two functions.

    init(key, params, data) -> trained       the trained parameters, of the energy and
                                             of log Z, a critic, a flow
    loss(trained, key, batch, chains) -> (loss, (chains, metrics))
    energy_params(trained) -> params         the parameters of the energy

Training is Optax on the gradient of ``loss``.  Objectives without chains return them
unchanged.  An objective is a pytree: its weights and temperatures are leaves, so that a
new number compiles nothing, and the energy, the kernel and the rest are structure.

``update_scale`` sets a different learning rate for a learned part: it is a tree prefix
of ``trained`` whose numbers multiply the updates of the optimiser.  :func:`ebmjax.fit`
and ``train_step`` apply it; a loop on Optax alone chains it,

    optimizer = optax.chain(optax.adam(1e-3), scale_updates(objective.update_scale))
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ebmjax import _validation as checks
from ebmjax._value import Value, function, static, value
from ebmjax.base import Array, Energy, Kernel, Key, Position

Params = Any
Metrics = dict[str, Array]
TrainableEnergy = Callable[[Params, Position], Any]
MakeKernel = Callable[[Energy, Array], Kernel]  # of an energy and a step size
Loss = Callable[[Params, Key, Position, Any], tuple[Array, tuple[Any, Metrics]]]


class Chains(NamedTuple):
    """The chains between updates: positions, but no energies, and the step size."""

    position: Position  # [C, ...]
    step_size: Array  # []


class Players(NamedTuple):
    """The parameters of an energy and of a second model that is trained with it."""

    energy: Params
    other: Params


class Objective(Value):
    """A way to train an energy; see :mod:`ebmjax.objectives.base` for its methods.

    ``Objective(loss)`` makes one of a function
    ``loss(params, key, batch, chains) -> (loss, (chains, metrics))``; ``init`` and
    ``energy_params`` are the identity by default.  The objectives of the library are
    subclasses with fields.

    Attributes:
      uses_chains: ``loss`` moves the chains that it gets.
      adds_noise: ``loss`` adds noise to the data, so the loop must not.
      update_scale: multiplies the updates of the optimiser, a tree prefix of the
        trained parameters.

    >>> def loss(params, key, batch, chains):
    ...     return jnp.mean((batch - params) ** 2), (chains, {})
    >>> objective = Objective(loss)
    """

    uses_chains: bool = False
    adds_noise: bool = False
    update_scale: Any = 1.0

    def __new__(cls, *args: Any, **options: Any) -> "Objective":
        return object.__new__(_FunctionObjective if cls is Objective else cls)

    def __init__(self, *args: Any, **options: Any):
        raise NotImplementedError  # every subclass is a dataclass and has its own

    def init(self, key: Key, params: Params, data: Any = None) -> Any:
        """The trained parameters; ``data`` ``[N, ...]`` are the training points."""
        return params

    def loss(
        self, params: Any, key: Key, batch: Position, chains: Any
    ) -> tuple[Array, tuple[Any, Metrics]]:
        """The loss of a batch ``[B, ...]``, the chains after it, and metrics."""
        raise NotImplementedError

    def energy_params(self, params: Any) -> Params:
        """The parameters of the energy, from the trained parameters."""
        return params

    def __call__(self, params, key, batch, chains):
        return self.loss(params, key, batch, chains)


def _identity(key: Key, params: Params, data: Any = None) -> Params:
    return params


def _same(params: Params) -> Params:
    return params


@value
class _FunctionObjective(Objective):
    """An objective of up to three functions."""

    loss: Loss = function()  # type: ignore[assignment]
    init: Callable[..., Any] = function(default=_identity, kw_only=True)
    energy_params: Callable[[Any], Params] = function(  # type: ignore[assignment]
        default=_same, kw_only=True
    )
    uses_chains: bool = static(default=False, kw_only=True)
    adds_noise: bool = static(default=False, kw_only=True)

    def __repr__(self) -> str:
        return super().__repr__().removeprefix("_Function")


class MeanOverPoints(Objective):
    """An objective that is a mean over the points of a batch and needs no chains.

    Metric: the standard deviation over the batch.
    """

    def of_point(self, params: Any, key: Key, x: Position) -> Array:
        """The loss of one point."""
        raise NotImplementedError

    def loss(self, params, key, batch, chains):
        keys = jax.random.split(key, checks.num_chains(batch, "batch"))
        values = jax.vmap(partial(self.of_point, params))(keys, batch)
        return jnp.mean(values), (chains, {"loss_spread": jnp.std(values)})


def as_objective(item: Any) -> Objective:
    """The given objective, or one made from a function ``loss``."""
    return item if isinstance(item, Objective) else Objective(item)


def optional(number: Any) -> Any:
    """``None`` in place of a plain zero, so that a disabled term costs nothing."""
    is_plain = isinstance(number, int | float) and not isinstance(number, bool)
    return None if is_plain and number == 0 else number


def means_of(chains: Array, is_finite: Array) -> Array:
    """The mean over finite chains; NaN if there is none."""
    num = jnp.sum(is_finite).astype(chains.dtype)
    return jnp.sum(jnp.where(is_finite, chains, 0.0)) / num


# --- a second trained model ---------------------------------------------------------


def init_other(
    make: Callable[[Key, Position], Params] | None,
    key: Key,
    data: Any,
    *,
    call: str,
    trains: str,
) -> Params:
    """``make(key, x)``, with ``x`` the first of the points ``data`` ``[N, ...]``.

    Raises:
      TypeError: no ``make`` (``call`` says how to give one, and ``trains`` what to
        train without), or no data.
    """
    if make is None:
        raise TypeError(
            f"init needs {call} to make the parameters beside the energy; without it, "
            f"train {trains} of your own"
        )
    if data is None:
        raise TypeError("init needs data [N, ...], for the shape of a point; got None")
    return make(key, jax.tree.map(lambda x: x[0], data))


def scale_updates(scale: Any) -> optax.GradientTransformation:
    """Multiply the updates of an optimiser by ``scale``, a tree prefix of numbers.

    >>> scale_updates(Players(1.0, 5.0)).update(Players(1.0, 1.0), optax.EmptyState())
    (Players(energy=1.0, other=5.0), EmptyState())
    """
    times = lambda s, updates: jax.tree.map(lambda u: s * u, updates)
    return optax.stateless(lambda updates, _: jax.tree.map(times, scale, updates))
