"""Rules of what moves, sums and multiplies entries."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.fused.entries import (
    NotEntrywise,
    as_array,
    constant,
    entries,
    filled,
    is_constant,
    taken,
)
from ebmjax.fused.program import concrete, rule

_REDUCED = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min"}
_REDUCED |= {"reduce_prod": "mul", "reduce_and": "and", "reduce_or": "or"}
_CUMULATIVE = {"cumsum": "add", "cumprod": "mul", "cummax": "max", "cummin": "min"}


@rule("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice")
@rule("rev", "concatenate", "split", "stack", "unstack", "pad")
def _move(program, equation, *operands):
    """What moves entries, done to their places; of keys, to both words."""
    shapes = [v.aval.shape for v in equation.invars]
    words = (2,) if operands[0].ndim > len(shapes[0]) else ()
    flat = np.concatenate([x.reshape((-1, *words)) for x in operands])
    starts = np.cumsum([0, *map(math.prod, shapes)])
    places = [
        np.arange(start, start + math.prod(shape), dtype=np.int32).reshape(shape)
        for start, shape in zip(starts[:-1], shapes, strict=True)
    ]
    return [taken(flat, where) for where in concrete(equation, places)]


@rule("iota")
def _iota(program, equation):
    return [constant(x, x) for x in concrete(equation, [])]


@rule("select_n")
def _select(program, equation, which, *cases):
    return [program.select(which, *cases)]


@rule("reduce_precision")
def _reduce_precision(program, equation, x):
    info = jnp.finfo(equation.invars[0].aval.dtype)
    bits = equation.params["exponent_bits"], equation.params["mantissa_bits"]
    if bits != (info.nexp, info.nmant):
        raise NotEntrywise("reduce_precision is not computed number by number")
    return [x]


@rule(*_REDUCED)
def _reduce(program, equation, x):
    axes, name = equation.params["axes"], _REDUCED[equation.primitive.name]
    kept = [i for i in range(x.ndim) if i not in axes]
    shape = tuple(x.shape[i] for i in kept)
    rows = x.transpose(*kept, *axes).reshape(math.prod(shape), -1)
    return [entries([program.reduce(name, row) for row in rows], shape)]


@rule(*_CUMULATIVE)
def _cumulate(program, equation, x):
    axis, name = equation.params["axis"], _CUMULATIVE[equation.primitive.name]
    x = np.moveaxis(x, axis, 0)
    step = -1 if equation.params["reverse"] else 1
    result, total = np.empty_like(x), None
    for i in range(len(x))[::step]:
        if total is None:
            total = x[i : i + 1].ravel()
        else:
            pairs = zip(total, x[i : i + 1].flat, strict=True)
            total = [program.two(name, a, b) for a, b in pairs]
        result[i] = entries(total, x.shape[1:])
    return [np.moveaxis(result, 0, axis)]


@rule("dot_general")
def _dot_general(program, equation, a, b):
    (sum_a, sum_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    free_a = [i for i in range(a.ndim) if i not in (*sum_a, *batch_a)]
    free_b = [i for i in range(b.ndim) if i not in (*sum_b, *batch_b)]
    shape = [a.shape[i] for i in (*batch_a, *free_a)] + [b.shape[i] for i in free_b]
    size, batch = (math.prod(a.shape[i] for i in axes) for axes in (sum_a, batch_a))
    a = a.transpose(*batch_a, *free_a, *sum_a).reshape(batch, -1, size)
    b = b.transpose(*batch_b, *free_b, *sum_b).reshape(batch, -1, size)
    found = []
    for i, m, n in np.ndindex(batch, a.shape[1], b.shape[1]):
        pairs = zip(a[i, m], b[i, n], strict=True)
        found.append(
            program.reduce("add", [program.two("mul", x, y) for x, y in pairs])
        )
    return [entries(found, tuple(shape))]


@rule("gather")
def _gather(program, equation, x, index):
    if not is_constant(index):
        raise NotEntrywise(
            "gather by an index that depends on the values is not computed number by "
            "number; run without fused"
        )
    params = equation.params
    if "FILL" in str(params["mode"]):  # of constant places, inside of the array
        params = params | {"mode": jax.lax.GatherScatterMode.CLIP, "fill_value": None}
    places = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    where = as_array(index, np.int32)
    return [taken(x.ravel(), w) for w in concrete(equation, [places, where], params)]


@rule("dynamic_slice")
def _dynamic_slice(program, equation, x, *starts):
    """One axis after the other; every slice and a selection where a start is no
    constant."""
    sizes = equation.params["slice_sizes"]
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        cases = [
            np.take(x, range(i, i + size), axis)
            for i in range(x.shape[axis] - size + 1)
        ]
        start = start[()]
        if isinstance(start, np.generic):
            x = cases[int(np.clip(start, 0, len(cases) - 1))]
            continue
        x = cases[0]
        for i, case in enumerate(cases[1:], 1):
            is_reached = start >= i
            program.count(1)
            x = program.select(filled(is_reached, x.shape), x, case)
    return [x]


@rule("dynamic_update_slice")
def _dynamic_update_slice(program, equation, x, update, *starts):
    choices = []
    for start, whole, part in zip(starts, x.shape, update.shape, strict=True):
        start, last = start[()], whole - part
        if isinstance(start, np.generic):
            choices.append([(int(np.clip(start, 0, last)), None)])
        else:
            clipped = jnp.clip(start, 0, last)
            choices.append([(i, clipped == i) for i in range(last + 1)])
    result = x.copy()
    for corner in itertools.product(*choices):
        pairs = zip(corner, update.shape, strict=True)
        where = tuple(slice(i, i + n) for (i, _), n in pairs)
        conditions = [c for _, c in corner if c is not None]
        if conditions:
            is_here = program.reduce("and", conditions)
            chosen = filled(is_here, update.shape)
            result[where] = program.select(chosen, result[where], update)
        else:
            result[where] = update
    return [result]
