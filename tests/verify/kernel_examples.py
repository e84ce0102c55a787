"""User-style kernels: correct ones, and the same with a bug.

Each is a pair ``init(position)``, ``step(key, state) -> (state, info)``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import targets


class Algorithm(NamedTuple):
    init: Any
    step: Any


class Point(NamedTuple):
    position: Any


class Phase(NamedTuple):
    position: Any
    momentum: Any


class Tuned(NamedTuple):
    position: Any
    log_step: Any
    num_steps: Any


class Target(NamedTuple):
    """A target of a user: an energy, a sampler, a name."""

    name: str
    energy: Any
    sample: Any


def of(move) -> Algorithm:
    """A kernel without memory from ``move(key, x) -> x``."""
    return Algorithm(Point, lambda key, s: (Point(move(key, s.position)), None))


def _accept(key, log_ratio):
    return jnp.log(jax.random.uniform(key, minval=1e-30)) < log_ratio


def walk(energy, size, *, always=lambda key, x: False):
    """Random-walk Metropolis; it accepts everything where ``always`` is true."""

    def move(key, x):
        keys = jax.random.split(key, 3)
        y = x + size * jax.random.normal(keys[0], x.shape)
        is_accepted = _accept(keys[1], energy(x) - energy(y)) | always(keys[2], x)
        return jnp.where(is_accepted, y, x)

    return of(move)


# --- coordinates that never move ------------------------------------------------------


def stuck(energy, size, *, coordinate):
    """Random-walk Metropolis that never proposes one coordinate."""
    mask = lambda x: jnp.arange(x.size) != coordinate

    def move(key, x):
        keys = jax.random.split(key)
        y = x + size * mask(x) * jax.random.normal(keys[0], x.shape)
        return jnp.where(_accept(keys[1], energy(x) - energy(y)), y, x)

    return of(move)


def gibbs(precision, *, forgets=0):
    """Gibbs on N(0, precision^-1), each coordinate in turn except the last
    ``forgets``."""
    precision = np.asarray(precision, np.float32)

    def move(key, x):
        for i in range(len(precision) - forgets):
            mean = x[i] - precision[i] @ x / precision[i, i]
            noise = jax.random.normal(jax.random.fold_in(key, i))
            x = x.at[i].set(mean + noise / np.sqrt(precision[i, i]))
        return x

    return of(move)


# --- generalised HMC ------------------------------------------------------------------


def leapfrog(energy, x, p, size, num):
    grad = jax.grad(energy)
    p = p - size / 2 * grad(x)
    for i in range(num):
        x = x + size * p
        p = p - (size if i + 1 < num else size / 2) * grad(x)
    return x, p


def ghmc(energy, size, *, num=3, persistence=0.9, is_flipped=True):
    """Horowitz (1991): the momentum persists and is reversed after a rejection."""

    def init(position):
        return Phase(position, jnp.zeros_like(position))

    def step(key, s):
        keys = jax.random.split(key)
        noise = jax.random.normal(keys[0], s.momentum.shape)
        p = persistence * s.momentum + np.sqrt(1 - persistence**2) * noise
        x, q = leapfrog(energy, s.position, p, size, num)
        h = energy(s.position) + p @ p / 2 - energy(x) - q @ q / 2
        back = -p if is_flipped else p
        is_accepted = _accept(keys[1], h)
        return Phase(
            jnp.where(is_accepted, x, s.position), jnp.where(is_accepted, q, back)
        ), None

    return Algorithm(init, step)


def fresh_momentum(key, state):
    """For ``complete=``."""
    return state._replace(momentum=jax.random.normal(key, state.momentum.shape))


# --- delayed rejection, multiple tries ------------------------------------------------


def delayed_rejection(energy, size, *, is_right=True, shrink=0.3):
    """Two stages (Tierney & Mira 1999), normal steps of ``size`` and
    ``shrink size``."""

    def log_q(x, y):
        return -jnp.sum((x - y) ** 2) / (2 * size**2)

    def move(key, x):
        keys = jax.random.split(key, 4)
        y1 = x + size * jax.random.normal(keys[0], x.shape)
        first = jnp.minimum(energy(x) - energy(y1), 0.0)
        y2 = x + shrink * size * jax.random.normal(keys[1], x.shape)
        back = jnp.minimum(energy(y2) - energy(y1), 0.0)
        ratio = energy(x) - energy(y2) + log_q(y2, y1) - log_q(x, y1)
        ratio = ratio + jnp.log1p(-jnp.exp(back)) - jnp.log1p(-jnp.exp(first))
        if not is_right:
            ratio = energy(x) - energy(y2)
        second = jnp.where(_accept(keys[3], ratio), y2, x)
        return jnp.where(_accept(keys[2], first), y1, second)

    return of(move)


def until_accepted(energy, size, *, num=8):
    """Proposes until it accepts, at most ``num`` times: wrong."""

    def move(key, x):
        def body(i, carry):
            y, is_done = carry
            keys = jax.random.split(jax.random.fold_in(key, i))
            z = x + size * jax.random.normal(keys[0], x.shape)
            is_new = ~is_done & _accept(keys[1], energy(x) - energy(z))
            return jnp.where(is_new, z, y), is_done | is_new

        return jax.lax.fori_loop(0, num, body, (x, False))[0]

    return of(move)


def multiple_try(energy, size, *, num=4):
    """Liu, Liang & Wong (2000), with weights exp(-E)."""

    def move(key, x):
        keys = jax.random.split(key, 4)
        ys = x + size * jax.random.normal(keys[0], (num, *x.shape))
        weights = -jax.vmap(energy)(ys)
        y = ys[jax.random.categorical(keys[1], weights)]
        back = y + size * jax.random.normal(keys[2], (num - 1, *x.shape))
        others = jnp.append(-jax.vmap(energy)(back), -energy(x))
        logsumexp = jax.nn.logsumexp
        is_accepted = _accept(keys[3], logsumexp(weights) - logsumexp(others))
        return jnp.where(is_accepted, y, x)

    return of(move)


# --- of Gaussian priors, slices, ensembles --------------------------------------------


def pcn(log_likelihood, beta):
    """Preconditioned Crank-Nicolson on a standard normal prior."""

    def move(key, x):
        keys = jax.random.split(key)
        y = np.sqrt(1 - beta**2) * x + beta * jax.random.normal(keys[0], x.shape)
        return jnp.where(_accept(keys[1], log_likelihood(y) - log_likelihood(x)), y, x)

    return of(move)


def elliptical_slice(log_likelihood, *, num=12):
    """Murray, Adams & MacKay (2010), on a standard normal prior."""

    def move(key, x):
        keys = jax.random.split(key, 4)
        nu = jax.random.normal(keys[0], x.shape)
        level = log_likelihood(x) + jnp.log(jax.random.uniform(keys[1], minval=1e-30))
        theta = jax.random.uniform(keys[2], maxval=2 * np.pi)

        def body(i, carry):
            theta, low, high, y, is_done = carry
            z = x * jnp.cos(theta) + nu * jnp.sin(theta)
            is_new = ~is_done & (log_likelihood(z) > level)
            low = jnp.where(theta < 0, theta, low)
            high = jnp.where(theta < 0, high, theta)
            u = jax.random.uniform(jax.random.fold_in(keys[3], i))
            return (
                low + u * (high - low),
                low,
                high,
                jnp.where(is_new, z, y),
                is_done | is_new,
            )

        carry = theta, theta - 2 * np.pi, theta, x, False
        return jax.lax.fori_loop(0, num, body, carry)[3]

    return of(move)


def exchange(energy, sizes, temperatures):
    """Replica exchange on ``[R, D]``, replica r at ``temperatures[r]``."""
    betas = 1 / np.asarray(temperatures, np.float32)
    sizes = np.asarray(sizes, np.float32)

    def move(key, x):
        keys = jax.random.split(key, 4)
        y = x + sizes[:, None] * jax.random.normal(keys[0], x.shape)
        ratio = betas * (jax.vmap(energy)(x) - jax.vmap(energy)(y))
        u = jnp.log(jax.random.uniform(keys[1], ratio.shape, minval=1e-30))
        x = jnp.where((u < ratio)[:, None], y, x)
        i = jax.random.randint(keys[2], (), 0, len(betas) - 1)
        e = jax.vmap(energy)(x)
        swap = (jnp.asarray(betas)[i] - jnp.asarray(betas)[i + 1]) * (e[i] - e[i + 1])
        swapped = x.at[i].set(x[i + 1]).at[i + 1].set(x[i])
        return jnp.where(_accept(keys[3], swap), swapped, x)

    return of(move)


def stretch(energy, *, a=2.0):
    """Goodman & Weare (2010), a sweep over walkers ``[W, D]``."""

    def move(key, x):
        num, dim = x.shape
        for w in range(num):
            keys = jax.random.split(jax.random.fold_in(key, w), 3)
            other = jax.random.randint(keys[0], (), 0, num - 1)
            other = x[other + (other >= w)]
            z = (1 + (a - 1) * jax.random.uniform(keys[1])) ** 2 / a
            y = other + z * (x[w] - other)
            ratio = (dim - 1) * jnp.log(z) + energy(x[w]) - energy(y)
            x = x.at[w].set(jnp.where(_accept(keys[2], ratio), y, x[w]))
        return x

    return of(move)


# --- correct marginals, wrong joint ---------------------------------------------------


def signs(*, is_right=True):
    """Independent signs of three normals; the wrong one ties the third to the
    others."""

    def move(key, x):
        s = jax.random.rademacher(key, x.shape).astype(x.dtype)
        if not is_right:
            s = s.at[2].set(s[0] * s[1])
        return jnp.abs(x) * s

    return of(move)


def turn(*, harmonic=4, is_right=True):
    """A new angle in the plane: uniform, or of density 1 + sin(m a)."""

    def move(key, x):
        keys = jax.random.split(key, 3)
        a = 2 * np.pi * jax.random.uniform(keys[0])
        b = 2 * np.pi * jax.random.uniform(keys[1])
        keep = 2 * jax.random.uniform(keys[2]) < 1 + jnp.sin(harmonic * a)
        turned = np.pi / harmonic  # there sin(m a) has the other sign
        a = a if is_right is True else jnp.where(keep, a, a + turned)
        del b
        return jnp.linalg.norm(x) * jnp.stack([jnp.cos(a), jnp.sin(a)])

    return of(move)


def far_apart(*, i=0, j=100, correlation=0.95):
    """Renews a standard normal, two of its coordinates correlated."""

    def move(key, x):
        x = jax.random.normal(key, x.shape)
        b = correlation * x[i] + np.sqrt(1 - correlation**2) * x[j]
        return x.at[j].set(b)

    return of(move)


# --- adaptation -----------------------------------------------------------------------


def adapting(energy, gain, *, power=0.0, rate=0.44):
    """A random walk that tunes its step by ``gain t^-power (acceptance - rate)``."""

    def init(position):
        return Tuned(position, jnp.float32(0.0), jnp.int32(0))

    def step(key, s):
        keys = jax.random.split(key)
        x = s.position
        y = x + jnp.exp(s.log_step) * jax.random.normal(keys[0], x.shape)
        ratio = energy(x) - energy(y)
        size = gain * (1.0 + s.num_steps) ** -power
        log_step = s.log_step + size * (jnp.exp(jnp.minimum(ratio, 0.0)) - rate)
        x = jnp.where(_accept(keys[1], ratio), y, x)
        return Tuned(x, log_step.astype(s.log_step.dtype), s.num_steps + 1), None

    return Algorithm(init, step)


# --- NUTS with one bug ----------------------------------------------------------------


def nuts(energy, size, *, depth=3, one_end=False):
    """The multinomial tree by recursion on the host's side of tracing: 2^depth points.

    All trees of up to ``depth`` doublings are formed on a line of 2^(depth+1) points.
    ``one_end`` checks for a turn only at the right end: wrong.
    """
    num = 2**depth

    def line(x, p):
        def one(carry, _):
            x, p = carry
            x, p = leapfrog(energy, x, p, size, 1)
            return (x, p), (x, p)

        forward = jax.lax.scan(one, (x, p), None, length=num - 1)[1]
        backward = jax.lax.scan(one, (x, -p), None, length=num - 1)[1]
        xs = jnp.concatenate([backward[0][::-1], x[None], forward[0]])
        ps = jnp.concatenate([-backward[1][::-1], p[None], forward[1]])
        return xs, ps, num - 1

    def turns(xs, ps, low, high):
        gap = xs[high] - xs[low]
        right = jnp.sum(gap * ps[high]) < 0
        return right if one_end else right | (jnp.sum(gap * ps[low]) < 0)

    def any_turn(xs, ps, low, level):
        """Whether a subtree of 2^level points from ``low`` has a turn within."""
        found = jnp.bool_(False)
        for k in range(1, level + 1):
            for start in range(0, 2**level, 2**k):
                found |= turns(xs, ps, low + start, low + start + 2**k - 1)
        return found

    def move(key, x):
        keys = jax.random.split(key, 2 * depth + 1)
        p = jax.random.normal(keys[-1], x.shape)
        xs, ps, at = line(x, p)
        weights = -jax.vmap(energy)(xs) - 0.5 * jnp.sum(ps**2, axis=1)
        low, high, is_going = jnp.int32(at), jnp.int32(at), jnp.bool_(True)
        chosen = jnp.int32(at)
        index = jnp.arange(2 * num - 1)
        inside = lambda a, b: jnp.where((index >= a) & (index <= b), weights, -jnp.inf)
        for level in range(depth):
            size_ = 2**level
            is_right = jax.random.bernoulli(keys[2 * level])
            a = jnp.where(is_right, high + 1, low - size_)
            bad = any_turn(xs, ps, a, level)
            new = jax.random.categorical(keys[2 * level], inside(a, a + size_ - 1))
            share = jax.nn.logsumexp(inside(a, a + size_ - 1))
            share = share - jax.nn.logsumexp(inside(low, high))
            is_taken = _accept(keys[2 * level + 1], share) & is_going & ~bad
            chosen = jnp.where(is_taken, new, chosen)
            low_, high_ = jnp.minimum(low, a), jnp.maximum(high, a + size_ - 1)
            is_whole = turns(xs, ps, low_, high_)
            low = jnp.where(is_going & ~bad, low_, low)
            high = jnp.where(is_going & ~bad, high_, high)
            is_going = is_going & ~bad & ~is_whole
        return xs[chosen]

    return of(move)


# --- targets --------------------------------------------------------------------------


def likelihood(x):
    """Of a non-linear observation: times a standard normal it is a target."""
    return -0.5 * (x[0] ** 2 - x[1] - 0.5) ** 2


def with_likelihood(dim=2):
    """exp(-|x|^2 / 2) times :func:`likelihood`, drawn by rejection."""

    def sample(key, num):
        def one(key):
            def cond(carry):
                return ~carry[1]

            def body(carry):
                x, _, key = carry
                key, a, b = jax.random.split(key, 3)
                x = jax.random.normal(a, (dim,))
                return x, jnp.log(jax.random.uniform(b)) < likelihood(x), key

            x, _, _ = jax.lax.while_loop(cond, body, (jnp.zeros(dim), False, key))
            return x

        return jax.vmap(one)(jax.random.split(key, num))

    energy = lambda x: 0.5 * jnp.sum(x**2) - likelihood(x)
    return Target(
        "a normal with a likelihood", energy, jax.jit(sample, static_argnums=1)
    )


def replicas(target, temperatures):
    """R tempered copies of a Gaussian target: ``[R, D]``."""
    root = jnp.sqrt(jnp.asarray(temperatures, jnp.float32))
    mean = jnp.asarray(target.mean, jnp.float32)

    def sample(key, num):
        keys = jax.random.split(key, len(temperatures))
        draws = jnp.stack([target.sample(k, num) for k in keys], axis=1)
        return mean + root[:, None] * (draws - mean)

    def energy(x):
        return jnp.sum(jax.vmap(target.energy)(x) / root**2)

    return Target("tempered replicas", energy, sample)


def walkers(target, num):
    """``num`` independent copies: ``[W, D]``."""

    def sample(key, n):
        return target.sample(key, n * num).reshape(n, num, -1)

    return Target("walkers", lambda x: jnp.sum(jax.vmap(target.energy)(x)), sample)


def uniform(dim=1):
    """On [0, 1)^D."""
    inside = lambda x: jnp.all((x >= 0) & (x < 1))
    return Target(
        "uniform",
        lambda x: jnp.where(inside(x), 0.0, jnp.inf),
        lambda key, n: jax.random.uniform(key, (n, dim)),
    )


NORMAL = targets.standard_normal
