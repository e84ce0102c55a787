"""What several test files share: comparison of trees, finite differences, standard
errors, counters of programs and traces, Gaussian energies, full disks, the command
line."""

import contextlib
import errno
import os
import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np

import ebmjax as eb
from ebmjax.kernels.flip import flip

# A tree with leaves of many kinds, to be saved and loaded.
TREE = {
    "w": jnp.arange(6.0).reshape(2, 3),
    "half": jnp.ones(3, jnp.bfloat16) / 3,
    "key": jax.random.key(7),
    "count": jnp.int32(5),
    "nothing": None,
    "pair": (jnp.zeros(()), np.float64(0.1)),
}

# --- trees --------------------------------------------------------------------------


def tree_equal(a, b):
    """Whether all leaves are equal, bit for bit."""
    return all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def flat(tree):
    """All leaves in one vector."""
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


# --- derivatives --------------------------------------------------------------------


def finite_difference(function, x, direction, h=1e-2):
    """(f(x + h d) - f(x - h d)) / 2h, of trees."""
    up, down = (
        function(jax.tree.map(lambda a, d, s=s: a + s * d, x, direction))
        for s in (h, -h)
    )
    return (up - down) / (2 * h)


def finite_differences(function, x, h=1e-5):
    """By each coordinate of a vector."""
    return np.array([finite_difference(function, x, e, h) for e in jnp.eye(len(x))])


def random_slopes(function, params):
    """The derivative along a random direction, by a finite difference and by
    autodiff."""
    direction = jax.tree.map(
        lambda w: jax.random.normal(jax.random.key(w.size), w.shape), params
    )
    grads = jax.grad(function)(params)
    products = jax.tree.map(jnp.vdot, grads, direction)
    exact = sum(jax.tree.leaves(products))
    return finite_difference(function, params, direction), exact


# --- statistics ---------------------------------------------------------------------


def standard_error(values):
    """Of the mean over the first axis, of independent values."""
    values = np.asarray(values, np.float64)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def z_score(values, mean=0.0):
    """(mean of the values - ``mean``) / standard error."""
    values = np.asarray(values, np.float64)
    return (values.mean(axis=0) - mean) / standard_error(values)


# --- programs and traces ------------------------------------------------------------


@contextlib.contextmanager
def compilations():
    """Counts the programs that XLA compiles, by JAX's own events."""
    count = [0]

    def listen(event, duration, **_):
        count[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield count
    finally:
        jax._src.monitoring.unregister_event_duration_listener(listen)


def counted(function):
    """The function, and a list that grows by one with each call, or trace."""
    calls = []

    def call(*arguments):
        calls.append(1)
        return function(*arguments)

    return call, calls


# --- energies and kernels -----------------------------------------------------------


def gaussian_energy(params, x):
    """1/2 (x - mu)^T Lambda (x - mu), of ``precision`` and ``mean``."""
    centred = x - params["mean"]
    return 0.5 * centred @ params["precision"] @ centred


def root_energy(params, x):
    """1/2 |R (x - mu)|^2, of ``root`` and ``mean``."""
    return 0.5 * jnp.sum((params["root"] @ (x - params["mean"])) ** 2)


def isotropic_energy(params, x):
    """1/2 a |x - mu|^2, of ``(a, mu)``."""
    return 0.5 * params[0] * jnp.sum((x - params[1]) ** 2)


def natural_energy(params, x):
    """1/2 a x^2 - b x in one dimension, of ``(a, b)``:
    log Z = b^2 / 2a + log(2 pi / a) / 2."""
    return 0.5 * params[0] * x[0] ** 2 - params[1] * x[0]


def bounded(energy, at=50):
    """The energy with a hard boundary: +inf where the first coordinate is above
    ``at``."""
    return lambda params, x: energy(params, x) + jnp.where(x[0] > at, jnp.inf, 0.0)


def flips(energy, step_size):
    """Eight flips of bits; the step size is not used."""
    return eb.repeat(flip(energy), 8)


class FourDevices:
    """Stands for a mesh of four devices."""

    shape = {"chains": 4}


# --- disks --------------------------------------------------------------------------


def raise_disk_full(*_, **__):
    """Raise what a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def limited(size):
    """Limit the size of files of this process, which acts as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if size else before[0], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# --- the command line ---------------------------------------------------------------


def call(*arguments):
    """The result of a command of ebmjax, in this process."""
    from typer.testing import CliRunner

    from ebmjax.cli import app

    return CliRunner().invoke(app, [str(a) for a in arguments])
