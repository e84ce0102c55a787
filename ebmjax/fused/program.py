"""A program of arrays as one of single numbers.

:class:`Program` evaluates a jaxpr with every array held as its entries
(:mod:`ebmjax.fused.entries`).  What only moves entries (reshape, slice, gather by a
constant index, concatenate) is done while tracing and costs nothing; sums and matrix
products become additions and multiplications; what is left are elementwise operations
of rows.  Array sizes need not be powers of two, which Pallas asks of arrays on a GPU.

The size of the program grows with the number of entries, and its compile time faster.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from ebmjax.fused.entries import (
    Entries,
    NotEntrywise,
    as_array,
    broadcast,
    constant,
    entries,
)

LARGEST = 20_000  # operations of single numbers in a step

ELEMENTWISE = set(
    """add add_any sub mul div rem max min pow integer_pow neg abs sign floor ceil exp
    exp2 expm1 log log1p sqrt rsqrt cbrt square sin cos tan asin acos atan atan2 sinh
    cosh tanh asinh acosh atanh logistic erf_inv is_finite nextafter clamp eq ne lt le
    gt ge and or xor not shift_left shift_right_logical shift_right_arithmetic
    population_count clz convert_element_type bitcast_convert_type
    log2 one_minus_square""".split()
)
SAME = {"copy", "copy_p", "stop_gradient", "optimization_barrier", "random_wrap"}
SAME |= {"random_unwrap"}
# parameters of functions that are called
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
_PRIMITIVES = {
    "add": jax.lax.add_p,
    "mul": jax.lax.mul_p,
    "max": jax.lax.max_p,
    "min": jax.lax.min_p,
    "and": jax.lax.and_p,
    "or": jax.lax.or_p,
}

Rule = Callable[..., list[Entries]]
RULES: dict[
    str, Rule
] = {}  # rule(program, equation, *operands), by name of a primitive


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of primitives."""

    def register(f):
        RULES.update(dict.fromkeys(names, f))
        return f

    return register


class Program:
    """Evaluates jaxprs for rows ``[num_rows]``, and counts the operations.

    Raises:
      NotEntrywise: when evaluating, naming a primitive without a rule, or the size.
    """

    def __init__(self, num_rows: int, largest: int = LARGEST):
        self.rows, self.size, self.largest = (num_rows,), 0, largest

    def evaluate(self, closed: Any, operands: Sequence[Entries]) -> list[Entries]:
        """The results of a jaxpr with its constants, from the entries of its
        arguments."""
        jaxpr = getattr(closed, "jaxpr", closed)  # one class from JAX 0.11 on
        consts = getattr(closed, "consts", ())
        found: dict[Any, Entries] = {}

        def read(v):
            is_literal = isinstance(v, core.Literal)
            return constant(v.val, v.aval) if is_literal else found[v]

        for v, x in zip(jaxpr.constvars, consts, strict=True):
            found[v] = constant(x, v.aval)
        found |= zip(jaxpr.invars, operands, strict=True)
        for equation in jaxpr.eqns:
            results = self._results(equation, [read(v) for v in equation.invars])
            found |= zip(equation.outvars, results, strict=True)
        return [read(v) for v in jaxpr.outvars]

    def _results(self, equation, operands) -> list[Entries]:
        name, params = equation.primitive.name, equation.params
        if name in SAME:
            return list(operands)
        if not equation.effects and _are_constants(equation, operands):
            types = [v.aval.dtype for v in equation.invars]
            arrays = map(as_array, operands, types)
            results = concrete(equation, list(arrays))
            return [constant(x, x) for x in results]
        if name in ELEMENTWISE:
            return [self._elementwise(equation.primitive, params, operands)]
        if name in RULES:
            return RULES[name](self, equation, *operands)
        inner = next((params[k] for k in _CALLS if k in params), None)
        if inner is None:
            raise NotEntrywise(
                f"the primitive {name} is not computed number by number; run without "
                "fused"
            )
        return self.evaluate(inner, operands)

    def _elementwise(self, primitive, params, operands):
        shape = np.broadcast_shapes(*(x.shape for x in operands))
        flat = [np.broadcast_to(x, shape).ravel() for x in operands]
        found = [self.apply(primitive, params, xs) for xs in zip(*flat, strict=True)]
        return entries(found, shape)

    def apply(self, primitive: Any, params: dict, xs: Sequence[Any]) -> Any:
        """A primitive of single numbers; of constants, now."""
        if all(isinstance(x, np.generic) for x in xs):
            with jax.ensure_compile_time_eval():
                value = primitive.bind(*map(jnp.asarray, xs), **params)
                return np.asarray(value)[()]
        self.count(1)
        return primitive.bind(*broadcast(xs), **params)

    def count(self, num: int) -> None:
        """Operations, at most ``largest`` of them."""
        self.size += num
        if self.size > self.largest:
            raise NotEntrywise(
                f"a step takes more than {self.largest} operations of single numbers; "
                "run without fused"
            )

    def two(self, name: str, a: Any, b: Any) -> Any:
        """A sum, product, maximum, ... of two numbers; one with 0 or 1 may be none."""
        a, b = (b, a) if isinstance(a, np.generic) else (a, b)
        if isinstance(b, np.generic) and not isinstance(a, np.generic):
            if (name, b) in (("add", 0), ("mul", 1)):
                return a
        return self.apply(_PRIMITIVES[name], {}, (a, b))

    def reduce(self, name: str, items: Sequence[Any]) -> Any:
        """Of many numbers, by pairs, which rounds less than one after the other."""
        items = list(items)
        while len(items) > 1:
            pairs = zip(items[::2], items[1::2], strict=False)
            last = items[-1:] if len(items) % 2 else []
            items = [self.two(name, a, b) for a, b in pairs] + last
        return items[0]

    def select(self, which: Entries, *cases: Entries) -> Entries:
        """The case of that number, entry by entry."""
        shape = cases[0].shape
        if 0 < which.ndim < len(shape):  # of keys, which have two words
            which = which[..., None]
        which = np.broadcast_to(which, shape)
        rows = zip(which.flat, *(c.flat for c in cases), strict=True)
        return entries([self._one_of(w, each) for w, *each in rows], shape)

    def _one_of(self, which, cases):
        if isinstance(which, np.generic):
            return cases[int(which)]
        if all(case is cases[0] for case in cases[1:]):
            return cases[0]
        self.count(1)
        if which.dtype == bool:
            no, yes, which = broadcast((*cases, which))
            return jax.lax.select_n(which, no, yes)
        result = cases[0]
        for i, case in enumerate(cases[1:], 1):
            is_here = jax.lax.eq(which, jnp.full_like(which, i))
            result = self._one_of(is_here, (result, case))
        return result


def _are_constants(equation, operands) -> bool:
    """Whether a primitive can be computed now; functions and keys are followed."""
    if any(k in equation.params for k in (*_CALLS, "branches", "cond_jaxpr")):
        return False
    is_key = lambda v: jnp.issubdtype(v.aval.dtype, jax.dtypes.prng_key)
    if any(map(is_key, (*equation.invars, *equation.outvars))):
        return False
    return all(isinstance(x, np.generic) for array in operands for x in array.flat)


def concrete(equation: Any, operands: Sequence[Any], params: Any = None) -> list[Any]:
    """A primitive of concrete arrays, computed now."""
    with jax.ensure_compile_time_eval():
        found = equation.primitive.bind(
            *map(jnp.asarray, operands), **(params or equation.params)
        )
        many = found if equation.primitive.multiple_results else [found]
        return [np.asarray(x) for x in many]


# the rules register themselves
from ebmjax.fused import array_rules, control_rules, key_rules  # noqa: E402, F401
