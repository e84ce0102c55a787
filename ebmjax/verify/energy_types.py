"""Narrow types in an energy: their rounding errors enter every difference."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from ebmjax.verify.energy_probes import Issue

NARROW = ("bfloat16", "float16", "float8")


def narrow_types(energy, position, dtype) -> Iterator[Issue]:
    """Narrow types of the result, or anywhere inside."""
    if jnp.finfo(dtype).bits < 32:
        yield Issue(
            f"the energy is computed in {dtype}",
            "compute its last sum in float32: acceptance depends on differences",
        )
        return
    if any(leaf.dtype.name.startswith(NARROW) for leaf in jax.tree.leaves(position)):
        return
    found = sorted(_dtypes(jax.make_jaxpr(lambda x: energy(x))(position).jaxpr))
    narrow = [name for name in found if name.startswith(NARROW)]
    if narrow:
        yield Issue(
            f"a part of the energy is computed in {', '.join(narrow)}",
            "its rounding error enters every difference of energies; use float32",
        )


def _dtypes(jaxpr) -> set[str]:
    """The dtypes of all values in a program and in nested programs."""
    found = set()
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            found.add(getattr(getattr(variable.aval, "dtype", None), "name", ""))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found |= _dtypes(inner)
    return found
