# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Sample your posterior
#
# *You need: notebook 5 (Hamiltonian dynamics). Runs in a minute.*
#
# A posterior is an energy: minus the log of prior times likelihood, up to a constant.
# This notebook takes one from the first line to a table that can be trusted: check the
# energy, warm up, sample, read the summary, see divergences, remove their cause, and
# run many short chains. The data are those of Rubin (1981): effects of coaching in
# eight schools, each with its standard error.

# %%
import warnings

import arviz as az
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting
from ebmjax.diagnostics import convergence
from ebmjax.diagnostics.summary import divergences

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
warnings.filterwarnings("ignore", module="arviz")  # of its use of matplotlib
key = jax.random.key(0)
EFFECT = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

# %% [markdown]
# ## The energy
#
# $$\mu \sim N(0, 5^2), \quad \tau \sim \text{half-Cauchy}(5), \quad
# \theta_j \sim N(\mu, \tau^2), \quad y_j \sim N(\theta_j, \sigma_j^2).$$
#
# A position may be any tree of arrays; a dictionary keeps the names. Kernels move on
# the whole line, so that $\tau > 0$ is sampled as $\ell = \log \tau$, and the density
# gets the factor $d\tau / d\ell = \tau$. (`eb.constrain` does this for you.)


# %%
def prior(mu, log_tau):
    """Minus the log prior of mu and of log tau."""
    tau = jnp.exp(log_tau)
    return 0.5 * (mu / 5) ** 2 + jnp.log1p((tau / 5) ** 2) - log_tau


def centred(x):
    tau = jnp.exp(x["log_tau"])
    of_schools = 0.5 * ((x["theta"] - x["mu"]) / tau) ** 2 + x["log_tau"]
    of_data = 0.5 * ((EFFECT - x["theta"]) / ERROR) ** 2
    return prior(x["mu"], x["log_tau"]) + jnp.sum(of_schools) + jnp.sum(of_data)


start = {"mu": jnp.float32(0), "log_tau": jnp.float32(0), "theta": jnp.zeros(8)}
print(eb.check(centred, start, key))

# %% [markdown]
# `check` looks at the function before anything runs: its value and gradient, what
# varies, whether it can be normalised, precision.
#
# ## Warm-up and chains
#
# Four chains from random starts. `warm_up` learns step size and mass from all of them
# together; `collect_stats` keeps what the summary needs to judge the sampler.


# %%
def starts(key, num):
    keys = jax.random.split(key, len(start))
    names = sorted(start)
    draw = lambda k, x: jax.random.normal(k, (num, *jnp.shape(x)))
    return {n: draw(k, start[n]) for n, k in zip(names, keys, strict=True)}


def chains(energy, num_chains=4, num_steps=1000, **options):
    key_start, key_warm, key_run = jax.random.split(key, 3)
    at = starts(key_start, num_chains)
    tuned = eb.warm_up(key_warm, eb.nuts, energy, at, **options)
    return eb.sample(
        key_run, tuned.kernel, tuned.position, num_steps, collect=eb.collect_stats
    )


funnel = chains(centred)
print(eb.summary(funnel))

# %% [markdown]
# The warnings say that steps diverged. Where $\tau$ is small the effects
# $\theta_j$ are held together in a narrow neck, for which the step size, right for the
# rest, is too large. A chain does not enter the neck, and the table is of the rest.

# %%
num_divergent = int(np.sum(divergences(funnel.draws.info)))
fig, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
theta, log_tau = (
    np.asarray(funnel.draws.position["theta"])[..., 0].ravel(),
    np.asarray(funnel.draws.position["log_tau"]).ravel(),
)
error = np.asarray(funnel.draws.info.energy_error).ravel()
is_bad = ~(error <= 1000)
ax.plot(theta, log_tau, ".", ms=1.5, color=plotting.DATA, label="draws")
ax.plot(theta[is_bad], log_tau[is_bad], "x", color=plotting.MODEL, label="divergent")
ax.set(xlabel=r"$\theta_1$", ylabel=r"$\log \tau$")
_ = ax.legend()
print(f"{num_divergent} divergent steps of {is_bad.size}")
print(f"lowest log tau {log_tau.min():.2f}")
assert num_divergent > 0

# %% [markdown]
# ## The cause removed
#
# The same posterior in other coordinates: $\theta_j = \mu + \tau z_j$ with $z_j \sim
# N(0, 1)$. The neck is gone, since $z$ and $\tau$ are independent in the prior
# (Papaspiliopoulos, Roberts & Skold 2007). The model is the same: $d\theta = \tau\, dz$
# cancels the factor $1/\tau$ of the normal density. The other advice of the warning is
# a smaller step, `target=0.95`: at large $\tau$ the likelihood is steep.


# %%
def effects(x):
    return x["mu"] + jnp.exp(x["log_tau"]) * x["theta"]


def noncentred(x):
    of_schools = 0.5 * jnp.sum(x["theta"] ** 2)
    of_data = 0.5 * jnp.sum(((EFFECT - effects(x)) / ERROR) ** 2)
    return prior(x["mu"], x["log_tau"]) + of_schools + of_data


samples = chains(noncentred, target=0.95)
found = eb.summary(samples)
print(found)
assert not found.warnings
assert int(np.sum(divergences(samples.draws.info))) == 0
assert np.asarray(samples.draws.position["log_tau"]).min() < log_tau.min() - 1

# %% [markdown]
# ## Against quadrature
#
# Given $\mu$ and $\tau$ the effects are integrated out by hand, $y_j \sim N(\mu,
# \sigma_j^2 + \tau^2)$, so that a grid in two dimensions has the answer.

# %%
mu, ell = np.linspace(-25, 30, 401), np.linspace(-9, 6, 401)
M, L = np.meshgrid(mu, ell, indexing="ij")
variance = np.asarray(ERROR)[:, None, None] ** 2 + np.exp(2 * L)
log_p = -np.asarray(prior(jnp.asarray(M), jnp.asarray(L)), np.float64)
log_p = log_p - 0.5 * np.sum(
    (np.asarray(EFFECT)[:, None, None] - M) ** 2 / variance + np.log(variance), axis=0
)
weight = np.exp(log_p - log_p.max())
weight /= weight.sum()
for name, exact in (("mu", np.sum(weight * M)), ("log_tau", np.sum(weight * L))):
    row = found.names.index(name)
    mean, mcse = found.columns["mean"][row], found.columns["mcse_mean"][row]
    print(f"{name}: {mean:.3f} +- {mcse:.3f}, by quadrature {exact:.3f}")
    assert abs(mean - exact) < 4.5 * mcse

# %% [markdown]
# ## ArviZ
#
# `to_arviz` keeps names, chains and statistics of the sampler; plots are ArviZ's.

# %%
idata = eb.to_arviz(samples)
axes = az.plot_forest(idata, var_names=["theta"], combined=True, figsize=(5.6, 3.0))
assert int(idata.sample_stats["diverging"].sum()) == 0

# %% [markdown]
# ## Many short chains
#
# Compiled code runs 256 chains nearly as fast as four, and 100 draws of each are
# more than 1000 of four. R-hat judges chains one by one and asks each to be long;
# *nested* R-hat (Margossian et al. 2024) compares groups of chains that began at one
# place, and is small as soon as the groups agree.

# %%
many = chains(noncentred, num_chains=256, num_steps=100, target=0.95)
table = eb.summary(many)
draws = many.draws.position["mu"]
print(f"R-hat {float(convergence.rhat(draws)):.4f}")
print(f"nested R-hat {float(convergence.nested_rhat(draws, 16)):.4f}")
row = table.names.index("mu")
ess = [t.columns["ess_bulk"][t.names.index("mu")] for t in (found, table)]
print(f"effective draws of mu: {ess[0]:.0f} and {ess[1]:.0f}")
assert float(convergence.nested_rhat(draws, 16)) < 1.01
assert ess[1] > ess[0]
assert not table.warnings
