"""Every row of the table of bad inputs, and random inputs (hypothesis)."""

import time
import warnings

import bad_inputs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ebmjax as eb
from ebmjax import _validation as checks


@pytest.fixture(scope="module", autouse=True)
def warm():
    bad_inputs.sample()
    bad_inputs.data.load("two_moons", num_points=100)
    bad_inputs.build()


@pytest.mark.parametrize(
    "row", bad_inputs.ROWS, ids=lambda row: f"{row.number} {row.what}"
)
def test_a_bad_input_has_its_stated_response(row):
    if row.outcome == "works":
        assert row.call()
    elif row.outcome == "reported":
        assert row.says in row.call()
    elif row.outcome == "warns":
        with pytest.warns(
            UserWarning if row.number in (13, 53) else RuntimeWarning
        ) as caught:
            row.call()
        assert any(row.says in str(w.message) for w in caught)
    else:
        begin = time.process_time()
        with pytest.raises(row.error) as caught:
            row.call()
        assert row.says in str(caught.value)
        assert (
            row.number in (49, 50) or time.process_time() - begin < 1.0
        )  # these two run a chain first


def test_there_are_62_rows_and_the_page_shows_them():
    assert {row.number for row in bad_inputs.ROWS} == set(range(1, 63))
    page = bad_inputs.ROOT / "docs" / "bad_inputs.md"
    assert page.read_text() == bad_inputs.document(), "run python tests/bad_inputs.py"


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.complex_numbers(),
    st.lists(st.floats(width=32), max_size=3), st.just(object()), st.just(jax.random.key(1)),
)  # fmt: skip
ARRAYS = hnp.arrays(
    st.sampled_from(
        [np.float32, np.float16, np.int32, np.uint8, np.bool_, np.complex64]
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
TREES = st.recursive(
    ARRAYS | ANY,
    lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
quietly = settings(deadline=None, max_examples=150, derandomize=True)


@quietly
@given(TREES)
def test_any_positions_are_finite_floating_chains_or_refused_by_name(tree):
    try:
        positions = checks.position(tree)
        number = checks.num_chains(positions)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("positions")
        return
    leaves = jax.tree.leaves(positions)
    assert leaves and number > 0
    assert all(
        jnp.issubdtype(x.dtype, jnp.floating)
        and jnp.isfinite(x).all()
        and len(x) == number
        for x in leaves
    )


@quietly
@given(ANY | ARRAYS)
def test_any_step_size_is_positive_and_finite_or_refused_by_name(value):
    try:
        checks.step_size(value)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("step_size")
        return
    array = np.asarray(value, np.float64)
    is_square = array.ndim == 2 and array.shape[0] == array.shape[1]
    assert np.isfinite(array).all() and (
        (array > 0).all() or np.linalg.matrix_rank(array) == len(array) * is_square
    )


@quietly
@given(ANY | ARRAYS, st.integers(0, 2))
def test_any_count_is_a_whole_number_or_refused_by_name(value, least):
    try:
        number = checks.count(value, "num_steps", least=least)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("num_steps")
        return
    assert type(number) is int and number >= least and number == value


@quietly
@given(ANY | ARRAYS)
def test_any_mass_is_positive_definite_or_refused_by_name(value):
    try:
        checks.covariance(value, "mass")
    except (TypeError, ValueError) as error:
        assert str(error).startswith("mass")
        return
    array = np.asarray(value, np.float64)
    assert (
        (array > 0).all() if array.ndim == 1 else (np.linalg.eigvalsh(array) > 0).all()
    )


@quietly
@given(ANY | ARRAYS | hnp.arrays(np.uint32, st.sampled_from([(2,), (3,), (2, 2)])))
def test_any_key_is_one_typed_key_or_refused_by_name(value):
    try:
        key = checks.key(value)
    except (TypeError, ValueError) as error:
        assert str(error).startswith("key")
        return
    assert key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.floats(width=32), st.floats(width=32))
def test_a_start_of_any_scale_is_sampled_or_reported(first, second):
    start = (jnp.full((2, 2), first), jnp.full((2, 1), second))
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        try:
            samples = eb.sample(jax.random.key(0), BOWL, start, 20)
        except ValueError as error:
            assert "must be finite" in str(error)
            return
    moved = np.ptp(np.asarray(samples.draws[0]), axis=0).any(axis=1)
    assert np.isfinite(samples.draws[0]).all() and (reported or moved.all())


BOWL = eb.random_walk(
    lambda x: 0.5 * jnp.sum(x[0] ** 2) + 0.5 * jnp.sum(x[1] ** 2), 0.5
)
