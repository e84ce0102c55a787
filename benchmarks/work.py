"""The work of an update, in gradients of its energy, by multiplications in the
programs.

All parts of an update count: chains, second derivatives, a critic or a flow, the
gradient of the loss.  A unit is the multiplications of one gradient dE/dx of the same
network at one point.
"""

import math

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from ebmjax.experiments.experiment import Run


def of_update(run: Run) -> float:
    """The cost of an update in energy gradients."""
    state = jax.eval_shape(run.init)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((run.config.batch_size, *x.shape[1:]), x.dtype),
        run.batches,
    )
    update = jax.make_jaxpr(run.step)(jax.random.key(0), state, batch)
    trained = jax.eval_shape(run.lower, state.params)
    gradient = jax.make_jaxpr(
        lambda params, x: jax.grad(lambda x: run.energy(params, x))(x)
    )(trained, run.z[0])
    return multiplications(update.jaxpr) / multiplications(gradient.jaxpr)


def multiplications(jaxpr: Jaxpr) -> int:
    """Multiplications in matrix products and convolutions; loops count as often as they
    run.

    Raises:
      ValueError: a loop of unknown length.
    """
    total = 0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        inside = sum(multiplications(inner) for inner in _inner(eqn))
        if eqn.primitive.name == "while" and inside:
            raise ValueError("a loop of unknown length holds products of matrices")
        total += times * inside + _own(eqn)
    return total


def _own(eqn) -> int:
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return math.prod(eqn.outvars[0].aval.shape) * math.prod(
            left[i] for i in contracted
        )
    if eqn.primitive.name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        out_features = eqn.params["dimension_numbers"].rhs_spec[0]
        return (
            math.prod(eqn.outvars[0].aval.shape)
            * math.prod(kernel)
            // kernel[out_features]
        )
    return 0


def _inner(eqn) -> list[Jaxpr]:
    found = []
    for value in eqn.params.values():
        for x in value if isinstance(value, tuple | list) else (value,):
            if isinstance(x, ClosedJaxpr):
                found.append(x.jaxpr)
            elif isinstance(x, Jaxpr):
                found.append(x)
    return found
