"""The first second: how many programs a workflow compiles, what replaces them on the
host, and how many launches a GPU needs."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from helpers import compilations

import ebmjax as eb
from benchmarks import gpu_counts, gpu_program
from ebmjax import _compilation_cache, _random
from ebmjax._jaxpr import PRODUCTS, work
from ebmjax.adaptation.base import median
from ebmjax.adaptation.mass_matrix import cholesky, inverse_of_triangular
from ebmjax.adaptation.trajectory_length import Jump, Length
from ebmjax.base import shapes_of
from ebmjax.diagnostics._normal_quantile import normal_quantile
from ebmjax.sampling import blocks

KEY = jax.random.key(5)
ROOT = Path(__file__).parent.parent


def of_scales(scales, x):
    return 0.5 * jnp.sum((x / scales) ** 2) + 1e-3 * jnp.sum(x**4)


def posterior(seed):
    scales = 1 + np.random.default_rng(seed).random(3, np.float32)
    return functools.partial(of_scales, jnp.asarray(scales))


def table(seed):
    start = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    tuned = eb.warm_up(jax.random.key(seed), eb.mala, posterior(seed), start)
    samples = eb.sample(
        jax.random.key(seed + 1), tuned.kernel, jnp.asarray(tuned.position), 300
    )
    return str(eb.summary(samples))


def test_warm_up_sample_and_summary_compile_few_programs_and_then_none():
    jax.clear_caches()
    with compilations() as first:
        one = table(10)
    with compilations() as second:
        other = table(20)
    assert 2 <= first[0] <= 12  # the control: they are counted
    assert second[0] == 0
    assert one != other


def test_a_program_of_the_kernel_traces_the_energy_few_times():
    """Energy and gradient of NUTS are traced once for the loop and once for the start."""
    traced = [0]

    def energy(x):
        traced[0] += 1
        return 0.5 * jnp.sum(x**2)

    kernel = eb.parallel(eb.nuts(energy, 0.5))
    keys = eb.chain_keys(KEY, 4)
    state = kernel.init(jnp.ones((4, 3)))
    before = traced[0]
    jax.make_jaxpr(lambda s: eb.run(keys, kernel, s, 100))(state)
    assert 1 <= traced[0] - before <= 1


# --- on the host --------------------------------------------------------------------


def test_keys_of_chains_equal_jax_and_compile_nothing():
    keys = jax.random.key_data(eb.chain_keys(KEY, 7))
    folded = jax.vmap(lambda c: jax.random.fold_in(KEY, c))(jnp.arange(7))
    np.testing.assert_array_equal(keys, jax.random.key_data(folded))
    within = jax.jit(lambda k: eb.chain_keys(k, 7))(KEY)
    np.testing.assert_array_equal(keys, jax.random.key_data(within))
    with compilations() as count:
        eb.chain_keys(KEY, 11)
    assert count[0] == 0
    assert _random.fold_on_host(jax.random.key(0, impl="rbg"), np.arange(3)) is None


def test_quantiles_of_the_normal_equal_scipy():
    small = 10.0 ** -np.arange(1, 300)
    p = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 10001), small, 1 - small[:14]])
    np.testing.assert_allclose(
        normal_quantile(p), scipy.special.ndtri(p), rtol=4e-15, atol=4e-16
    )


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_factor_and_inverse_of_a_matrix_equal_lapack(dim):
    x = np.random.default_rng(dim).normal(size=(dim, 2 * dim + 3))
    matrix = np.corrcoef(x).reshape(dim, dim).astype(np.float32)
    exact = np.linalg.cholesky(matrix.astype(np.float64))
    factor = cholesky(jnp.asarray(matrix))
    np.testing.assert_allclose(factor, exact, atol=4e-7)
    inverse = inverse_of_triangular(factor)
    size = np.abs(np.linalg.inv(exact)).max()
    np.testing.assert_allclose(inverse, np.linalg.inv(exact), atol=2e-6 * size)
    indefinite = jnp.asarray(matrix).at[-1, -1].set(-1.0)
    assert not np.isfinite(cholesky(indefinite)).all()


@pytest.mark.parametrize("values", [[3.0], [1.0, 5.0], [4, 1, 2], [7, np.inf, 1, 2]])
def test_the_median_equals_numpy(values):
    values = np.array(values, np.float32)
    assert median(jnp.asarray(values)) == np.median(values)
    assert np.isnan(median(jnp.asarray([*values, np.nan])))


def test_the_trajectory_length_is_updated_by_adam():
    adam = optax.adam(0.05, b1=0.0, b2=0.95)
    state, total, length = adam.init(jnp.float32(0)), 0.0, Length.begin(1.0)
    for gain in (0.9, -0.3, 0.6):
        jump = Jump(jnp.float32(gain), jnp.float32(0.7), jnp.float32(3.0))
        length = length.update(jump, jnp.float32(1e6))
        step, state = adam.update(-length.jump.slope(), state)
        total += step
    assert length.log_length == pytest.approx(float(total), rel=1e-5)


# --- programs -----------------------------------------------------------------------


def test_work_counts_the_numbers_of_products_and_loops():
    matrix = jnp.ones((80, 80))
    product = jax.jit(lambda x: x @ matrix)
    assert work(product, jnp.ones((5, 80))) == 5 * 80 * 80 / PRODUCTS
    turn = lambda x: jax.lax.scan(lambda x, _: (x * 2.0, None), x, length=50)[0]
    assert work(jax.jit(turn), jnp.ones(10)) == 500
    assert work(jax.jit(lambda x: 2 * x + 1), jnp.ones(10)) == 20
    # of unknown length: the condition and the body, of ten numbers, each turn
    is_on = lambda x: jnp.max(x) < 1e9
    once = lambda x: jax.lax.while_loop(is_on, lambda x: 2 * x, x)
    twice = lambda x: jax.lax.while_loop(is_on, once, x)
    is_on_size = work(jax.jit(is_on), jnp.ones(10))
    assert work(jax.jit(once), jnp.ones(10), loops=64) == 64 * (is_on_size + 10)
    nested = 64 * (is_on_size + 4 * (is_on_size + 10))
    assert work(jax.jit(twice), jnp.ones(10), loops=64) == nested
    # each of the 6 x 6 x 4 numbers is a sum of 3 x 3 x 8 products, in any layout
    for layout, filters in (("HWIO", (3, 3, 8, 4)), ("OIHW", (4, 8, 3, 3))):
        convolve = lambda x, w, layout=layout: jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=("NHWC", layout, "NHWC")
        )
        count = work(jax.jit(convolve), jnp.ones((1, 8, 8, 8)), jnp.ones(filters))
        assert count == 6 * 6 * 4 * 3 * 3 * 8 / PRODUCTS


@contextlib.contextmanager
def cache_options():
    """JAX's options of the cache, put back afterwards."""
    names = ["jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"]
    names += ["jax_persistent_cache_min_entry_size_bytes"]
    names += ["jax_compilation_cache_max_size", "jax_enable_compilation_cache"]
    before = {name: getattr(jax.config, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@cache_options()
def test_the_cache_is_in_the_users_folder_and_can_be_turned_off(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    jax.config.update("jax_enable_compilation_cache", False)
    _compilation_cache.cache_by_default()
    assert not (tmp_path / "ebmjax").exists()
    jax.config.update("jax_enable_compilation_cache", True)
    _compilation_cache.cache_by_default()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "ebmjax")
    assert (tmp_path / "ebmjax").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        eb.enable_compilation_cache(tmp_path / "file" / "folder")


@cache_options()
def test_a_folder_that_other_programs_use_has_no_limit(tmp_path, monkeypatch):
    """JAX cannot write with a limit where another process writes without one."""
    pytest.importorskip("filelock")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "shared"))
    for folder, limit in (
        (None, -1),
        (tmp_path / "shared", -1),
        (tmp_path / "ours", _compilation_cache.LARGEST_CACHE),
    ):
        jax.config.update("jax_compilation_cache_max_size", -1)
        eb.enable_compilation_cache(folder)
        assert jax.config.jax_compilation_cache_max_size == limit


# --- a GPU --------------------------------------------------------------------------


def test_on_a_gpu_steps_share_the_body_of_a_loop_and_move_the_chains_alike(monkeypatch):
    kernel = eb.parallel(eb.hmc(posterior(0), 0.3, 4))
    keys, state = eb.chain_keys(KEY, 4), kernel.init(jnp.ones((4, 3)))
    run = lambda: jax.jit(lambda s: eb.run(keys, kernel, s, 24).draws)
    looped = run()
    loops = lambda f: f.lower(state).as_text().count("stablehlo.while")
    num_loops, draws = loops(looped), looped(state)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    unrolled = run()
    assert loops(unrolled) == num_loops - 1  # no loop of the leapfrog
    np.testing.assert_allclose(unrolled(state), draws, atol=1e-4)
    move = lambda noise, state: (state, sum(noise * i for i in range(2000)))
    assert blocks.unrolled(move, jnp.ones(2), state) == 1  # too long to be repeated
    noise = kernel.draw(keys, shapes_of(state.position))
    assert blocks.unrolled(kernel.move, noise, state) > 1


PROGRAM = """
%body (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %f = f32[8]{0} fusion(%a), kind=kLoop, calls=%fused
  ROOT %c = f32[8]{0} copy(%f)
}
%condition (a: f32[8]) -> pred[] {
  %a = f32[8]{0} parameter(0)
  ROOT %p = pred[] fusion(%a), kind=kLoop, calls=%fused
}
ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %w = f32[8]{0} while(%x), condition=%condition, body=%body, """
PROGRAM += """backend_config={"known_trip_count":{"n":"10"}}
  %r = f32[8]{0} all-reduce(%w), to_apply=%sum
  ROOT %t = f32[8]{0} fusion(%r), kind=kLoop, calls=%fused
}
"""


class Compiled:
    """What :func:`benchmarks.gpu_counts.counts` reads of a program."""

    def __init__(self, text):
        self.as_text = lambda: text

    class memory_analysis:
        temp_size_in_bytes = 16


def test_launches_bytes_and_collectives_of_a_program():
    found = gpu_counts.counts(Compiled(PROGRAM))
    assert found.launches == 10 * (2 + 1 + 1) + 2
    assert found.bytes == 10 * (64 + 64 + 33) + 64
    assert found.collectives == {"all-reduce": 1} and not found.unknown_loops
    unknown = PROGRAM.replace("known_trip_count", "no_count")
    found = gpu_counts.counts(Compiled(unknown))
    assert found.launches == 2 and found.unknown_loops == {"body": 4}


SCRIPT = """
import json
from benchmarks import accelerator, gpu_program
gpu_program.topology()
found = {}
for cell, unit, make in accelerator.cells(is_quick=True):
    name = cell["program"]
    if cell["library"] == "ebmjax":
        row = accelerator.report(accelerator.compiled(make), unit)
        found[name] = row["launches/turn"] or row["launches/step"]
found["collectives"] = accelerator.divided()["collectives"]
print(json.dumps(found))
"""


@pytest.mark.skipif(not gpu_program.is_available(), reason="needs the extra gpu-report")
def test_launches_on_an_h100():
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert 1 <= found["random_walk"] <= 4 and found["mala"] <= 4 and found["hmc"] <= 8
    assert found["hmc of a dense Gaussian"] <= 45 and found["nuts"] <= 14
    assert found["an update of images"] <= 360
    assert found["collectives"] == 0
