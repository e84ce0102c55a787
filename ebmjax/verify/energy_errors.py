"""Errors of the evaluation of an energy and of its gradient, as issues with a
suggestion: it raises, it leaves JAX, it is no floating scalar of one point."""

import traceback

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.verify.energy_probes import Issue


def of_value(energy, position) -> Issue | None:
    """An issue if the energy cannot be evaluated or is not a scalar."""
    try:
        value = jax.eval_shape(
            lambda x: energy(x), position
        )  # energy may be unhashable
    except jax.errors.TracerBoolConversionError:
        return Issue(
            "the energy has a Python `if` or `while` on a traced value",
            "use jnp.where or lax.cond",
        )
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
    ) as error:
        message = f"the energy leaves JAX: {_first_line(error)}"
        return Issue(message, "use jax.numpy in place of numpy, float() and .item()")
    except Exception as error:  # whatever a user's function raises
        return raised(error)
    if isinstance(value, tuple | list):
        return Issue(
            f"the energy returns {len(value)} values", "return the energy alone"
        )
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return Issue(
            f"the energy returns {type(value).__name__}", "return a floating scalar"
        )
    if shape != ():
        return _not_scalar(shape, position)
    if not jnp.issubdtype(dtype, jnp.floating):
        return Issue(f"the energy returns {dtype}", "return a floating scalar")
    return None


def _not_scalar(shape, position) -> Issue:
    first = jnp.shape(jax.tree.leaves(position)[0])
    if shape == first[:1] and len(first) > 1:
        return Issue(
            f"the energy maps a batch: {first} to {shape}",
            "write it for one point; the runner adds the chain axis by itself",
        )
    is_one = np.prod(shape) == 1
    suggestion = "use .squeeze()" if is_one else "sum over the coordinates"
    return Issue(f"the energy returns shape {shape}, not a scalar", suggestion)


def raised(error: Exception) -> Issue:
    """An issue for an error in the user's code, with the line that raised it."""
    own = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/jax/" not in f.filename and "/ebmjax/" not in f.filename
    ]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    return Issue(
        f"the energy raises {type(error).__name__}: {_first_line(error)}{where}",
        "call energy(position) without JAX and correct the error there",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def of_gradient(energy, position) -> Issue | None:
    """An issue if the gradient cannot be evaluated."""
    try:
        jax.eval_shape(lambda x: jax.grad(lambda y: energy(y))(x), position)
    except Exception as error:
        text = str(error)
        if "while_loop" in text or "fori_loop" in text:
            suggestion = "use lax.scan, or fori_loop with a fixed number of steps"
        elif "callback" in text.lower():
            suggestion = "give the callback a jax.custom_jvp"
        else:
            suggestion = "look for operations that JAX cannot differentiate"
        message = f"the energy has no gradient: {_first_line(error)}"
        return Issue(message, f"{suggestion}; random_walk needs no gradient")
    return None
