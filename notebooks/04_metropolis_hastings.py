# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Metropolis-Hastings
#
# *Section 2.1.2 of the [notes](../docs/course.md#the-lecture-notes). You need:
# densities and conditional probability. Runs in half a minute.*
#
# The density is known up to a constant, $P(x) = \hat P(x) / Z$ with
# $\hat P(x) = e^{-E(x)}$. A proposal $q(x^* \mid x)$ suggests a new point $x^*$.
# Accepting it with probability
# $$\alpha = \min\left(1,
# \frac{\hat P(x^*)\, q(x \mid x^*)}{\hat P(x)\, q(x^* \mid x)}\right)$$
# leaves $P$ invariant. In `ebmjax` the energy, the proposal and the accept step are
# separate functions.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, targets, verify

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)
target, base = targets.figure_one(), targets.figure_one_base()

# %% [markdown]
# ## Figure 1
#
# The target is a mixture of two Gaussians with weights 0.4 and 0.6. The 4,000 chains
# start from the base distribution. It is centred at height 10, more than sixteen
# standard deviations of the modes above them.

# %%
start = base.sample(key, 4000)
kernel = eb.random_walk(target.energy, 1.5)
samples = eb.sample(key, kernel, start, 400)
draws = np.asarray(samples.draws)

fig, axes = plt.subplots(
    1, 2, figsize=(8.4, 4.2), sharex=True, sharey=True, layout="constrained"
)
axes[0].scatter(
    *np.asarray(target.sample(key, 2000)).T,
    s=2,
    alpha=0.4,
    color=plotting.DATA,
    label="target",
)
axes[0].scatter(
    *np.asarray(start[:2000]).T, s=2, alpha=0.4, color=plotting.GREY, label="base"
)
for step, colour in ((3, "#56B4E9"), (12, "#E69F00"), (400, plotting.MODEL)):
    axes[1].scatter(
        *draws[step - 1, :2000].T,
        s=2,
        alpha=0.4,
        color=colour,
        label=f"after {step} steps",
    )
for ax, title in zip(axes, ("target and base", "the chains"), strict=True):
    ax.set(title=title, xlabel="$x_1$", ylim=(-3, 13.5))
    ax.legend(
        markerscale=5,
        loc="upper right",
        ncols=1 if ax is axes[0] else 3,
        columnspacing=0.8,
        handletextpad=0.1,
    )
_ = axes[0].set_ylabel("$x_2$")

# %% [markdown]
# The same chains at six steps. The cloud first spreads where the target has almost no
# mass, then moves down and splits between the two modes. After about 60 steps its
# distribution no longer changes.

# %%
frames = (1, 5, 15, 30, 60, 400)
fig, axes = plt.subplots(
    1, 6, figsize=(11.4, 3.4), sharex=True, sharey=True, layout="constrained"
)
for ax, step in zip(axes, frames, strict=True):
    ax.scatter(
        *draws[step - 1, :1200].T, s=1.5, alpha=0.5, color=plotting.MODEL, linewidths=0
    )
    ax.set(
        title=f"step {step}",
        xlabel="$x_1$",
        xlim=(-6, 6),
        ylim=(-3, 12),
        xticks=[-4, 0, 4],
    )
axes[0].set_ylabel("$x_2$")
height = draws[..., 1].mean(axis=1)
print("mean height", {step: round(float(height[step - 1]), 2) for step in frames})
assert abs(height[-1]) < 4 * 0.6 / np.sqrt(draws.shape[1]) and height[0] > 9

# %% [markdown]
# Do the chains find both modes *with the right weights*? The chains are independent, so
# the share in the left half has a binomial standard error.

# %%
left = (draws[-1, :, 0] < 0).mean()
exact = (np.asarray(target.sample(jax.random.key(1), 200_000))[:, 0] < 0).mean()
error = np.sqrt(exact * (1 - exact) / draws.shape[1])
print(f"left of zero: {left:.3f}, exactly {exact:.3f}, standard error {error:.3f}")
assert abs(left - exact) < 4 * error

# %% [markdown]
# Must $q(x \mid y)$ be positive wherever $P$ is? The notes leave this open. It need not
# be: it is enough that the chain can reach every region in *some* number of steps. A
# uniform proposal in a square of side three moves at most 1.5 per coordinate and step.
# It leaves the target invariant, and the chains still reach the modes. The reverse move
# must be possible, however: if $q(x \mid x^*) = 0$, then $\alpha = 0$ and the move is
# always rejected.

# %%
in_square = lambda key, x: x + jax.random.uniform(key, x.shape, minval=-1.5, maxval=1.5)
square = eb.metropolis(target.energy, in_square, symmetric=True)
assert verify.invariance(key, square, target, name="uniform in a square").is_passed
below = np.asarray(eb.sample(key, square, start, 1, num_warmup=800).draws)[0]
left = (below[:, 0] < 0).mean()
print(f"left of zero: {left:.3f}, mean height {below[:, 1].mean():.3f}")
assert abs(left - exact) < 4 * error and abs(below[:, 1].mean()) < 4 * 0.6 / np.sqrt(
    len(below)
)

# %% [markdown]
# ## A proposal that is not symmetric
#
# The contraction $x^* = 0.8\, x + \xi$ moves points towards zero. The ratio of the
# proposal densities corrects for this. `metropolis` raises a `TypeError` unless it is
# given either `log_q` or `symmetric=True`.

# %%
line = targets.two_modes()
q = lambda key, x: 0.8 * x + jax.random.normal(key, x.shape)
log_q = lambda to, given: -0.5 * jnp.sum((to - 0.8 * given) ** 2)

right = eb.metropolis(line.energy, q, log_q=log_q)
wrong = eb.metropolis(line.energy, q, symmetric=True)  # q is not symmetric
try:
    eb.metropolis(line.energy, q)
except TypeError as error:
    print("TypeError:", error)

# %% [markdown]
# `verify.invariance` starts 20,000 chains from exact draws of the target and tests
# whether they still follow it after 20 steps.

# %%
reports = {
    name: verify.invariance(key, kernel, line, name=name)
    for name, kernel in (("with its ratio", right), ("without its ratio", wrong))
}
print(reports["without its ratio"])
assert (
    reports["with its ratio"].is_passed and not reports["without its ratio"].is_passed
)

# %%
grid = np.linspace(-4.5, 4.5, 300)
density = np.exp(
    -np.asarray(jax.vmap(line.energy)(jnp.asarray(grid[:, None], jnp.float32)))
)
fig, axes = plt.subplots(1, 2, figsize=(8.4, 2.9), sharey=True, layout="constrained")
for ax, (name, report) in zip(axes, reports.items(), strict=True):
    after = report.evidence["after"][:, 0]
    ax.hist(
        after,
        80,
        density=True,
        color=plotting.MODEL,
        alpha=0.5,
        label="chains, 20 steps",
    )
    ax.plot(grid, density, color=plotting.DATA, label="target")
    ax.set(
        title=f"{name}: {'passed' if report.is_passed else 'rejected'}", xlabel="$x$"
    )
axes[0].set_ylabel("density")
_ = axes[0].legend()
