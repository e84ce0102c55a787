"""A posterior of many constrained parts with known answers, and eight schools.

The parts are independent, so that one run shows them all.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from ebmjax import constrain, supports

DIRICHLET = np.array([0.7, 1.5, 3.0, 5.0], np.float32)
TRUNCATED = {"mean": 1.0, "sd": 2.0, "low": 0.0, "high": 2.5}
ETA, SIZE = 1.5, 3  # of the LKJ density
COUNTS = np.array([3.0, 9.0, 5.0, 2.0], np.float32)  # of an ordinal answer, prior added
KAPPA, MU = 4.0, 3.0  # of the von Mises density, across the end of the range
MIXTURE = ((0.7, 0.5, 3.0), (0.3, -2.5, 3.0))  # weight, mu, kappa
BOND = 20.0  # of two angles that turn together
FISHER = 2.0


def lkj_energy(eta, factor):
    """-log of the LKJ density of Cholesky factors ``[K, K]``."""
    size = factor.shape[-1]
    powers = jnp.arange(size - 2, -1, -1) + 2 * eta - 2
    return -jnp.sum(powers * jnp.log(jnp.diag(factor)[1:]))


def ordinal_energy(counts, cuts):
    """Of cut points whose category probabilities are Dirichlet(counts)."""
    below = jax.nn.sigmoid(cuts)
    shares = jnp.diff(below, prepend=0.0, append=1.0)
    log_slope = jax.nn.log_sigmoid(cuts) + jax.nn.log_sigmoid(-cuts)
    return -jnp.sum((counts - 1) * jnp.log(shares)) - jnp.sum(log_slope)


def mixture_energy(x):
    modes = [
        jnp.log(w) - jnp.log(special.i0(k)) + k * jnp.cos(x - m) for w, m, k in MIXTURE
    ]
    return -jax.nn.logsumexp(jnp.stack(modes))


ENERGIES = {
    "shares": lambda x: -jnp.sum((DIRICHLET - 1) * jnp.log(x)),
    "truncated": lambda x: 0.5 * ((x - TRUNCATED["mean"]) / TRUNCATED["sd"]) ** 2,
    "factor": lambda x: lkj_energy(ETA, x),
    "cuts": lambda x: ordinal_energy(COUNTS, x),
    "angle": lambda x: -KAPPA * jnp.cos(x - MU),
    "mixture": mixture_energy,
    "pair": lambda x: -KAPPA * jnp.cos(x[0] - MU) - BOND * jnp.cos(x[0] - x[1]),
    "direction": lambda x: -FISHER * x[2],
    "scale": lambda x: x - 2 * jnp.log(x),
}


def energy_of_parts(x):
    return sum(ENERGIES[name](part) for name, part in x.items())


SUPPORT = {
    "shares": supports.simplex(),
    "truncated": supports.interval(TRUNCATED["low"], TRUNCATED["high"]),
    "factor": supports.cholesky_correlation(),
    "cuts": supports.ordered(),
    "angle": supports.periodic(),
    "mixture": supports.periodic(low=0.0),
    "pair": supports.periodic(),
    "direction": supports.unit_vector(),
    "scale": supports.positive(),
}


def parts(names=tuple(SUPPORT)):
    """The constrained energy of some of the parts."""
    return constrain(energy_of_parts, {name: SUPPORT[name] for name in names})


def starts(num, names=tuple(SUPPORT)):
    """Constrained values of chains that begin apart."""
    keys = iter(jax.random.split(jax.random.key(7), 16))
    normal = lambda *shape: jax.random.normal(next(keys), (num, *shape))
    turn = lambda *shape: jax.random.uniform(next(keys), (num, *shape), maxval=6.28)
    direction = normal(3)
    norm = jnp.linalg.norm(direction, axis=-1, keepdims=True)
    found = {
        "shares": jax.nn.softmax(normal(4)),
        "truncated": 2.5 * jax.nn.sigmoid(normal()),
        "factor": jnp.broadcast_to(jnp.eye(SIZE), (num, SIZE, SIZE)),
        "cuts": jnp.cumsum(0.1 + jnp.abs(normal(3)), -1) - 1.5,
        "angle": turn(),
        "mixture": turn(),
        "pair": turn(2),
        "direction": direction / norm,
        "scale": jnp.exp(normal()),
    }
    return {name: found[name] for name in names}


def statistics(x):
    """Name: draws ``[T, C]`` and the mean that they must have."""
    concentration = special.i1(KAPPA) / special.i0(KAPPA)
    bond = special.i1(BOND) / special.i0(BOND)
    mixed = sum(
        w * special.i1(k) / special.i0(k) * np.exp(1j * m) for w, m, k in MIXTURE
    )
    total = DIRICHLET.sum()
    low, high = (
        (TRUNCATED[end] - TRUNCATED["mean"]) / TRUNCATED["sd"]
        for end in ("low", "high")
    )
    cut = stats.truncnorm(low, high, TRUNCATED["mean"], TRUNCATED["sd"])
    spread = 1 / (2 * (ETA - 1 + SIZE / 2) + 1)
    shares = np.cumsum(COUNTS)[:-1] / COUNTS.sum()
    found = {}
    if "truncated" in x:
        found["truncated"] = x["truncated"], cut.mean()
        found["truncated^2"] = x["truncated"] ** 2, cut.moment(2)
    if "angle" in x:
        found["cos"] = jnp.cos(x["angle"] - MU), concentration
        found["sin"] = jnp.sin(x["angle"] - MU), 0.0
    if "mixture" in x:
        found["cos mixture"] = jnp.cos(x["mixture"]), mixed.real
        found["sin mixture"] = jnp.sin(x["mixture"]), mixed.imag
    if "pair" in x:
        a, b = x["pair"][..., 0], x["pair"][..., 1]
        found["cos first"] = jnp.cos(a - MU), concentration
        found["cos bond"] = jnp.cos(a - b), bond
    if "direction" in x:
        mean = 1 / np.tanh(FISHER) - 1 / FISHER
        found["direction"] = x["direction"][..., 2], mean
        found["across"] = x["direction"][..., 0], 0.0
    if "scale" in x:
        found["scale"] = x["scale"], 3.0
        found["1 / scale"] = 1 / x["scale"], 0.5
    for k in range(4) if "shares" in x else ():
        share, mean = x["shares"][..., k], DIRICHLET[k] / total
        found[f"share {k}"] = share, mean
        found[f"share {k}^2"] = share**2, mean * (DIRICHLET[k] + 1) / (total + 1)
    for i, j in ((1, 0), (2, 0), (2, 1)) if "factor" in x else ():
        r = jnp.sum(x["factor"][..., i, :] * x["factor"][..., j, :], axis=-1)
        found[f"r{i}{j}"] = r, 0.0
        found[f"r{i}{j}^2"] = r**2, spread
    for k in range(3) if "cuts" in x else ():
        found[f"cut {k}"] = jax.nn.sigmoid(x["cuts"][..., k]), shares[k]
    return found


# --- eight schools (Rubin 1981; Gelman et al. 2013, section 5.5) --------------------------

EFFECTS = np.array([28, 8, -3, 7, -1, 1, 18, 12], np.float32)
ERRORS = np.array([15, 10, 16, 11, 9, 11, 10, 18], np.float32)


def schools_energy(x):
    """As eight_schools_noncentered of posteriordb: N(0, 5), half Cauchy(5)."""
    theta = x["mu"] + x["tau"] * x["theta_tilde"]
    return (
        0.5 * jnp.sum(((EFFECTS - theta) / ERRORS) ** 2)
        + 0.5 * jnp.sum(x["theta_tilde"] ** 2)
        + 0.5 * (x["mu"] / 5) ** 2
        + jnp.log1p((x["tau"] / 5) ** 2)
    )


def schools(tau):
    """The energy with a support of tau."""
    return constrain(schools_energy, {"mu": None, "tau": tau, "theta_tilde": None})


def schools_answers():
    """Posterior means of mu and tau, and of the first effect, by quadrature.

    Given mu and tau the data are N(mu, errors^2 + tau^2), independent.
    """
    mu = np.linspace(-25, 35, 1201)[:, None, None]
    log_tau = np.linspace(-9, 7, 1601)[:, None]
    tau = np.exp(log_tau)
    variance = ERRORS.astype(float) ** 2 + tau**2
    log_p = -0.5 * ((EFFECTS - mu) ** 2 / variance + np.log(variance)).sum(-1)
    mu, tau = mu[..., 0], tau[..., 0]
    log_p += -0.5 * (mu / 5) ** 2 - np.log1p((tau / 5) ** 2) + np.log(tau)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    shrinkage = tau**2 / (tau**2 + ERRORS[0] ** 2)
    first = mu + shrinkage * (EFFECTS[0] - mu)
    return {
        name: (p * x).sum() for name, x in (("mu", mu), ("tau", tau), ("theta", first))
    }
