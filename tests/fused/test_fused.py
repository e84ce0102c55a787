"""Runs in two launches of a GPU: the numbers of ``run``, the laws of exact starts, what is
refused.  Without a GPU the kernel is interpreted."""

import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import ebmjax as eb
from ebmjax.base import scalar
from ebmjax.energies.lattice import ising
from ebmjax.fused import launches, program
from ebmjax.fused import run as fused
from ebmjax.fused.entries import NotEntrywise, entries
from ebmjax.kernels import barker, gaussian_prior
from ebmjax.sampling import loop
from ebmjax.sampling import sample as sampling
from ebmjax.sampling.collect import position_of

PRECISION = jnp.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 1.5]])


def correlated(x):
    return 0.5 * x @ PRECISION @ x


def tree_energy(x):
    return 0.5 * jnp.sum(x["a"] ** 2) + jnp.sum(jnp.cosh(x["b"])) + 0.1 * x["a"][0]


KERNELS = {
    "random walk": lambda: eb.random_walk(correlated, 0.7),
    "mala": lambda: eb.mala(correlated, 0.5),
    "ula": lambda: eb.ula(correlated, 0.3),
    "hmc": lambda: eb.hmc(correlated, 0.4, 4),
    "hmc, a number of steps that may change": lambda: eb.hmc(
        correlated, 0.4, jnp.asarray(3)
    ),
    "hmc, random lengths": lambda: eb.hmc(correlated, 0.4, 4, jitter=True),
    "hmc, many steps": lambda: eb.hmc(correlated, 0.1, 60),
    "dense step": lambda: eb.mala(
        correlated, eb.Dense(0.5 * jnp.linalg.cholesky(PRECISION))
    ),
    "underdamped": lambda: eb.underdamped_langevin(correlated, 0.3, 1.0),
    "barker": lambda: barker.barker(correlated, 0.6),
    "pcn": lambda: gaussian_prior.pcn(lambda x: jnp.sum(x**4), 0.5),
    "nuts": lambda: eb.nuts(correlated, 0.5),
    "cycle": lambda: eb.cycle(
        eb.mala(correlated, 0.5), eb.random_walk(correlated, 1.0)
    ),
}


@functools.cache
def both(name, num_chains=5, num_steps=12):
    kernel = eb.parallel(KERNELS[name]())
    keys = eb.chain_keys(jax.random.key(7), num_chains)
    state = kernel.init(jax.random.normal(jax.random.key(8), (num_chains, 3)))
    return (
        jax.jit(lambda k, s: fused.run(k, kernel, s, num_steps))(keys, state),
        loop.run(keys, kernel, state, num_steps),
    )


def close(found, expected, tolerance=2e-5):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(b, float), tolerance, tolerance
        )


@pytest.mark.parametrize("name", KERNELS)
def test_a_fused_run_equals_run(name):
    found, expected = both(name)
    close(found, expected)
    assert np.std(np.asarray(found.draws)) > 0.1  # the chains move


def test_another_key_gives_other_numbers():
    """The control: the comparison fails where a chain has the key of another."""
    kernel = eb.parallel(KERNELS["mala"]())
    keys = eb.chain_keys(jax.random.key(7), 5)
    state = kernel.init(jax.random.normal(jax.random.key(8), (5, 3)))
    _, expected = both("mala")
    with pytest.raises(AssertionError):
        close(fused.run(keys[::-1], kernel, state, 12), expected)


def setting(kernel, positions, seed=3):
    chains = eb.parallel(kernel)
    num_chains = len(jax.tree.leaves(positions)[0])
    keys = eb.chain_keys(jax.random.key(seed), num_chains)
    return keys, chains, chains.init(positions)


def test_trees_thinning_starts_and_records():
    positions = {"a": jnp.ones((3, 2)), "b": jnp.zeros((3,))}
    keys, kernel, state = setting(eb.mala(tree_energy, 0.6), positions)
    options = {"start": 5, "thin": 3}
    found = fused.run(keys, kernel, state, 12, collect=eb.collect_stats, **options)
    expected = loop.run(keys, kernel, state, 12, collect=eb.collect_stats, **options)
    close(found.state, expected.state)
    close(found.info, expected.info)
    close(found.draws.position, expected.draws.position)
    close(found.draws.energy, expected.draws.energy)


def test_noise_in_pieces_changes_no_number(monkeypatch):
    keys, kernel, state = setting(eb.random_walk(correlated, 0.7), jnp.ones((2, 3)))
    whole = fused.run(keys, kernel, state, 10)
    monkeypatch.setattr(launches, "NOISE_BYTES", 4 * 2 * (3 + 1) * 4)  # four steps
    close(fused.run(keys, kernel, state, 10), whole, 0)


def test_one_kernel_a_chain():
    kernel = eb.stack([eb.mala(correlated, h) for h in (0.1, 0.5, 0.9)])
    keys, positions = eb.chain_keys(jax.random.key(0), 3), jnp.ones((3, 3))
    state = kernel.init(positions)
    close(fused.run(keys, kernel, state, 8), loop.run(keys, kernel, state, 8))


def test_spins_by_gibbs():
    energy = ising(0.4)
    keys, kernel, state = setting(eb.gibbs(energy), jnp.ones((4, 2, 2)))
    close(fused.run(keys, kernel, state, 6), loop.run(keys, kernel, state, 6))


def test_exact_starts_stay_exact():
    """2,048 chains from the target, 30 steps: chi-square of x^T P x at D = 3.  Variances
    off by 20 % are seen; those off by less than 5 % are not."""
    normal = jax.random.normal(jax.random.key(1), (2048, 3))
    root = jnp.linalg.inv(jnp.linalg.cholesky(PRECISION))
    keys, kernel, state = setting(eb.hmc(correlated, 0.7, 3), normal @ root)
    found = jax.jit(lambda k, s: fused.run(k, kernel, s, 30, collect=eb.discard))(
        keys, state
    )
    squares = 2 * np.asarray(found.state.energy)
    assert stats.kstest(squares, stats.chi2(3).cdf).pvalue > 1e-4
    assert stats.kstest(1.2 * squares, stats.chi2(3).cdf).pvalue < 1e-4
    rate = np.asarray(found.info.acceptance_rate)
    assert 0.5 < rate.mean() < 0.99


def test_sample_collects_constrained_values(monkeypatch):
    energy = eb.constrain(lambda x: jnp.sum(x - jnp.log(x)), eb.supports.positive())
    kernel, key = eb.hmc(energy, 0.4, 3), jax.random.key(5)
    monkeypatch.setattr(sampling, "_check_fused", lambda *a: None)
    found = eb.sample(key, kernel, jnp.ones((3, 2)), 8, num_warmup=4, fused=True)
    expected = eb.sample(key, kernel, jnp.ones((3, 2)), 8, num_warmup=4)
    close(found.draws, expected.draws)
    assert found.draws.min() > 0 and found.support is not None


REFUSED = {
    "a primitive": (
        lambda x: jnp.sum(jax.scipy.special.gammaln(x)),
        "the primitive lgamma is not computed number by number",
    ),
    "an index of values": (
        lambda x: jnp.sum(x**2) + jnp.sum(jnp.arange(3.0)[(x > 0).astype(int)]),
        "gather by several indices that depend on the values",
    ),
    "a large product": (
        lambda x: jnp.sum(jnp.tanh(jnp.ones((200, 200)) @ (jnp.ones((200, 3)) @ x))),
        "more than 20000 operations",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_energies_are_refused_by_name(name):
    energy, message = REFUSED[name]
    keys, kernel, state = setting(eb.random_walk(energy, 0.5), jnp.ones((2, 3)))
    with pytest.raises(NotEntrywise, match=message):
        fused.run(keys, kernel, state, 2)


def test_bad_arguments_are_named():
    one = eb.mala(correlated, 0.5)
    keys, kernel, state = setting(one, jnp.ones((2, 3)))
    with pytest.raises(TypeError, match="a fused run is of many chains"):
        fused.run(keys[0], one, one.init(jnp.ones(3)), 2)
    with pytest.raises(TypeError, match="position_of, collect_stats or discard"):
        fused.run(keys, kernel, state, 2, collect=lambda s, i: s.energy)
    with pytest.raises(ValueError, match="multiple of thin"):
        fused.run(keys, kernel, state, 3, thin=2)
    with pytest.raises(TypeError, match="threefry keys"):
        fused.run(eb.chain_keys(jax.random.key(0, impl="rbg"), 2), kernel, state, 2)
    if jax.default_backend() != "gpu":
        with pytest.raises(ValueError, match="fused=True is for a GPU"):
            eb.sample(jax.random.key(0), one, jnp.ones((2, 3)), 2, fused=True)


# --- the rules ----------------------------------------------------------------------


def row_by_row(f, *arguments):
    """``f`` by entries, of arguments whose first axis is that of the rows."""
    shapes = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in arguments]
    jaxpr, tree = jax.make_jaxpr(f, return_shape=True)(*shapes)
    split = [
        entries([x[:, *i] for i in np.ndindex(*x.shape[1:])], x.shape[1:])
        for x in arguments
    ]
    found = program.Program(len(arguments[0])).evaluate(jaxpr, split)
    rows = len(arguments[0])
    arrays = [
        np.stack([np.broadcast_to(v, (rows,)) for v in x.flat], 1).reshape(
            rows, *x.shape
        )
        for x in found
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), arrays)


FUNCTIONS = {
    "reductions": lambda x: (x.sum(0), x.max(1), x.min(), x.prod(), (x > 0).any(), (x > 0).all(1)),
    "cumulative": lambda x: (jnp.cumsum(x, 1), jnp.cumsum(x[::-1], 0), jax.lax.cummax(x)),
    "moves": lambda x: (jnp.pad(x, ((1, 0), (0, 2))), jnp.roll(x, 1, 1), x.T, jnp.tile(x, 2)),
    "split": lambda x: jnp.split(x, 2, axis=1),
    "products": lambda x: (x @ x.T, jnp.tensordot(x, jnp.ones((3, 2, 4)), ((0,), (0,))), jnp.einsum("ij,kj->ik", x, x[:2] + 1), jnp.outer(x[0], x[1])),
    "constant index": lambda x: (x[jnp.array([2, 0, 2])], x[1], x[:, ::2], x[-1, -1]),
    "largest": lambda x: (jnp.argmax(x, 0), jnp.argmin(x, 1), x[jnp.argmax(x[:, 0])]),
    "branches": lambda x: jax.lax.cond(x[0, 0] > 0, lambda y: y * 2, lambda y: y - 1, x),
    "three branches": lambda x: jax.lax.switch(
        (x[0, 0] > 0).astype(int) + (x[0, 1] > 0), [lambda y: y, lambda y: -y, jnp.cos], x
    ),
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + y, c * y), x[0], x),
    "scan in reverse": lambda x: jax.lax.scan(
        lambda c, y: (c + y, c * y), x[0], x, reverse=True
    ),
    "loop": lambda x: jax.lax.fori_loop(0, 400, lambda i, y: 0.9 * y + jnp.sin(y), x),
    "loop until": lambda x: jax.lax.while_loop(
        lambda y: jnp.sum(y**2) > 0.1, lambda y: 0.5 * y, x
    ),
    "slice": lambda x: jax.lax.dynamic_slice(x, ((x[0, 0] * 3).astype(int), 1), (2, 2)),
    "update": lambda x: jax.lax.dynamic_update_slice(
        x, jnp.ones((1, 2)), ((x[0, 0] * 3).astype(int), (x[0, 1] * 5).astype(int))
    ),
    "elementwise": lambda x: (jnp.logaddexp(x, 1.0), jax.nn.softplus(x), jnp.clip(x, -1, 1), x**3),
    "gradient": lambda x: jax.grad(lambda y: jnp.sum(jnp.tanh(y) ** 2) + jnp.max(y))(x),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_by_rows_equal_vmap(name):
    x = jax.random.normal(jax.random.key(2), (6, 3, 4))
    x = x * jnp.array([0.1, 0.5, 1.0, 2.0, 5.0, 20.0])[:, None, None]
    close(row_by_row(FUNCTIONS[name], x), jax.vmap(FUNCTIONS[name])(x))


def test_products_with_zero_and_one_equal_vmap():
    x = jax.random.normal(jax.random.key(2), (6, 3))
    f = lambda x: jnp.stack([x * 1.0, x * 0.0, x + 0.0, x + 1.0])
    dots = lambda x: jnp.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]) @ x
    for g in (f, dots):
        close(row_by_row(g, x), jax.vmap(g)(x))


def test_argmax_and_argmin_of_ties_and_nan_equal_vmap():
    x = jnp.array([[1.0, 3.0, 3.0], [jnp.nan, 4.0, jnp.nan], [2.0, jnp.nan, 1.0]])
    for f in (jnp.argmax, jnp.argmin):
        close(row_by_row(f, x), jax.vmap(f)(x))


def test_random_numbers_are_those_of_jax():
    def draw(words):
        key = jax.random.wrap_key_data(words)
        first, second = jax.random.split(jax.random.fold_in(key, 3))
        steps = jax.random.randint(first, (), 1, 9)
        return jax.random.uniform(second, (3,)), steps, jax.random.key_data(first)

    words = jax.random.bits(jax.random.key(0), (4, 2), jnp.uint32)
    close(row_by_row(draw, words), jax.vmap(draw)(words))


def test_products_are_in_full_precision_on_a_gpu(monkeypatch):
    def precision():  # of an energy that was never traced
        energy = scalar(lambda x: x @ x)
        return jax.make_jaxpr(energy)(jnp.ones(3)).eqns[0].params["precision"]

    assert precision() is None or jax.default_backend() == "gpu"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert precision() == highest
    with jax.default_matmul_precision("tensorfloat32"):
        assert precision() != highest


def test_the_tree_of_nuts_is_held_once_in_registers():
    """What is written into the table of a tree is not read in the same leaf: both
    tables would be held, and the registers of a thread hold one (compiled for an H100,
    3.8 kB of them are stored in memory and loaded again, and 1.7 kB otherwise)."""
    chains = eb.parallel(eb.nuts(correlated, 0.5))
    keys, state = eb.chain_keys(jax.random.key(0), 4), chains.init(jnp.zeros((4, 3)))
    made = launches.Launches(keys, chains, state, position_of, 1, 4, True)
    body = _body_of_the_loop(made.step.jaxpr.jaxpr)
    table = (10, 3)
    written = {v for e in body.eqns for v in e.outvars if v.aval.shape == table}
    assert len(written) == 2  # momenta and their sums
    is_variable = lambda v: not isinstance(v, jax.extend.core.Literal)
    read = {v for equation in body.eqns for v in equation.invars if is_variable(v)}
    assert not written & read
    assert written <= set(body.outvars)


def _body_of_the_loop(jaxpr):
    """Of the first loop whose length depends on values."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            return equation.params["body_jaxpr"].jaxpr
        for inner in equation.params.values():
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns") and (found := _body_of_the_loop(inner)):
                return found
    return None
