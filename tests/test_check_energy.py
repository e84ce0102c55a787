"""The doctor finds what is wrong, names a cure, and leaves healthy energies alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import targets

SQUARE = lambda x: 0.5 * jnp.sum(x**2)
ROWS = jnp.arange(12.0).reshape(6, 2) / 5


def fails(x):
    if x[0] > 0:
        return jnp.sum(x)
    return -jnp.sum(x)


ILL = {
    "log density": (lambda x: -SQUARE(x), jnp.ones(2), "in every direction", "from_log_density"),
    "unbounded on one side": (lambda x: x[0] + SQUARE(x[1:]), jnp.ones(2), "falls without end in", "confine"),
    "minus infinity": (lambda x: jnp.where(x[0] > 9, -jnp.inf, SQUARE(x)), jnp.ones(2), "falls without end", "confine"),
    "batch": (lambda x: 0.5 * jnp.sum(x**2, axis=-1), ROWS, "maps a batch: (6, 2) to (6,)", "one point"),
    "batch summed": (SQUARE, ROWS, "adds up over the first axis", "position[0]"),
    "batch averaged": (lambda x: 0.5 * jnp.mean(x**2), ROWS, "adds up over the first axis", "position[0]"),
    "vector": (lambda x: x**2, jnp.ones(3), "returns shape (3,)", "sum over"),
    "shape (1,)": (lambda x: SQUARE(x)[None], jnp.ones(3), "returns shape (1,)", ".squeeze()"),
    "integer": (lambda x: jnp.int32(3), jnp.ones(3), "returns int32", "floating"),
    "None": (lambda x: None, jnp.ones(3), "returns NoneType", "floating scalar"),
    "aux": (lambda x: (SQUARE(x), 1), jnp.ones(3), "returns 2 values", "energy alone"),
    "half precision": (lambda x: SQUARE(x).astype(jnp.bfloat16), jnp.ones(3), "computed in bfloat16", "float32"),
    "numpy": (lambda x: np.sum(np.asarray(x)), jnp.ones(3), "leaves JAX", "jax.numpy"),
    "float()": (lambda x: float(x[0]), jnp.ones(3), "leaves JAX", "jax.numpy"),
    "if": (fails, jnp.ones(3), "Python `if`", "jnp.where"),
    "nan here": (lambda x: jnp.log(x[0]) ** 2 + SQUARE(x), -jnp.ones(2), "is nan at the position", "finite"),
    "nan around": (lambda x: jnp.where(x[0] < 0.5, jnp.nan, SQUARE(x)), jnp.ones(2), "points around", "+inf"),
    "gradient of a norm at zero": (lambda x: jnp.sqrt(jnp.sum(x**2)), jnp.zeros(2), "gradient is not finite", "sqrt(0)"),
    "round": (lambda x: SQUARE(jnp.round(3 * x)), jnp.ones(2), "not differentiable", "random_walk"),
    "constant": (lambda x: jnp.float32(1.0), jnp.ones(2), "is constant", "argument"),
    "a leaf": (lambda x: SQUARE(x["a"]), {"a": jnp.ones(2), "b": jnp.ones(1)}, "position['b']", "prior"),
    "a coordinate": (lambda x: SQUARE(x[1:]), jnp.ones(3), "1 of 3 coordinates (0)", "prior"),
    "offset": (lambda x: 1e7 + SQUARE(x), jnp.ones(2), "rounding error of 1.2 nat", "subtract a constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", ILL)
def test_an_ill_energy_is_found_with_a_cure(name, key):
    energy, position, what, suggestion = ILL[name]
    diagnosis = eb.check(energy, position, key)
    assert not diagnosis.is_healthy
    assert any(
        what in s.what and suggestion in s.suggestion for s in diagnosis.symptoms
    ), str(diagnosis)
    assert "cure:" in str(diagnosis)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_healthy_energy_is_left_alone(name, key):
    target = targets.TARGETS[name]()
    for i in range(3):
        position = target.sample(jax.random.fold_in(key, i), 1)[0]
        assert eb.check(target.energy, position, key).is_healthy


def test_images_are_no_batches(key):
    energy = lambda x: 0.5 * jnp.sum(x**2) + 0.1 * jnp.sum(x[1:] * x[:-1])
    assert eb.check(energy, jax.random.normal(key, (8, 8)), key).is_healthy


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3, jnp.ones(2)), TypeError),
        ((SQUARE, jnp.ones(2, int)), TypeError),
        ((SQUARE, jnp.array([jnp.nan])), ValueError),
    ],
)
def test_bad_input(arguments, error, key):
    with pytest.raises(error):
        eb.check(*arguments, key)
