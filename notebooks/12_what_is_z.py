# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What is Z?
#
# *Equation 1 of the [notes](../docs/course.md#the-lecture-notes). You need:
# expectations and Monte Carlo error. Runs in a minute.*
#
# An energy gives the ratio of two densities. The density itself needs the partition
# function: $p(x) = e^{-E(x)} / Z$ with $Z = \int e^{-E(x)} dx$. Sampling does not need
# $Z$, because it cancels in every acceptance ratio. A likelihood does, and so does the
# comparison of two models on the same data.

# %%
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, targets
from ebmjax.evaluation.likelihood import log_likelihood
from ebmjax.evaluation.quadrature import log_z as by_quadrature
from ebmjax.tempering.ais import annealed_importance_sampling
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.bennett import bennett
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import pilot
from ebmjax.tempering.weights import effective_sample_size

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## In one dimension: quadrature
#
# A double well, $E(x) = 3 (x^2 - 1)^2$. The midpoint rule on 400 points is exact to the
# last digits of float32. In ten dimensions the same grid would have $400^{10}$ points.

# %%
well = targets.double_well(1, 3.0)
found = by_quadrature(well.energy, -4.0, 4.0)
print(f"log Z = {found:.5f} by quadrature, {well.log_z:.5f} in the table of targets")
assert abs(found - well.log_z) < 1e-4

# %% [markdown]
# ## In many dimensions: importance weights, and why they fail
#
# Draw from a known density $q$ and weight the draws: $Z = E_q[w]$,
# $w = e^{-E(x)} / q(x)$. For a product of $D$ wells and a product of $D$ Gaussians the
# weights multiply, and the effective share of draws, $(E w)^2 / E w^2$, is the $D$-th
# power of its value in one dimension.

# %%
base = gaussian(jnp.zeros(1), 1.2)
grid = np.linspace(-5, 5, 20_001)
q = np.exp(np.asarray(jax.vmap(base.log_prob)(grid[:, None]), np.float64))
w = np.exp(-3.0 * (grid**2 - 1) ** 2) / q
share = np.trapezoid(q * w, grid) ** 2 / np.trapezoid(q * w**2, grid)

num, dims = 200_000, np.arange(1, 11)
x = base.sample(key, num * dims[-1]).reshape(num, dims[-1])
log_w = -3.0 * (x**2 - 1) ** 2 - jax.vmap(jax.vmap(lambda v: base.log_prob(v[None])))(x)
of_dim = np.cumsum(np.asarray(log_w, np.float64), axis=1)
measured = np.array([effective_sample_size(of_dim[:, d - 1]) / num for d in dims])

fig, ax = plt.subplots(figsize=(5.0, 3.0), layout="constrained")
ax.semilogy(dims, share**dims, color=plotting.GREY, ls="--", label=f"${share:.2f}^D$")
ax.semilogy(dims, measured, "o", color=plotting.MODEL, label="measured")
ax.set(xlabel="dimension $D$", ylabel="effective share of draws")
_ = ax.legend()
assert np.abs(np.log(measured[:6] / share ** dims[:6])).max() < 0.1
assert share**10 < 0.01  # less than one effective draw in a hundred

# %% [markdown]
# ## Annealing: many small steps
#
# The path $E_\beta = (1 - \beta) E_0 + \beta E_1$ leads from the Gaussian to the wells.
# Annealed importance sampling (Neal 2001) moves each draw along it: each level
# multiplies its weight by a factor and applies a kernel of that level. The mean weight
# is $Z$ for any number of levels. The mean *log* weight is below $\log Z$ (Jensen's
# inequality), and the gap closes as the number of levels grows. Runs in reverse, from
# draws of the target, give an upper bound in the same way (Grosse, Ghahramani & Adams
# 2015). At eight levels fewer than ten of 500 chains carry the weights, and the library
# warns; the bounds hold all the same.

# %%
dim, chains = 20, 500
truth = dim * well.log_z
energy = lambda x: jnp.sum(3.0 * (x**2 - 1) ** 2)
path = geometric(gaussian(jnp.zeros(dim), 1.2), energy)
keys = jax.random.split(jax.random.key(1), dim)
exact = jnp.stack([well.sample(k, chains)[:, 0] for k in keys], axis=1)

levels, means, brackets, effective = [8, 32, 128, 512], [], [], []
warnings.filterwarnings("ignore", message="few chains carry the weights")
for num_levels in levels:
    key_pilot, key_ahead, key_back = jax.random.split(jax.random.key(num_levels), 3)
    schedule = pilot(key_pilot, path, eb.mala, num_levels=num_levels)
    forward = annealed_importance_sampling(
        key_ahead, path, eb.mala, *schedule, num_chains=chains
    )
    reverse = annealed_importance_sampling(
        key_back, path, eb.mala, *schedule, positions=exact, is_reversed=True
    )
    means.append(
        (np.mean(forward.log_weights), -np.mean(reverse.log_weights)),
    )
    effective.append(forward.effective_sample_size)
    brackets.append(bennett(forward, reverse, confidence=0.999))
means = np.array(means)

fig, ax = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
ax.semilogx(
    levels, means[:, 1], "v-", color=plotting.MODEL, label="reverse, mean log w"
)
ax.semilogx(levels, means[:, 0], "^-", color=plotting.DATA, label="forward, mean log w")
ax.fill_between(
    levels,
    [b.lower for b in brackets],
    [b.upper for b in brackets],
    color=plotting.GREY,
    alpha=0.3,
    label="bracket, 99.9 %",
)
ax.axhline(truth, color="black", lw=0.8, label="exact")
ax.set(xlabel="levels", ylabel="log Z")
_ = ax.legend()
for b in brackets:
    print(
        f"[{b.lower:.3f}, {b.upper:.3f}]  "
        f"Bennett {b.log_z:.3f} +- {b.standard_error:.3f}"
    )
assert all(b.lower < truth < b.upper for b in brackets)
assert (means[:, 0] < truth).all() and (means[:, 1] > truth).all()
gaps = means[:, 1] - means[:, 0]
assert (gaps[1:] < 0.55 * gaps[:-1]).all()
assert brackets[-1].width < 0.5 < 5 < brackets[0].width
assert effective[0] < 10 < 100 < effective[-1]
assert abs(brackets[-1].log_z - truth) < 4.5 * brackets[-1].standard_error

# %% [markdown]
# ## A likelihood, between bounds
#
# With the bracket the mean log-likelihood of data lies between two numbers.

# %%
data = exact[:250]
bounds = log_likelihood(energy, data, brackets[-1])
value = log_likelihood(energy, data, truth).mean
print(
    f"log-likelihood in [{bounds.lower:.3f}, {bounds.upper:.3f}] nats, "
    f"exact {value:.3f}"
)
assert bounds.lower < value < bounds.upper

# %% [markdown]
# ## When the upper bound fails
#
# The reverse run must start from draws of the target. The example has two distant modes
# with weights 0.3 and 0.7, and a base near the lighter one. Chains that stay in that
# mode pass the check of stationarity: their energies do not drift. Yet their "bound" is
# too low, by the logarithm of the share of forward chains that end in this mode over
# 0.3. The two bounds cross, and the library warns.

# %%
modes = targets.mixture([0.3, 0.7], [[-4.0], [4.0]], 0.6)
near = geometric(gaussian(-2.0 * jnp.ones(1), 2.5), modes.energy)
schedule = pilot(jax.random.key(2), near, eb.mala, num_levels=200)
ahead = annealed_importance_sampling(
    jax.random.key(3), near, eb.mala, *schedule, num_chains=2000
)
one_mode = -4.0 + 0.6 * jax.random.normal(jax.random.key(4), (2000, 1))
back = annealed_importance_sampling(
    jax.random.key(5), near, eb.mala, *schedule, positions=one_mode, is_reversed=True
)
ends_there = float(np.mean(np.asarray(ahead.positions) < 0))
off = np.log(ends_there / 0.3)
print(f"{ends_there:.0%} of the forward chains end in the mode of weight 30 %")
print(f"exact 0, forward at least {ahead.bound():+.3f}, 'at most' {back.bound():+.3f}")
assert abs(float(back.drift)) < 5
assert ahead.bound() < 0
assert back.bound() < -0.2
assert abs(back.log_z + off) < 0.1
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    bennett(ahead, back)
print(caught[0].message)
assert "the bounds cross" in str(caught[0].message)
