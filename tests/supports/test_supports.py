"""Supports: maps and Jacobians against autodiff, round trips, ends of float32, bijectors."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import counted

from ebmjax import constrain, mala, sample, supports
from ebmjax.supports.bijectors import from_bijector

K = 4  # entries of the vectors, rows of the matrices
LOWER = np.tril_indices(K, -1)

# name: support, shape of a constrained leaf, the entries that determine the others
CASES = {
    "real": (supports.real(), (), None),
    "positive": (supports.positive(), (), None),
    "softplus": (supports.positive(linear_above=5.0), (2,), None),
    "greater": (supports.greater_than(-3.0), (2,), None),
    "less": (supports.less_than(5.0), (2,), None),
    "interval": (supports.interval(-1.0, 4.0), (), None),
    "one-sided": (supports.interval(high=2.0), (), None),
    "bounds of each": (supports.interval([0.0, 2.0], [1.0, 5.0]), (2,), None),
    "periodic": (supports.periodic(3.0), (2,), None),
    "simplex": (supports.simplex(), (K,), lambda x: x[:-1]),
    "ordered": (supports.ordered(), (K,), None),
    "positive ordered": (supports.positive_ordered(), (K,), None),
    "cholesky": (supports.cholesky_correlation(), (K, K), lambda x: x[LOWER]),
}


def free_point(name, scale=1.0, seed=0):
    support, shape, _ = CASES[name]
    key = jax.random.key(seed)
    return scale * jax.random.normal(key, support.free_shape(shape))


@pytest.mark.parametrize("name", CASES)
def test_the_log_determinant_is_that_of_the_jacobian_by_autodiff(name):
    support, _, independent = CASES[name]
    independent = independent or (lambda x: x)
    u = free_point(name)

    def flat(v):
        return jnp.ravel(independent(support.forward(v.reshape(u.shape))[0]))

    jacobian = np.asarray(jax.jacfwd(flat)(jnp.ravel(u)), np.float64)
    assert jacobian.shape == (u.size, u.size)
    expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(support.forward(u)[1], expected, rtol=1e-4, atol=1e-4)
    if name not in ("real", "periodic"):  # where the determinant moves at all
        other = support.forward(free_point(name, seed=1))[1]
        assert abs(other - expected) > 0.01


@pytest.mark.parametrize("name", CASES)
def test_free_coordinates_and_values_are_inverse_to_each_other(name):
    support, shape, _ = CASES[name]
    for scale in (1.0, 4.0):
        u = free_point(name, scale, seed=int(scale))
        x = support.forward(u)[0]
        assert x.shape == shape
        assert np.all(support.is_inside(np.asarray(x)))
        again = support.inverse(x)
        assert again.shape == u.shape
        expected = support.wrap(u)
        np.testing.assert_allclose(again, expected, rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("name", CASES)
def test_leading_axes_repeat_the_support(name):
    support, shape, _ = CASES[name]
    us = jnp.stack([free_point(name, seed=s) for s in range(3)])
    together, log_det = support.forward(us)
    apart = [support.forward(u) for u in us]
    expected = jnp.stack([x for x, _ in apart])
    np.testing.assert_allclose(together, expected, rtol=1e-6)
    np.testing.assert_allclose(log_det, sum(d for _, d in apart), rtol=1e-5, atol=1e-6)
    assert support.inverse(together).shape == us.shape


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [30.0, 87.0, 1e4])
def test_values_are_strictly_inside_and_gradients_finite_far_out(name, size):
    support, shape, _ = CASES[name]
    signs = jnp.sign(free_point(name)) if free_point(name).shape else jnp.float32(1)
    for u in (size * signs, -size * signs):
        x, log_det = support.forward(u)
        assert np.isfinite(x).all() and np.isfinite(log_det)
        if "ordered" not in name or size < 80:  # sums beyond the last float32 are it
            assert np.all(support.is_inside(np.asarray(x))), x

        def energy(v):
            x, log_det = support.forward(v)
            return jnp.sum(jnp.tanh(x)) - log_det

        assert np.isfinite(jax.grad(energy)(u)).all()


@pytest.mark.parametrize(
    "support, values",
    [
        (supports.positive(), [1.2e-38, 1e-30, 1.0, 1e30, 3.4e38]),
        (supports.positive(linear_above=5.0), [1e-37, 1e-10, 5.0, 1e10, 3e38]),
        (supports.greater_than(5.0), [np.nextafter(np.float32(5), 6), 5.5, 1e38]),
        (supports.less_than(-5.0), [np.nextafter(np.float32(-5), -6), -5.5, -1e38]),
        (supports.interval(0.0, 1.0), [1.2e-38, 1e-20, 0.5, 1 - 6e-8]),
        (supports.interval(-7.0, 2.0), [np.nextafter(np.float32(-7), 0), 1.9999999]),
    ],
)
def test_scalars_make_the_round_trip_to_the_ends_of_float32(support, values):
    x = jnp.asarray(values, jnp.float32)
    u = support.inverse(x)
    assert np.isfinite(u).all()
    again = support.forward(u)[0]
    # log(x) is near 88 at the ends, where float32 has a spacing of 7.6e-6
    np.testing.assert_allclose(again, x, rtol=2e-5)


def test_vectors_make_the_round_trip_to_the_ends_of_float32():
    for support, x in (
        (supports.simplex(), [[1e-37, 1.0, 1e-20], [0.5, 0.5 - 1e-7, 1e-7]]),
        (supports.ordered(), [[-1.0, -1 + 1e-6, 1e30], [5.0, 5.00001, 6.0]]),
        (supports.positive_ordered(), [[1e-37, 1e-20, 1.0], [1e30, 2e30, 3e38]]),
    ):
        x = jnp.asarray(x, jnp.float32)
        again = support.forward(support.inverse(x))[0]
        # sums are rounded in units of their largest term
        ulps = 1e-38 if "Ordered(" not in str(support) else 6e-7 * np.max(x, -1)[0]
        np.testing.assert_allclose(again, x, rtol=3e-5, atol=ulps)
    factor = jnp.array([[1, 0, 0], [1, 1e-30, 0], [0.6, 0.8, 1e-35]], jnp.float32)
    support = supports.cholesky_correlation()
    again = support.forward(support.inverse(factor))[0]
    np.testing.assert_allclose(again, factor, rtol=3e-5, atol=0)


@pytest.mark.parametrize("shape", [(2,), (3,), (4,), (5, 3)])
def test_log_z_of_a_unit_vector_is_that_of_the_area_of_its_sphere(key, shape):
    """exp(-E(u)) over a standard normal density is one number, the area."""
    energy = constrain(lambda x: jnp.float32(0), supports.unit_vector())
    u = jax.random.normal(key, (10, *shape))
    normal = -0.5 * jnp.sum(u.reshape(10, -1) ** 2, axis=1)
    normal -= 0.5 * np.prod(shape) * math.log(2 * math.pi)
    n, num = shape[-1], np.prod(shape[:-1], dtype=int)
    area = math.log(2) + n / 2 * math.log(math.pi) - math.lgamma(n / 2)
    found = -jax.vmap(energy)(u) - normal
    np.testing.assert_allclose(found, num * area, rtol=1e-4)


def test_a_unit_vector_is_uniform_where_the_energy_is_constant(key):
    """Its free coordinates are standard normal, and nothing else."""
    energy = constrain(lambda x: jnp.float32(0), supports.unit_vector())
    u = jax.random.normal(key, (3,))
    of_radius = 0.5 * math.log(math.pi / 2)  # int r^2 exp(-r^2/2) dr
    expected = 0.5 * jnp.sum(u**2) + of_radius
    np.testing.assert_allclose(energy(u), expected, rtol=1e-6)
    x = energy.constrain(u)
    np.testing.assert_allclose(jnp.linalg.norm(x), 1, rtol=1e-6)
    np.testing.assert_allclose(energy.constrain(energy.free(x)), x, rtol=1e-6)
    assert np.isfinite(jax.grad(energy)(jnp.zeros(3))).all()
    huge = energy.constrain(jnp.array([1e37, 1e37, 0.0]))
    np.testing.assert_allclose(huge, [2**-0.5, 2**-0.5, 0], rtol=1e-6)


def test_a_periodic_coordinate_is_wrapped_into_its_range():
    support = supports.periodic(3.0, low=1.0)
    u = jnp.array([1.0, 3.9999, 4.0, 0.999, -200.0, 1e6], jnp.float32)
    x = np.asarray(support.wrap(u))
    assert (x >= 1).all() and (x < 4).all()
    turns = (np.asarray(u, np.float64) - x) / 3
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-4)
    slope = jax.vmap(jax.grad(support.wrap))(u)
    np.testing.assert_array_equal(slope, 1)


def test_an_energy_of_free_coordinates_is_the_density_of_its_values():
    """exp(-E(u)) adds up to the normaliser of the constrained density: Gamma(3)."""
    energy = constrain(lambda x: x - 2 * jnp.log(x), supports.positive())
    energies = jax.vmap(energy)(jnp.linspace(-12, 6, 2001))
    total = np.exp(-np.asarray(energies, np.float64)).sum() * 18 / 2000
    np.testing.assert_allclose(total, 2.0, rtol=1e-4)


def test_entries_that_never_change_are_known():
    support = supports.cholesky_correlation()
    assert support.free_shape((5, 2, 4, 3, 3)) == (5, 2, 4, 3)
    is_fixed = support.is_fixed((3, 3))
    expected = [[True, True, True], [False, False, True], [False, False, False]]
    np.testing.assert_array_equal(is_fixed, expected)
    assert not supports.simplex().is_fixed((3,)).any()


# --- trees --------------------------------------------------------------------------


def test_one_support_is_of_all_leaves_below_it():
    energy = constrain(
        lambda x: x["scales"]["a"] + jnp.sum(x["scales"]["b"]) + x["shift"] ** 2,
        {"scales": supports.positive(), "shift": None},
    )
    b = jnp.array([0.7, -0.4])
    u = {"scales": {"a": jnp.float32(0.5), "b": b}, "shift": jnp.float32(2)}
    x = energy.constrain(u)
    np.testing.assert_allclose(x["scales"]["b"], np.exp(b), rtol=1e-6)
    expected = np.exp(0.5) + np.exp(b).sum() + 4 - (0.5 + 0.7 - 0.4)
    np.testing.assert_allclose(energy(u), expected, rtol=1e-6)
    assert float(x["shift"]) == 2
    again = energy.free(x)
    assert jax.tree.all(jax.tree.map(jnp.allclose, u, again))


def test_numbers_of_energies_and_supports_are_leaves():
    product = lambda rate, x: rate * x

    def make(rate, high):
        inner = jax.tree_util.Partial(product, jnp.float32(rate))
        return constrain(inner, supports.interval(0.0, high))

    evaluate, traces = counted(lambda energy, u: energy(u))
    call = jax.jit(evaluate)
    values = [float(call(make(r, h), jnp.float32(0.3))) for r, h in ((1, 2), (3, 4))]
    assert len(traces) == 1 and values[0] != values[1]
    assert make(1, 2) == make(1, 2) and hash(make(1, 2)) == hash(make(3, 4))


@pytest.mark.parametrize(
    "support, message",
    [
        (3.0, r"support must be of ebmjax.supports.* got 3.0 \(float\)"),
        ({"a": supports.positive}, r"support\['a'\] .*call it: positive\(\)"),
        ((), "a support or a tree of them, got"),
    ],
)
def test_an_argument_that_is_no_support_is_refused(support, message):
    with pytest.raises(TypeError, match=message):
        constrain(lambda x: x, support)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: supports.interval(2.0, 1.0), "low must be below high"),
        (lambda: supports.interval(-3e38, 3e38), "low must be below high"),
        (lambda: supports.interval(), "low, high or both"),
        (lambda: supports.greater_than(np.nan), "low must be finite"),
        (lambda: supports.less_than(np.inf), "high must be finite"),
        (lambda: supports.periodic(-1.0), "period must be finite and above 0"),
    ],
)
def test_impossible_bounds_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


INSIDE = {
    "positive": (supports.positive(), 1.0, 0.0),
    "greater": (supports.greater_than(2.0), 2.5, 2.0),
    "less": (supports.less_than(2.0), 1.5, 2.5),
    "interval": (supports.interval(0.0, 1.0), 0.5, 1.0),
    "simplex": (supports.simplex(), [0.2, 0.8], [0.3, 0.8]),
    "simplex with a zero": (supports.simplex(), [0.2, 0.8], [0.0, 1.0]),
    "ordered": (supports.ordered(), [-1.0, 2.0], [2.0, 2.0]),
    "positive ordered": (supports.positive_ordered(), [1.0, 2.0], [-1.0, 2.0]),
    "unit": (supports.unit_vector(), [0.6, 0.8], [0.6, 0.9]),
    "upper triangle": (
        supports.cholesky_correlation(),
        [[1.0, 0.0], [0.6, 0.8]],
        [[0.6, 0.8], [0.0, 1.0]],
    ),
    "rows": (
        supports.cholesky_correlation(),
        [[1.0, 0.0], [0.6, 0.8]],
        [[1.0, 0.0], [0.6, 0.9]],
    ),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_value_outside_names_leaf_chain_and_support(name):
    support, good, bad = INSIDE[name]
    energy = constrain(lambda x: jnp.sum(x["a"]), {"a": support})
    energy.check_inside({"a": np.float32([good, good])})
    with pytest.raises(ValueError, match=r"positions\['a'\].* at chain 1 \(1 of 2"):
        energy.check_inside({"a": np.float32([good, bad])})
    with pytest.raises(ValueError, match=r"x\['a'\]"):
        energy.free({"a": jnp.float32(bad)})


def test_a_vector_without_its_chains_is_refused():
    energy = constrain(jnp.sum, supports.simplex())
    with pytest.raises(ValueError, match=r"a chain axis and 1 more .* shape \(3,\)"):
        energy.check_inside(np.float32([0.2, 0.3, 0.5]))
    with pytest.raises(TypeError, match="structure of the supports"):
        constrain(jnp.sum, [supports.simplex()]).check_inside(np.ones((2, 2)))


# --- bijectors ----------------------------------------------------------------------


class Distrax:
    """exp, by the methods of a distrax bijector."""

    def forward_and_log_det(self, u):
        return jnp.exp(u), u

    def inverse(self, x):
        return jnp.log(x)


class TFP:
    """exp, by the methods of a bijector of TensorFlow Probability."""

    def forward(self, u):
        return jnp.exp(u)

    def forward_log_det_jacobian(self, u):
        return u

    def inverse(self, x):
        return jnp.log(x)


@pytest.mark.parametrize("bijector", [Distrax(), TFP()])
def test_bijectors_are_known_by_their_methods(bijector):
    mine = constrain(lambda x: jnp.sum(x), supports.positive())
    theirs = constrain(lambda x: jnp.sum(x), bijector)
    u = jnp.array([-1.0, 0.5])
    np.testing.assert_allclose(theirs(u), mine(u), rtol=1e-6)
    np.testing.assert_allclose(theirs.free(theirs.constrain(u)), u, rtol=1e-5)
    with pytest.raises(ValueError, match="in the range of the bijector"):
        theirs.check_inside(np.float32([[1.0, 2.0], [1.0, -2.0]]))


def _numpyro(name):
    transforms = pytest.importorskip("numpyro.distributions.transforms")
    return {
        "positive": transforms.ExpTransform(),
        "cholesky": transforms.CorrCholeskyTransform(),
        "ordered": transforms.OrderedTransform(),
        "simplex": transforms.StickBreakingTransform(),
        "interval": transforms.ComposeTransform(
            [transforms.SigmoidTransform(), transforms.AffineTransform(-1.0, 5.0)]
        ),
    }[name]


@pytest.mark.parametrize("name", ["positive", "interval", "ordered", "cholesky"])
def test_numpyro_has_the_same_maps_and_jacobians(name):
    support, shape, _ = CASES[name]
    theirs = from_bijector(_numpyro(name))
    u = free_point(name)
    for ours, found in zip(support.forward(u), theirs.forward(u), strict=True):
        np.testing.assert_allclose(found, ours, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(theirs.inverse(support.forward(u)[0]), u, rtol=1e-3)
    assert theirs.free_shape(shape) == u.shape


def test_numpyro_has_other_coordinates_of_a_simplex_and_the_same_density():
    """At one point of the simplex the energies differ by the two Jacobians alone."""
    ours, theirs = supports.simplex(), from_bijector(_numpyro("simplex"))
    u = free_point("simplex")
    x = ours.forward(u)[0]
    v = theirs.inverse(x)
    moved = lambda u: theirs.inverse(ours.forward(u)[0])
    between = np.linalg.slogdet(jax.jacfwd(moved)(u))[1]
    np.testing.assert_allclose(
        ours.forward(u)[1], theirs.forward(v)[1] + between, rtol=1e-3
    )


def test_the_numbers_of_a_numpyro_transform_compile_nothing():
    transforms = pytest.importorskip("numpyro.distributions.transforms")
    evaluate, traces = counted(lambda energy, u: energy(u))
    call = jax.jit(evaluate)
    energy = partial(jnp.multiply, 2.0)
    values = {
        float(call(constrain(energy, transforms.AffineTransform(0.0, s)), 1.0))
        for s in (2.0, 3.0)
    }
    assert len(traces) == 1 and len(values) == 2


def _interval_of(library):
    """-1 + 5 logistic(u), of distrax or of TensorFlow Probability."""
    if library == "distrax":
        distrax = pytest.importorskip("distrax")
        return distrax.Chain([distrax.ScalarAffine(-1.0, 5.0), distrax.Sigmoid()])
    bijectors = pytest.importorskip("tensorflow_probability.substrates.jax.bijectors")
    parts = [bijectors.Shift(-1.0), bijectors.Scale(5.0), bijectors.Sigmoid()]
    return bijectors.Chain(parts)


@pytest.mark.parametrize("library", ["distrax", "tfp"])
def test_distrax_and_tfp_have_the_same_interval(library, key):
    bijector = _interval_of(library)
    energy = lambda x: jnp.sum(x)
    theirs = constrain(energy, bijector)
    ours = constrain(energy, supports.interval(-1.0, 4.0))
    u = jax.random.normal(key, (3,))
    np.testing.assert_allclose(theirs(u), ours(u), rtol=1e-5)
    np.testing.assert_allclose(theirs.free(ours.constrain(u)), u, rtol=1e-4, atol=1e-5)
    assert theirs == theirs.replace() and hash(theirs) == hash(theirs.replace())
    draws = sample(key, mala(theirs, 0.5), jnp.ones((4, 3)), 20).draws
    assert draws.min() > -1 and draws.max() < 4
    with pytest.raises(ValueError, match="in the range of the bijector"):
        sample(key, mala(theirs, 0.5), 5 * jnp.ones((4, 3)), 20)


def test_tfp_has_the_same_cholesky_factors():
    bijectors = pytest.importorskip("tensorflow_probability.substrates.jax.bijectors")
    theirs = from_bijector(bijectors.CorrelationCholesky())
    support, shape, _ = CASES["cholesky"]
    factor = support.forward(free_point("cholesky"))[0]
    v = theirs.inverse(factor)  # other coordinates of the same factors
    np.testing.assert_allclose(theirs.forward(v)[0], factor, rtol=1e-4, atol=1e-5)
    moved = lambda u: theirs.inverse(support.forward(u)[0])
    u = free_point("cholesky")
    between = np.linalg.slogdet(jax.jacfwd(moved)(u))[1]
    np.testing.assert_allclose(
        support.forward(u)[1], theirs.forward(v)[1] + between, rtol=1e-3, atol=1e-3
    )
    assert theirs.free_shape(shape) == u.shape
