"""The size of a program, counted in its jaxpr: numbers that it computes, equations."""

import math
from typing import Any

NESTED = 4  # rounds of a loop of unknown length within another, if more is said of one
PRODUCTS = 8  # products of a matrix product that take as long as another number


def work(f: Any, *arguments: Any, loops: int = 1) -> float:
    """The numbers that a call of a jitted function computes, counted in its jaxpr;
    loops of unknown length count ``loops`` times, and those within them four times."""
    return _size(f.trace(*arguments).jaxpr.jaxpr, loops)


def _size(jaxpr, loops) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        is_open = name == "while"
        within = min(loops, NESTED) if is_open else loops
        inner = [_size(p, within) for p in _jaxprs(parameters)]
        if inner:
            total += sum(inner) * parameters.get("length", loops**is_open)
            continue
        size = sum(math.prod(v.aval.shape) for v in equation.outvars)
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            size *= max(math.prod(shape[i] for i in contracted) / PRODUCTS, 1)
        elif name == "conv_general_dilated":
            shape = equation.invars[1].aval.shape
            num_features = shape[parameters["dimension_numbers"].rhs_spec[0]]
            size *= max(math.prod(shape) / num_features / PRODUCTS, 1)
        total += size
    return total


def num_equations(jaxpr: Any) -> int:
    """Of a jaxpr and of all jaxprs in it."""
    inner = [num_equations(p) for e in jaxpr.eqns for p in _jaxprs(e.params)]
    return len(jaxpr.eqns) + sum(inner)


def _jaxprs(parameters):
    for parameter in parameters.values():
        for item in parameter if isinstance(parameter, tuple | list) else (parameter,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
