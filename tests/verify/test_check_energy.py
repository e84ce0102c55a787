"""``check`` finds the issues of energies, and none in healthy ones."""

import dataclasses

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


def wrong_grad(factor):
    """|x|^2 / 2 with a custom gradient that is wrong by a factor."""
    energy = jax.custom_vjp(SQUARE)
    energy.defvjp(lambda x: (SQUARE(x), x), lambda x, g: (factor * g * x,))
    return energy


def noisy(x):
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32).sum()
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), bits))
    return SQUARE(x) + 0.2 * noise


def relu(x):
    w = jax.random.normal(jax.random.key(0), (64, x.size))
    b = jax.random.normal(jax.random.key(1), (64,))
    return jnp.sum(jax.nn.relu(w @ x + b)) / 8 + SQUARE(x)


def loop(x):
    return jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + SQUARE(x)), (0, 0.0)
    )[1]


def callback(x):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.pure_callback(
        lambda x: np.float32(0.5 * (np.asarray(x) ** 2).sum()),
        shape,
        x,
        vmap_method="sequential",
    )


@dataclasses.dataclass
class Quadratic:
    """Not hashable, and an array inside."""

    a: jax.Array

    def __call__(self, x):
        return self.a * SQUARE(x)


ILL = {
    "log density": (lambda x: -SQUARE(x), jnp.ones(2), "in every direction", "from_log_density"),
    "unbounded on one side": (lambda x: x[0] + SQUARE(x[1:]), jnp.ones(2), "falls without end in", "confine"),
    "a narrow valley": (lambda x: 10 * (0.8 * x[0] - 0.6 * x[1]) ** 2 - 0.6 * x[0] - 0.8 * x[1], jnp.array([1.2, 1.6]), "falls without end in 1 of", "confine"),
    "minus infinity": (lambda x: jnp.where(x[0] > 9, -jnp.inf, SQUARE(x)), jnp.ones(2), "falls without end", "confine"),
    "batch": (lambda x: 0.5 * jnp.sum(x**2, axis=-1), ROWS, "maps a batch: (6, 2) to (6,)", "one point"),
    "batch summed": (SQUARE, ROWS, "adds up over the first axis", "position[0]"),
    "two rows summed": (SQUARE, ROWS[1:3], "adds up over the first axis", "position[0]"),
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
    "offset": (lambda x: 1e7 + SQUARE(x), jnp.ones(2), "rounding error of 1.2 nats", "subtract a constant"),
    "wrong sign": (wrong_grad(-1.0), jnp.ones(3), "disagrees with finite differences", "custom_vjp"),
    "gradient times 1.5": (wrong_grad(1.5), jnp.ones(3), "it is 1.5 times them", "custom_vjp"),
    "stopped on a part": (lambda x: SQUARE(x[1:]) + 0.5 * jax.lax.stop_gradient(x[0]) ** 2, jnp.ones(3), "with respect to x[0] is zero", "stop_gradient"),
    "stopped in half": (lambda x: SQUARE(x) + SQUARE(jax.lax.stop_gradient(x)), jnp.ones(3), "disagrees with", "stopped in part"),
    "noise": (noisy, jnp.ones(3), "the energy is noisy", "no random numbers"),
    "bfloat16 inside": (lambda x: jnp.sum((x.astype(jnp.bfloat16) ** 2).astype(jnp.float32)), jnp.ones(3), "computed in bfloat16", "float32"),
    "a jump": (lambda x: SQUARE(x) + 3.0 * (x[0] > 1.2), jnp.ones(3), "jumps by 3", "random_walk"),
    "a jump in a box": (lambda x: jnp.where(jnp.abs(x - 1).max() < 1.1, SQUARE(x - 1) + 0.7 * (x[0] > 1.2), jnp.inf), jnp.ones(3), "jumps by 0.7", "random_walk"),
    "flat along a difference": (lambda x: SQUARE(x[0] + x[1]) + SQUARE(x[2]), jnp.ones(3), "constant along the direction", "normalisable"),
    "logarithmic growth": (lambda x: 1.2 * jnp.log1p(jnp.sum(x**2)), jnp.ones(3), "grows as 2.4 log r", "confine"),
    "logarithmic growth of one": (lambda x: 0.4 * jnp.log1p(x[0] ** 2) + SQUARE(x[1:]), jnp.ones(3), "far out along x[0]", "prior"),
    "relu": (relu, jnp.ones(3), "has kinks", "swish"),
    "raises": (lambda x: x.no_such_thing, jnp.ones(3), "raises AttributeError", "correct the error there"),
    "while loop": (loop, jnp.ones(3), "has no gradient", "lax.scan"),
    "callback": (callback, jnp.ones(3), "has no gradient", "custom_jvp"),
    "dataclass": (Quadratic(jnp.float32(-1.0)), jnp.ones(3), "falls without end in every", "from_log_density"),
}  # fmt: skip


@pytest.mark.parametrize("name", ILL)
def test_an_issue_is_found_with_a_suggestion(name, key):
    energy, position, what, suggestion = ILL[name]
    diagnosis = eb.check(energy, position, key)
    assert not diagnosis.is_healthy
    assert any(
        what in s.message and suggestion in s.suggestion for s in diagnosis.issues
    ), str(diagnosis)
    assert "suggestion:" in str(diagnosis)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_healthy_energy_has_no_issue(name, key):
    target = targets.TARGETS[name]()
    for i in range(3):
        position = target.sample(jax.random.fold_in(key, i), 1)[0]
        assert eb.check(target.energy, position, key).is_healthy


def test_an_image_is_not_taken_for_a_batch(key):
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


def test_the_rounding_error_is_that_of_the_energy_at_the_position(key):
    """Large energies of far probes do not count."""
    steep = lambda x: SQUARE(x) + 1e7 * jnp.maximum(jnp.abs(x[0]) - 1.2, 0.0) ** 2
    assert not any(
        "rounding" in i.message for i in eb.check(steep, jnp.zeros(2), key).issues
    )
    found = [
        i.message for i in eb.check(lambda x: 1e7 + SQUARE(x), jnp.ones(2), key).issues
    ]
    assert found == [
        "an energy of 1e+07 at the position has a rounding error of 1.2 nats in float32"
    ]


def test_the_line_that_raises_is_named(key):
    (issue,) = eb.check(lambda x: x.no_such_thing, jnp.ones(3), key).issues
    assert "test_check_energy.py:" in issue.message


SMOOTH = {
    "swish": lambda x: (
        jnp.sum(jax.nn.swish(3 * x[:, None] - jnp.arange(4.0))) + SQUARE(x)
    ),
    "Cauchy": lambda x: jnp.sum(jnp.log1p(x**2)),
    "Student, three degrees": lambda x: 3.0 * jnp.log1p(jnp.sum(x**2) / 3),
    "a wall": lambda x: jnp.where(x[0] > 3, jnp.inf, SQUARE(x)),
    "a box": lambda x: jnp.where(jnp.abs(x - 1).max() < 1.1, SQUARE(x), jnp.inf),
    "a fixed loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, e: e + SQUARE(x), 0.0),
    "quartic": lambda x: jnp.sum((x**2 - 1) ** 2),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_more_healthy_energies(name, key):
    for i in range(3):
        found = eb.check(SMOOTH[name], jnp.ones(3), jax.random.fold_in(key, i))
        assert found.is_healthy, str(found)
