"""Trees, and the step size as a linear map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax import base
from ebmjax.base.step_size import UNROLLED

TREE = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[3.0], [0.5]])}


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize(
    "step_size",
    [
        0.3,
        {"a": np.array([0.5, 2.0]), "b": 0.1},
        base.Dense(np.arange(16.0).reshape(4, 4) + np.eye(4)),
    ],
)
@pytest.mark.parametrize("transpose", [False, True])
def test_scale_is_multiplication_by_its_matrix(step_size, transpose):
    columns = []
    for i in range(4):
        unit = jnp.zeros(4).at[i].set(1.0)
        columns.append(
            flat(
                base.scale(
                    step_size, {"a": unit[:2], "b": unit[2:, None]}, transpose=transpose
                )
            )
        )
    matrix = np.stack(columns, axis=1)
    scaled = base.scale(step_size, TREE, transpose=transpose)
    assert jax.tree.map(jnp.shape, scaled) == jax.tree.map(jnp.shape, TREE)
    assert np.allclose(matrix @ flat(TREE), flat(scaled), rtol=1e-6)
    other = np.stack(columns, axis=0)
    is_symmetric = not isinstance(step_size, base.Dense)
    assert np.allclose(matrix, other) == is_symmetric


@pytest.mark.parametrize("dim", [3, UNROLLED + 1])
def test_a_matrix_acts_from_the_left(dim):
    """As a sum of columns, where small, and as a product."""
    matrix, x = (
        np.random.default_rng(0).normal(size=(dim, dim)).astype(np.float32),
        jnp.arange(1.0, dim + 1),
    )
    dense = base.Dense(matrix)
    assert np.allclose(base.scale(dense, x), matrix @ np.asarray(x), rtol=1e-5)
    other = base.scale(dense, x, transpose=True)
    assert np.allclose(other, matrix.T @ np.asarray(x), rtol=1e-5)
    with pytest.raises(ValueError, match="write a matrix as Dense"):
        base.scale(matrix, x)


def test_an_array_of_the_shape_of_the_position_is_diagonal_even_if_square():
    x = jnp.ones((2, 2))
    assert np.array_equal(
        base.scale(np.array([[1.0, 2.0], [3.0, 4.0]]), x), [[1.0, 2.0], [3.0, 4.0]]
    )
    mala = eb.mala(lambda x: 0.5 * jnp.sum(x**2), np.full((2, 2), 0.3))
    assert mala.step(jax.random.key(0), mala.init(x))[0].position.shape == (2, 2)


def test_half_square():
    assert base.half_square(TREE) == pytest.approx(0.5 * (1 + 4 + 9 + 0.25))


def test_merge_and_add_agree():
    infos = base.Info(
        jnp.array([0.2, 1.0, 0.6]),
        jnp.array([False, True, False]),
        jnp.array([0.1, -3.0, 2.0]),
        jnp.array([0, 1, 2]),
        jnp.array([5.0, 7.0, 6.0]),
        jnp.array([3, 1, 4]),
    )
    merged = base.merge(infos)
    total = jax.tree.map(lambda x: x[0], infos)
    for i in (1, 2):
        total = base.add(total, jax.tree.map(lambda x, i=i: x[i], infos))
    assert merged.acceptance_rate == pytest.approx(
        0.6
    ) and total.acceptance_rate == pytest.approx(1.8)
    for info in (merged, total):
        assert (
            info.is_accepted and info.energy_error == -3.0 and info.num_nonfinite == 3
        )
        assert info.hamiltonian == 6.0 and info.num_grads == 8


def test_noise_of_leaves_is_independent(key):
    noise = base.normal_like(key, {"a": jnp.zeros(1000), "b": jnp.zeros(1000)})
    assert abs(np.corrcoef(noise["a"], noise["b"])[0, 1]) < 5 / np.sqrt(1000)


def test_the_rank_of_a_matrix_does_not_depend_on_its_scales():
    eb.Dense(np.diag([1e-8, 1.0, 1e8]))
    with pytest.raises(ValueError, match="full rank, got rank 1 of 2"):
        eb.Dense(np.array([[1.0, 2.0], [2.0, 4.0]]))
