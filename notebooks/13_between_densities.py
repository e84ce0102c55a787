# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Between densities
#
# *You need: notebook 4 (Metropolis-Hastings) and notebook 12. Runs in a minute.*
#
# A chain makes local moves and does not cross regions without mass. Tempering adds
# intermediate densities: the wide ones connect the modes, and neighbouring ones
# overlap.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, targets
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.smc import sequential_monte_carlo

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## Two modes, 25 standard deviations apart
#
# Their weights are 0.3 and 0.7. Chains that start in the right mode stay there, so
# their result depends on where they started. No diagnostic of these chains alone shows
# this.

# %%
target = targets.mixture([0.3, 0.7], [[-12.5, 0.0], [12.5, 0.0]], 1.0)
start = jnp.broadcast_to(jnp.array([12.5, 0.0]), (64, 2))
alone = eb.sample(key, eb.mala(target.energy, 1.4), start, 2000).draws
share_alone = (np.asarray(alone)[..., 0] < 0).mean()
print(f"share of the left mode: {share_alone:.3f}, exact 0.3")
assert share_alone == 0

# %% [markdown]
# ## A path
#
# From a wide Gaussian to the target: $E_\beta = (1 - \beta) E_0 + \beta E_1$. At small
# $\beta$ the modes are connected.

# %%
path = geometric(gaussian(jnp.zeros(2), 10.0), target.energy)
x = np.linspace(-25, 25, 1001)
points = jnp.stack([jnp.asarray(x), jnp.zeros(len(x))], axis=1)
fig, ax = plt.subplots(figsize=(5.6, 3.0), layout="constrained")
valleys = {}
for beta, colour in zip(
    (0.0, 0.02, 0.1, 1.0), plt.cm.viridis([0, 0.3, 0.6, 0.9]), strict=True
):
    e = np.asarray(jax.vmap(path(beta))(points), np.float64)
    p = np.exp(e.min() - e)
    valleys[beta] = p[500] / p.max()
    ax.plot(x, p / np.trapezoid(p, x), color=colour, label=f"$\\beta = {beta}$")
ax.set(xlabel="$x_1$", ylabel="density along the axis", ylim=(0, 0.3))
_ = ax.legend()
assert valleys[0.02] > 0.1
assert valleys[1.0] < 1e-20

# %% [markdown]
# ## Parallel tempering
#
# There is one replica for each of ten values of $\beta$. Neighbours swap with the
# probability that keeps every density invariant (Geyer 1991). Even and odd pairs swap
# in turn, which makes replicas travel along the ladder in one direction instead of
# diffusing (Syed et al. 2022). The ladder adapts to equal rejection rates. Their sum,
# the communication barrier, is a property of the path, not of the ladder: ten and
# sixteen replicas give the same value.

# %%
ten, sixteen = (
    parallel_tempering(
        key, path, eb.mala, 1500, 1.0, num_ladders=16, num_replicas=num_replicas
    )
    for num_replicas in (10, 16)
)
left = (np.asarray(ten.draws)[..., 0] < 0).mean(axis=0)
error = left.std(ddof=1) / np.sqrt(len(left))
print(f"share of the left mode: {left.mean():.3f} +- {error:.3f}, exact 0.3")
print(f"rejection rates: {ten.rejection_rate.round(2)}")
print(
    f"barrier {ten.communication_barrier:.2f} and {sixteen.communication_barrier:.2f}; "
    f"a round trip each {1 / ten.round_trip_rate:.0f} iterations, "
    f"{1 / ten.best_round_trip_rate:.0f} at best"
)
assert abs(left.mean() - 0.3) < 4.5 * error
assert error < 0.02
assert ten.rejection_rate.std() < 0.15 * ten.rejection_rate.mean()
assert abs(ten.communication_barrier / sixteen.communication_barrier - 1) < 0.1
assert 0.5 < ten.round_trip_rate / ten.best_round_trip_rate < 1.15

fig, axes = plt.subplots(1, 2, figsize=(8.4, 2.8), layout="constrained")
axes[0].plot(np.asarray(ten.draws)[:300, 0, 0], lw=0.7, color=plotting.MODEL)
axes[0].set(title="one ladder at $\\beta = 1$", xlabel="iteration", ylabel="$x_1$")
for found, colour in ((ten, plotting.DATA), (sixteen, plotting.THIRD)):
    middle = 0.5 * (found.betas[1:] + found.betas[:-1])
    axes[1].semilogx(middle, found.rejection_rate, "o-", ms=3, color=colour)
_ = axes[1].set(title="rejected swaps", xlabel="$\\beta$", ylabel="rate", ylim=(0, 0.5))

# %% [markdown]
# The same run estimates log Z by Bennett's acceptance ratio of neighbours, and by
# integrating the mean of $E_1 - E_0$ over $\beta$. The target is normalised, so the exact
# value is 0.

# %%
spread = ten.thermodynamic_of_ladders.std(ddof=1) / 4
print(f"Bennett's ratio {ten.log_z:+.3f} +- {ten.standard_error:.3f}")
print(f"thermodynamic integration {ten.thermodynamic_log_z:+.3f} +- {spread:.3f}")
assert abs(ten.log_z) < 4.5 * ten.standard_error
assert abs(ten.thermodynamic_log_z) < 4.5 * spread + 0.02

# %% [markdown]
# ## Particles
#
# Sequential Monte Carlo moves a population along the path once. Each step in $\beta$ is
# chosen so that half of the weights stay effective; then the particles are resampled
# and moved by the kernel. Independent repeats, which run side by side in one program,
# give the standard error of log Z.

# %%
found = sequential_monte_carlo(
    key, path, eb.mala, 1.0, num_particles=500, num_repeats=16
)
of_repeat = np.asarray(found.positions).reshape(16, -1, 2)[..., 0] < 0
shares = of_repeat.mean(axis=1)
print(
    f"{found.num_levels} levels, log Z {found.log_z:+.3f} +- {found.standard_error:.3f}"
)
print(f"share of the left mode: {shares.mean():.3f} +- {shares.std(ddof=1) / 4:.3f}")
assert abs(found.log_z) < 4.5 * found.standard_error
assert abs(shares.mean() - 0.3) < 4.5 * shares.std(ddof=1) / 4
assert found.standard_error < 0.05
