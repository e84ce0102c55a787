"""Rules of what moves, sums and multiplies entries."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.fused.entries import (
    NotEntrywise,
    entries,
    filled,
    taken,
)
from ebmjax.fused.program import concrete, rule

_REDUCED = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min"}
_REDUCED |= {"reduce_prod": "mul", "reduce_and": "and", "reduce_or": "or"}
_CUMULATIVE = {"cumsum": "add", "cumprod": "mul", "cummax": "max", "cummin": "min"}


@rule("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice")
@rule("rev", "tile", "concatenate", "split", "stack", "unstack", "pad")
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


@rule("argmax", "argmin")
def _argument(program, equation, x):
    """Of the first of the largest; NaN counts as larger than all."""
    is_max = equation.primitive.name == "argmax"
    [axis] = equation.params["axes"]
    rows = np.moveaxis(x, axis, -1)
    dtype = equation.params["index_dtype"]
    found = []
    for row in rows.reshape(-1, x.shape[axis]):
        best, index = row[0], np.dtype(dtype).type(0)
        for i, number in enumerate(row[1:], 1):
            program.count(4)
            larger = number > best if is_max else number < best
            larger = larger | ((number != number) & (best == best))
            index = jnp.where(larger, np.dtype(dtype).type(i), index)
            best = jnp.where(larger, number, best)
        found.append(index)
    return [entries(found, rows.shape[:-1])]


@rule("gather")
def _gather(program, equation, x, index):
    """At constant places; every place and a selection for one index of values."""
    unknown = [i for i, v in enumerate(index.flat) if not isinstance(v, np.generic)]
    if len(unknown) > 1:
        raise NotEntrywise(
            "gather by several indices that depend on the values is not computed "
            "number by number; run without fused"
        )
    known = [v if isinstance(v, np.generic) else 0 for v in index.flat]
    where = np.array(known, np.int32)
    if not unknown:
        return [_gathered(equation, x, where.reshape(index.shape))]
    [place] = unknown
    axis = equation.params["dimension_numbers"].start_index_map[place % index.shape[-1]]
    last = x.shape[axis] - equation.params["slice_sizes"][axis]
    number = jnp.clip(index.flat[place], 0, last)
    result = None
    for i in range(last + 1):
        where[place] = i
        case = _gathered(equation, x, where.reshape(index.shape))
        if result is None:
            result = case
            continue
        program.count(1)
        result = program.select(filled(number >= i, case.shape), result, case)
    return [result]


def _gathered(equation, x, where):
    params = equation.params
    if "FILL" in str(params["mode"]):  # the places are inside of the array
        params = params | {"mode": jax.lax.GatherScatterMode.CLIP, "fill_value": None}
    places = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    return taken(x.ravel(), concrete(equation, [places, where], params)[0])


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
