"""Rules of branches and loops.

All branches are computed and one is selected.  Loops of known length are unrolled where
they are short or scan over arrays.  A loop whose length depends on the values goes on
until no chain of the block needs it; chains that are done keep their values.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.fused.entries import entries, filled, flattened, flattened_like
from ebmjax.fused.program import rule

UNROLLED = 500  # operations up to which a loop is unrolled


@rule("cond")
def _cond(program, equation, index, *operands):
    branches, which = equation.params["branches"], index[()]
    if isinstance(which, np.generic):
        branch = branches[int(np.clip(which, 0, len(branches) - 1))]
        return program.evaluate(branch, operands)
    results = [program.evaluate(branch, operands) for branch in branches]
    if len(branches) == 2 and which.dtype != bool:
        which = which != 0
    return [
        program.select(filled(which, cases[0].shape), *cases)
        for cases in zip(*results, strict=True)
    ]


@rule("scan")
def _scan(program, equation, *operands):
    params = equation.params
    length, (num_consts, num_carry) = params["length"], _parts(params)
    consts = operands[:num_consts]
    carry = list(operands[num_consts : num_consts + num_carry])
    xs = operands[num_consts + num_carry :]
    step = lambda carry, x: program.evaluate(params["jaxpr"], [*consts, *carry, *x])
    shapes = [v.aval.shape for v in equation.outvars[num_carry:]]
    if not xs and not shapes and _size(program, step, carry) * length > UNROLLED:
        flat, rebuild = flattened(carry, program.rows)
        once = lambda _, flat: flattened_like(step(rebuild(flat), []), flat)
        return rebuild(jax.lax.fori_loop(0, length, once, flat))
    kept: list[list] = [[] for _ in shapes]
    order = range(length)[:: -1 if params["reverse"] else 1]
    for i in order:
        results = step(carry, [_at(x, i) for x in xs])
        carry = results[:num_carry]
        for items, result in zip(kept, results[num_carry:], strict=True):
            items.append(result)
    by_step = np.argsort(order)
    stacked = [
        entries([x for i in by_step for x in items[i].flat], shape)
        for items, shape in zip(kept, shapes, strict=True)
    ]
    return [*carry, *stacked]


@rule("while")
def _while(program, equation, *operands):
    params = equation.params
    n, m = params["cond_nconsts"], params["body_nconsts"]
    of_cond, of_body = operands[:n], operands[n : n + m]
    flat, rebuild = flattened(operands[n + m :], program.rows)

    def is_on(flat):
        found = program.evaluate(params["cond_jaxpr"], [*of_cond, *rebuild(flat)])
        return found[0][()]

    def any_is_on(flat):
        on = is_on(flat)
        return jnp.max(on.astype(jnp.int32)) > 0 if on.ndim else on

    def step(flat):
        old, on = rebuild(flat), is_on(flat)
        new = program.evaluate(params["body_jaxpr"], [*of_body, *old])
        if on.ndim:
            pairs = zip(old, new, strict=True)
            new = [program.select(filled(on, x.shape), x, y) for x, y in pairs]
        return flattened_like(new, flat)

    return rebuild(jax.lax.while_loop(any_is_on, step, flat))


def _parts(params):
    """The numbers of constants and carried arrays of a scan."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # from JAX 0.11 on
    return len(consts), len(carry)


def _size(program, step, carry):
    """The operations of a step, without it."""
    before = program.size
    jax.eval_shape(lambda: [step(carry, []), None][1])
    size, program.size = program.size - before, before
    return size


def _at(x, i):
    """Row ``i`` as an array, also if it is one number."""
    return x[i : i + 1].reshape(x.shape[1:])
