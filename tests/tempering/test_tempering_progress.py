"""With progress, annealing and parallel tempering run in parts, with the same
numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ebmjax as eb
from ebmjax.tempering.ais import annealed_importance_sampling
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric

KEY = jax.random.key(20261126)
BETAS = np.linspace(0, 1, 49)


def energy(x):
    return 2.0 * jnp.sum((x - 1.0) ** 2)


PATH = geometric(gaussian(jnp.zeros(1)), energy)


def seen_by(method, *given, **options):
    """The result, and what was reported."""
    reported = []
    found = method(*given, **options, progress=lambda *seen: reported.append(seen))
    return found, reported


def check_equal(parts, whole):
    """Up to rounding, which may differ between programs."""
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_annealing_in_parts_is_annealing(is_reversed):
    options = {"num_chains": 16}
    if is_reversed:
        x = 1.0 + 0.5 * jax.random.normal(KEY, (16, 1))
        options = {"positions": x, "is_reversed": True, "num_relax": 5}
    given = KEY, PATH, eb.mala, BETAS, 0.4
    whole = annealed_importance_sampling(*given, **options)
    parts, reported = seen_by(annealed_importance_sampling, *given, **options)
    check_equal(parts, whole)
    total = 53 if is_reversed else 48
    ends = [done for done, *_ in reported]
    assert ends == [*range(ends[0], total, ends[0]), total] and len(ends) >= 15
    assert {of for _, of, _ in reported} == {total}
    last = parts.acceptance_rate[ends[-2] - total :].mean()
    assert reported[-1][2] == f"acceptance {last:.2f}"


def test_tempering_in_parts_is_tempering():
    given, options = (KEY, PATH, eb.mala, 41), {"num_replicas": 3, "num_adapt": 32}
    whole = parallel_tempering(*given, **options)
    parts, reported = seen_by(parallel_tempering, *given, **options)
    check_equal(parts, whole)
    assert reported[0][:2] == (32, 73) and reported[-1][:2] == (73, 73)
    assert len(reported) > 12
    swaps = 1 - whole.rejection_rate.mean()
    assert reported[-1][2] == f"swaps {swaps:.2f}"


@pytest.mark.parametrize(
    ("method", "given"),
    [(annealed_importance_sampling, (BETAS,)), (parallel_tempering, (4,))],
)
def test_bad_values_of_progress_are_refused(method, given):
    with pytest.raises(TypeError, match="progress must be True, False or a function"):
        method(KEY, PATH, eb.mala, *given, progress="yes")
