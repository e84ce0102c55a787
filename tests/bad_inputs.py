"""The table of bad inputs and of the response to each.

    python tests/bad_inputs.py        writes docs/bad_inputs.md

Each row is a test (tests/test_bad_inputs.py): it "raises" within a second and before
any long compilation, "warns" at the end of a run, is "reported" by ``ebmjax.check``, or
"works".
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers import FourDevices

import ebmjax as eb
from ebmjax.experiments import data, experiment
from ebmjax.io import checkpoint
from ebmjax.sampling import devices

ROOT = Path(__file__).parent.parent
SCRATCH = ROOT / ".pytest_cache" / "bad_inputs"
KEY = jax.random.key(0)
START = jnp.ones((3, 2))
ENERGY = lambda x: 0.5 * jnp.sum(x**2)
KERNEL = eb.mala(ENERGY, 0.5)


class Row(NamedTuple):
    number: int
    what: str
    outcome: str  # raises, warns, reported, works
    call: Callable
    says: str = ""  # a part of the message; "works" returns what must be true
    error: type = ValueError


def sample(key=KEY, kernel=KERNEL, start=START, num_steps=20, **options):
    if isinstance(start, eb.State):  # using the same key again is a separate error
        key = jax.random.fold_in(key, 1)
    return eb.sample(key, kernel, start, num_steps, **options)


def of(energy, make=eb.random_walk, start=START, **options):
    return lambda: sample(kernel=make(energy, 0.5), start=start, **options)


def fit(points=None, batch_size=8, num_chains=8, chain_init=None, **options):
    points = (
        np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
        if points is None
        else points
    )
    chain_init, adam = chain_init or eb.from_data(), optax.adam(1e-2)
    energy = lambda params, x: params["a"] * jnp.sum(x**2)
    loss = eb.maximum_likelihood(energy, eb.mala, 2)
    state = eb.init_state(KEY, {"a": jnp.float32(1.0)}, adam, chain_init, 0.3)
    state = options.pop("change", lambda state: state)(state)
    return eb.fit(
        KEY,
        loss,
        adam,
        state,
        points,
        chain_init,
        num_updates=2,
        batch_size=batch_size,
        num_chains=num_chains,
    )


def build(**choices):
    moons = data.load("two_moons", num_points=100)
    return experiment.build(experiment.preset(moons, features=(8,), **choices), moons)


def with_bytes():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    np.save(
        SCRATCH / "bytes.npy",
        (np.arange(3200) % 256).astype(np.uint8).reshape(50, 8, 8),
    )
    found = data.load(str(SCRATCH / "bytes.npy"))
    return found.x.max() <= 1 and any("scaled from 0" in n for n in found.notes)


def with_nan():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    np.save(SCRATCH / "nan.npy", np.array([[1.0, np.nan], [2.0, 3.0]]))
    return data.load(str(SCRATCH / "nan.npy"))


def other_model():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    checkpoint.save(SCRATCH / "c.npz", {"w": jnp.zeros((2, 3))})
    return checkpoint.load(
        SCRATCH / "c.npz", {"w": jnp.zeros((2, 4)), "b": jnp.zeros(2)}
    )


def buffer(size):
    return eb.replay_buffer(lambda key, n: jax.random.normal(key, (n, 2)), size)


def slots_are_in():
    chain_init = buffer(32)
    store = chain_init.init(KEY)
    for key in jax.random.split(KEY, 50):
        chains, slots = chain_init.draw(key, store, None, 20)
        is_in = ((slots >= 0) & (slots < 32)).all() and len(np.unique(slots)) == 20
        if not (is_in and np.array_equal(chains, store[slots])):
            return False
    return True


def checked(energy):
    return lambda: str(eb.check(energy, jnp.array([0.7, -1.2]), KEY).issues)


def same(call):
    """The same numbers as with a typed key."""
    return lambda: np.array_equal(call().draws, sample().draws)


def steps_differ():
    draws = sample(kernel=eb.ula(lambda x: 0.0 * jnp.sum(x), 0.5)).draws
    moves = np.diff(np.asarray(draws), axis=0)
    return len(np.unique(moves)) == moves.size


def old_state_elsewhere():
    state = sample().state
    return sample(kernel=eb.mala(lambda x: 3 * ENERGY(x), 0.5), start=state)


def bfloat16():
    samples = sample(start=START.astype(jnp.bfloat16))
    return (
        samples.draws.dtype == jnp.bfloat16
        and samples.state.energy.dtype == jnp.float32
    )


def one_program():
    traces = []
    step = jax.jit(lambda h, x: traces.append(1) or eb.mala(ENERGY, h).init(x).energy)
    _ = step(jnp.float32(0.5), START[0]), step(jnp.asarray(0.25, jnp.float32), START[0])
    return len(traces) == 1


def python_if(x):
    return ENERGY(x) if x[0] > 0 else -ENERGY(x)


def if_else(limit, value):
    return lambda x: jnp.where(x[0] > limit, value, ENERGY(x))


q = lambda key, x: x + jax.random.normal(key, x.shape)
hmc = partial(eb.hmc, ENERGY, 0.1, 2)
symmetric = lambda propose: sample(
    kernel=eb.metropolis(ENERGY, propose, symmetric=True)
)
T = TypeError
ROWS = [
    Row(1, "raw `PRNGKey(0)`", "works", same(lambda: sample(jax.random.PRNGKey(0)))),
    Row(2, "an int for a key", "raises", lambda: sample(0), "key must be a PRNG key, got 0 (int); pass jax.random.key(0)", T),
    Row(3, "NumPy `uint32[2]` for a key", "works", same(lambda: sample(np.asarray(jax.random.PRNGKey(0))))),
    Row(4, "a batch of keys", "raises", lambda: sample(jax.random.split(KEY, 3)), "key must be one key, got 3 keys of shape (3,)"),
    Row(5, "`None` for a key", "raises", lambda: sample(None), "key must be a PRNG key, got None", T),
    Row(6, "one key for every step: steps derive their own", "works", steps_differ),
    Row(7, "one key for all chains: chains derive their own", "works", lambda: not np.array_equal(*np.asarray(sample().draws)[:, :2].swapaxes(0, 1))),
    Row(8, "fewer keys than chains", "raises", lambda: sample(jax.random.split(KEY, 2)), "the runner derives one for each chain and step"),
    Row(9, "a seed of 2^32", "raises", lambda: data.load("two_moons", seed=2**32), "seed must lie in [0, 2**32), got 4294967296"),
    Row(9, "a negative seed", "raises", lambda: data.load("two_moons", seed=-1), "seed must lie in [0, 2**32), got -1"),
    Row(9, "a bool for a seed", "raises", lambda: data.load("two_moons", seed=True), "seed must be an integer, got True (bool)", T),
    Row(10, "int32 positions", "raises", lambda: sample(start=START.astype(int)), "positions must be floating, got int32 of shape (3, 2); use .astype('float32')", T),
    Row(11, "a Python int for positions", "raises", lambda: sample(start=1), "positions must be floating, got 1 (int)", T),
    Row(12, "bool positions", "raises", lambda: sample(start=START > 0), "positions must be floating, got bool of shape (3, 2)", T),
    Row(12, "complex positions", "raises", lambda: sample(start=START + 1j), "positions must be floating, got complex64 of shape (3, 2)", T),
    Row(12, "keys for positions", "raises", lambda: sample(start=jax.random.split(KEY)), "positions must be floating, got key<fry>", T),
    Row(12, "a string for positions", "raises", lambda: sample(start="0"), "positions must be floating, got '0' (str)", T),
    Row(12, "an object for positions", "raises", lambda: sample(start=object()), "positions must be floating, got object", T),
    Row(13, "float64 positions without x64", "warns", lambda: sample(start=np.ones((3, 2))), "positions is float64 and becomes float32: x64 is off"),
    Row(14, "bfloat16 positions: accept in float32", "works", bfloat16),
    Row(15, "positions of shape (3, 0)", "raises", lambda: sample(start=jnp.zeros((3, 0))), "positions must not be empty, got shape (3, 0)"),
    Row(16, "NaN in the start", "raises", lambda: sample(start=START.at[1, 0].set(jnp.nan)), "positions must be finite, got 1 NaN or infinite values in rows 1"),
    Row(17, "a start of infinite energy", "raises", of(if_else(0.0, jnp.inf)), "energy must be finite where a chain starts, got inf at chain 0 (3 of 3 chains)"),
    Row(18, "an energy that falls to minus infinity", "warns", of(if_else(1.2, -jnp.inf), num_steps=100), "proposals had an energy or a ratio of NaN or minus infinity"),
    Row(19, "an energy that is NaN in a region", "warns", of(if_else(1.2, jnp.nan), num_steps=100), "proposals had an energy or a ratio of NaN or minus infinity"),
    Row(20, "an energy that is always NaN", "raises", of(lambda x: jnp.nan * x[0]), "energy must be finite where a chain starts, got nan at chain 0"),
    Row(21, "an energy that returns a vector", "raises", of(lambda x: x**2), "energy must return a scalar for one point, got shape (2,); sum over the coordinates, or vmap", T),
    Row(22, "an energy of shape (1,)", "raises", of(lambda x: ENERGY(x)[None]), "got shape (1,); use .squeeze()", T),
    Row(23, "an energy of dtype int32", "raises", of(lambda x: jnp.int32(1)), "energy must return a floating scalar, got dtype int32", T),
    Row(23, "an energy that returns None", "raises", of(lambda x: None), "energy must return one floating scalar, got None", T),
    Row(23, "an energy that returns (value, aux)", "raises", of(lambda x: (ENERGY(x), 1)), "got tuple; return the energy alone", T),
    Row(23, "an energy that cannot be called", "raises", lambda: eb.mala(3.0, 0.5), "energy must be a function, got 3.0 (float)", T),
    Row(24, "NumPy or `float()` inside an energy", "raises", of(lambda x: np.sum(np.asarray(x) ** 2)), "traced array", jax.errors.TracerArrayConversionError),
    Row(24, "the same", "reported", checked(lambda x: float(x[0])), "use jax.numpy in place of numpy, float() and .item()"),
    Row(25, "a Python `if` on a value", "raises", of(python_if), "boolean", jax.errors.TracerBoolConversionError),
    Row(25, "the same", "reported", checked(python_if), "use jnp.where or lax.cond"),
    Row(26, "an energy that has no gradient", "reported", checked(lambda x: ENERGY(jnp.round(9 * x))), "it is not differentiable"),
    Row(27, "an energy that ignores a coordinate", "reported", checked(lambda x: x[0] ** 2), "does not depend on 1 of 2 coordinates"),
    Row(28, "a log density for an energy", "reported", checked(lambda x: -ENERGY(x)), "pass from_log_density(log_density)"),
    *[Row(n, f"step size {h} for {make.__name__}", "raises", partial(make, ENERGY, h), f"step_size must be finite and above 0, got {h}")
      for n, h in ((29, -0.1), (30, 0.0), (31, float("nan"))) for make in (eb.random_walk, eb.mala, eb.ula, eb.underdamped_langevin)],
    *[Row(n, f"step size {h} for hmc", "raises", partial(eb.hmc, ENERGY, h, 2), f"step_size must be finite and above 0, got {h}")
      for n, h in ((29, -0.1), (30, 0.0), (31, float("nan")))],
    Row(32, "step size 1e6", "warns", lambda: sample(kernel=eb.mala(ENERGY, 1e6)), "3 of 3 chains never moved in 20 steps (chain 0, 1, 2)"),
    Row(33, 'step size "0.1"', "raises", lambda: eb.mala(ENERGY, "0.1"), "step_size must be a number or an array of numbers, got '0.1' (str)", T),
    Row(34, "a step size of another shape", "raises", lambda: sample(kernel=eb.mala(ENERGY, np.ones(3))), "step_size of shape (3,) does not broadcast to a position of shape (2,)"),
    Row(35, "a step size as another value of the same dtype: one program", "works", one_program),
    Row(36, "no leapfrog steps", "raises", lambda: eb.hmc(ENERGY, 0.1, 0), "num_steps must be at least 1, got 0"),
    Row(36, "-2 leapfrog steps", "raises", lambda: eb.hmc(ENERGY, 0.1, -2), "num_steps must be at least 1, got -2"),
    Row(37, "5.5 leapfrog steps", "raises", lambda: eb.hmc(ENERGY, 0.1, 5.5), "num_steps must be a whole number, got 5.5 (float)", T),
    Row(38, "no draws", "raises", lambda: sample(num_steps=0), "num_steps must be at least 1, got 0"),
    Row(38, "-1 draws", "raises", lambda: sample(num_steps=-1), "num_steps must be at least 1, got -1"),
    Row(39, "no chains", "raises", lambda: sample(start=jnp.zeros((0, 2))), "positions must not be empty, got shape (0, 2)"),
    Row(40, "a covariance of another size", "raises", lambda: sample(kernel=hmc(covariance=np.ones(3))), "step_size of shape (3,) does not broadcast to a position of shape (2,)"),
    Row(41, "a covariance that is not positive definite", "raises", lambda: hmc(covariance=np.array([[1.0, 2], [2, 1]])), "covariance must be positive definite, got smallest eigenvalue -1"),
    Row(42, "a negative variance", "raises", lambda: hmc(covariance=np.array([1.0, -1])), "covariance must be finite and above 0, got -1.0"),
    Row(42, "a covariance of zero", "raises", lambda: hmc(covariance=np.array([1.0, 0])), "covariance must be finite and above 0, got 0.0"),
    Row(43, "an asymmetric covariance", "raises", lambda: hmc(covariance=np.array([[1, 0.5], [0, 1]])), "covariance must be symmetric, got a difference of 0.5 from its transpose"),
    Row(44, "a covariance of three axes", "raises", lambda: hmc(covariance=np.ones((2, 2, 2))), "covariance must be a vector [D] or a matrix [D, D], got shape (2, 2, 2)"),
    Row(44, "a scalar covariance", "raises", lambda: hmc(covariance=2.0), "covariance must be a vector [D] or a matrix [D, D], got shape ()"),
    Row(45, "an asymmetric proposal without its ratio", "raises", lambda: eb.metropolis(ENERGY, q), "metropolis needs log_q(to=, given=) or symmetric=True for its proposal, got neither", T),
    Row(46, "a `log_q` whose arguments could be swapped", "raises", lambda: sample(kernel=eb.metropolis(ENERGY, q, log_q=lambda new, old: 0.0)), "log_q must be a function log_q(to=, given=)", T),
    Row(47, "a proposal that changes the shape", "raises", lambda: symmetric(lambda key, x: jnp.ones(3)), "proposal changed position from float32 of shape (2,) to float32 of shape (3,)", T),
    Row(47, "a proposal that changes the dtype", "raises", lambda: symmetric(lambda key, x: x.astype(jnp.bfloat16)), "proposal changed position from float32 of shape (2,) to bfloat16 of shape (2,)", T),
    Row(47, "a proposal that changes the tree", "raises", lambda: symmetric(lambda key, x: (x, x)), "proposal must return a tree like the position", T),
    Row(48, "positions without a chain axis", "raises", lambda: sample(start=jnp.float32(1)), "positions must have a leading chain axis [C, ...]"),
    Row(49, "the state of another kernel", "raises", lambda: sample(start=sample(kernel=eb.random_walk(ENERGY, 0.5)).state), "positions is the state of another kernel; pass its position, state.position", T),
    Row(50, "a state of another energy", "raises", old_state_elsewhere, "positions is a state of another energy: where chain"),
    Row(51, "no data", "raises", lambda: fit(np.zeros((0, 2), np.float32)), "data must not be empty, got shape (0, 2)"),
    Row(52, "NaN in the data", "raises", lambda: fit(np.full((50, 2), np.nan, np.float32)), "data must be finite, got 100 NaN or infinite values in rows 0, 1, 2, 3, 4 and 45 more"),
    Row(52, "NaN in a file of data", "raises", with_nan, "nan.npy must be finite, got 1 NaN or infinite values in rows 0"),
    Row(53, "a file of bytes: scaled to [0, 1]", "works", with_bytes),
    Row(54, "a batch larger than the data", "raises", lambda: fit(batch_size=51), "batch_size must be at most the number of points, 50, got 51"),
    Row(54, "more chains than the buffer", "raises", lambda: fit(num_chains=9, chain_init=eb.replay_buffer(lambda key, n: jnp.zeros((n, 2)), 4)), "num_chains must be at most the buffer's size, 4, got 9"),
    Row(55, "a buffer of 16 for a chain_init of 32", "raises", lambda: fit(chain_init=buffer(32), change=lambda s: s._replace(buffer=jnp.zeros((16, 2)))), "state.buffer must hold the 32 chains of chain_init, got 16"),
    Row(55, "a state without a buffer for a chain_init of 32", "raises", lambda: fit(chain_init=buffer(32), change=lambda s: s._replace(buffer=None)), "state.buffer must hold the 32 chains of chain_init, got none"),
    Row(55, "a label beyond the classes", "raises", lambda: eb.labelled(np.ones((3, 2), np.float32), [0, 1, 2], num_classes=2), "labels must lie in [0, 2), got 0 to 2"),
    Row(55, "indices that the buffer draws: all valid, none twice", "works", slots_are_in),
    Row(56, "an optimiser state of other parameters", "raises", lambda: fit(change=lambda s: s._replace(opt_state=optax.adam(1e-2).init({"b": jnp.zeros(2)}))), "", Exception),
    Row(57, "a negative learning rate", "raises", lambda: build(learning_rate=-1e-3), "learning_rate must be finite and above 0, got -0.001"),
    Row(57, "a learning rate of NaN", "raises", lambda: build(learning_rate=float("nan")), "learning_rate must be finite and above 0, got nan"),
    Row(58, "a start that is used twice: `sample` copies it", "works", lambda: sample().draws.shape == sample(start=sample().state).draws.shape and not START.is_deleted()),
    Row(59, "a configuration as a static argument", "works", lambda: hash(build().config) != hash(build(seed=1).config)),
    Row(60, "a start of 1e30", "raises", lambda: sample(start=START * 1e30), "energy must be finite where a chain starts, got inf at chain 0"),
    Row(61, "a checkpoint of another model", "raises", other_model, "['b'] is missing; ['w'] is float32[2, 3], wanted float32[2, 4]"),
    Row(62, "10 chains on 4 devices", "raises", lambda: devices.check_divides(10, FourDevices(), "the number of chains"), "the number of chains must be a multiple of the number of devices, got 10 on 4 devices; the nearest are 8 and 12"),
]  # fmt: skip


def document() -> str:
    reported = {
        "raises": "error",
        "warns": "warning",
        "reported": "`ebmjax.check` says",
        "works": "works",
    }
    lines = [
        "# Bad inputs",
        "",
        "The response to 62 kinds of bad input. Errors are raised at the call, within a second and",
        "before any long compilation; warnings come at the end of a run. Each row is a test. The page",
        "is made by `python tests/bad_inputs.py`, and a test checks that it is up to date. Some of the",
        "62 kinds have several rows.",
        "",
        "| | input | response | message |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        kind = reported[row.outcome] + (
            f" (`{row.error.__name__}`)" if row.outcome == "raises" else ""
        )
        says = row.says.replace("|", "\\|") or (
            "-" if row.outcome == "works" else "Optax's own"
        )
        lines.append(f"| {row.number} | {row.what} | {kind} | {says} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit((ROOT / "docs" / "bad_inputs.md").write_text(document()) and None)
